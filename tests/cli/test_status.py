import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resnext.__main__ import main
from resnext.artefact.store import load_artefact


def as_module(plain: dict[str, str], *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "resnext", *map(str, arguments)]
    return subprocess.Popen(command, env=plain, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def events(folder: Path) -> list[str]:
    path = folder / "events.jsonl"
    return [json.loads(line)["event"] for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(pattern: str, folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not any(folder.glob(pattern)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert any(folder.glob(pattern)), "training did not begin"


def test_the_module_runs_as_the_command(plain: dict[str, str]) -> None:
    out, err = as_module(plain, "describe", "resnext29_8x64d").communicate(timeout=60)
    assert ("resnext29_8x64d" in out, err) == (True, "")


@pytest.mark.parametrize("arguments", [("describe", "resnet51"), ("describe",), ("describe", "resnet50", "--colour")])
def test_wrong_usage_ends_with_status_2_and_no_traceback(plain: dict[str, str], arguments: tuple[str, ...]) -> None:
    process = as_module(plain, *arguments)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert "Error" in err
    assert "Traceback" not in err


def test_a_failed_job_ends_with_status_1(plain: dict[str, str], photos: Path, tiny: Path, tmp_path: Path) -> None:
    wild = ("--set", "optimiser.learning_rate=1e30", "--out", tmp_path / "run", "--threads", "0")
    process = as_module(plain, "train", photos, "--recipe", tiny, *wild)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[-1].startswith("Error: the loss became")
    assert "Traceback" not in err


def test_the_traceback_is_there_for_those_who_ask(plain: dict[str, str]) -> None:
    process = as_module({**plain, "RESNEXT_TRACEBACK": "1"}, "describe", "resnet51")
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" in err
    assert "depth = 51" in err.splitlines()[-1]


def test_an_interrupted_training_ends_cleanly_with_what_was_learnt(
    plain: dict[str, str], photos: Path, tiny: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    batches = ("--set", "batch_size=2", "--checkpoint-every", "1")
    endless = ("--set", "epochs=100000", *batches, "--out", run, "--threads", "1")
    process = as_module(plain, "train", photos, "--recipe", tiny, *endless)
    try:
        wait_for("checkpoints/*.safetensors", run, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "Stopping" in err
    assert events(run)[-1] == "end"
    assert load_artefact(run / "last.safetensors")[1].class_names == ("blue", "green", "red")
    made = load_artefact(Path(out.splitlines()[-1]))[1].provenance
    assert made is not None
    assert made.recipe == "tiny"
    assert [path.name for path in run.glob(".*")] == [".lock"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("could not create a primitive"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_running_out_of_memory_is_one_sentence(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("resnext.cli.app.app", fail)
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err.startswith("Error: out of memory; a smaller micro-batch")
