import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resnext.artefact.store import load_artefact
from resnext.data.open import open_data
from resnext.data.sampler import Sampler
from resnext.training.checkpoint import Checkpoints

Cli = Callable[..., Any]
Words = tuple[str | Path, ...]


def sentence(shown: Any, status: int) -> str:
    """Return the sentence with which a run failed, having made sure that it is one."""
    assert (shown.status, shown.out, "Traceback" in shown.err) == (status, "", False), shown.err
    [error] = [line for line in shown.err.splitlines() if "Error" in line]
    assert error == shown.err.splitlines()[-1]
    return error.removeprefix("Error: ")  # type: ignore[no-any-return]


def mount(target: Path, options: str) -> str | None:
    """Mount a file system in memory; return why that is not possible."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk on which a run has room for one checkpoint and not for the next."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if reason := mount(disk, "size=260k"):
        pytest.skip(f"needs a small disk, and none can be mounted here: {reason}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


# Stopped, and killed


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_keeps_its_last_step_and_goes_on_bit_for_bit(
    cli: Cli, start: Cli, steady: Words, undisturbed: Any, kept: Any, tmp_path: Path, number: int, status: int
) -> None:
    run = kept(tmp_path / "run")
    started = start(*steady, "--out", run.folder)
    started.until(lambda: run.events("epoch"))
    started.send(number)
    shown = started.wait()
    assert (shown.status, "Traceback" in shown.err) == (status, False)
    assert "Stopping after this step" in shown.err
    assert "--resume goes on." in shown.err
    assert 3 <= run.step < undisturbed.step
    [end] = run.events("end")
    assert end["is_whole"] is False
    network, _ = load_artefact(run.folder / "last.safetensors")
    average = {key: value for key, value in run.tensors().items() if key.startswith("average.")}
    assert all(average[f"average.{key}"].equal(value) for key, value in network.state_dict().items())

    resumed = cli(*steady, "--out", run.folder, "--resume")
    assert resumed.status == 0, resumed.err
    run.assert_same(undisturbed)
    first, second = run.lines("attempts.jsonl")
    assert (first["after_step"], first["passed_over"]) == (0, [])
    assert f"Going on after step {second['after_step']}, in epoch " in resumed.err


def test_a_second_ctrl_c_stops_at_once(start: Cli, photos: Path, tiny: Path, kept: Any, tmp_path: Path) -> None:
    run = kept(tmp_path / "run")
    slow = ("--model", "resnext50_32x4d", "--set", "architecture.base_channels=32", "--set", "image.size=96")
    whole = ("--set", "batch_size=48", "--set", "batch_norm_images=2", "--micro-batch", "2")
    started = start("train", photos, "--recipe", tiny, *slow, *whole, "--threads", "0", "--out", run.folder)
    started.until(lambda: run.lines("attempts.jsonl") and started.catches(signal.SIGTERM))
    started.send(signal.SIGINT)
    started.until(lambda: "Stopping" in started.err.read_text())
    started.send(signal.SIGINT)
    shown = started.wait()
    assert (shown.status, shown.out, "Traceback" in shown.err) == (130, "", False)
    assert run.checkpoints == []


def test_a_run_killed_again_and_again_ends_bit_for_bit_the_same(
    cli: Cli, start: Cli, steady: Words, undisturbed: Any, kept: Any, tmp_path: Path
) -> None:
    rng = random.Random(0)
    run = kept(tmp_path / "run")
    steps = sorted(rng.sample(range(1, 28), 4))
    for number, step in enumerate(steps):
        started = start(*steady, "--out", run.folder, "--resume", "--checkpoint-every", "1")
        started.until(lambda number=number: len(run.lines("attempts.jsonl")) > number)
        started.until(lambda step=step: run.step >= step)
        if number % 2:
            started.until(lambda: run.is_writing_checkpoint)
        started.kill()
        assert step <= run.step < undisturbed.step
    resumed = cli(*steady, "--out", run.folder, "--resume")
    assert resumed.status == 0, resumed.err
    run.assert_same(undisturbed)
    assert len(run.lines("attempts.jsonl")) == len(steps) + 1
    assert not run.is_writing_checkpoint


def test_a_folder_in_use_is_not_trained_in_twice(
    cli: Cli, start: Cli, steady: Words, kept: Any, tmp_path: Path
) -> None:
    run = kept(tmp_path / "run")
    started = start(*steady, "--out", run.folder)
    started.until(lambda: run.events("start"))
    started.send(signal.SIGSTOP)
    before = run.lines("events.jsonl")
    assert "is being written by another process" in sentence(cli(*steady, "--out", run.folder, "--resume"), 2)
    assert run.lines("events.jsonl") == before
    started.kill()


# The disk


def test_a_full_disk_leaves_the_last_checkpoint_whole_and_room_lets_the_run_go_on(
    cli: Cli, start: Cli, steady: Words, undisturbed: Any, kept: Any, small_disk: Path
) -> None:
    run = kept(small_disk / "run")
    said = sentence(start(*steady, "--out", run.folder, "--checkpoint-every", "1").wait(), 1)
    assert str(run.folder / "") in said.partition(" could not be written")[0]
    assert "No space left on device" in said
    assert f"{run.checkpoints[0]} is whole; make room and go on with --resume" in said
    checkpoint = Checkpoints(run.folder / "checkpoints").read()
    assert checkpoint is not None
    assert (checkpoint.progress.position.step, checkpoint.passed_over) == (run.step, ())

    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    resumed = cli(*steady, "--out", run.folder, "--resume")
    assert resumed.status == 0, resumed.err
    run.assert_same(undisturbed)


def test_a_folder_that_cannot_be_written_is_one_sentence(
    cli: Cli, steady: Words, undisturbed: Any, small_disk: Path
) -> None:
    shutil.copytree(undisturbed.folder / "checkpoints", small_disk / "run" / "checkpoints")
    shutil.copy(undisturbed.folder / "events.jsonl", small_disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for options in (("--out", small_disk / "new"), ("--out", small_disk / "run", "--resume")):
        shown = cli(*steady, *options)
        assert f"{options[1]} cannot be used as a run folder: Read-only file system" in sentence(shown, 2)


def test_a_folder_below_a_file_is_one_sentence(cli: Cli, steady: Words, tiny: Path) -> None:
    said = sentence(cli(*steady, "--out", tiny / "run"), 2)
    assert f"{tiny / 'run'} cannot be used as a run folder: Not a directory" in said


def test_a_damaged_checkpoint_is_passed_over_in_a_sentence(
    cli: Cli, steady: Words, undisturbed: Any, kept: Any, tmp_path: Path
) -> None:
    run = kept(Path(shutil.copytree(undisturbed.folder, tmp_path / "run")))
    newest, previous = run.checkpoints
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    shown = cli(*steady, "--out", run.folder, "--resume")
    assert shown.status == 0, shown.err
    [said] = [line for line in shown.err.splitlines() if str(newest) in line]
    assert said.endswith("its SHA-256 does not match; going on from the checkpoint before it")
    run.assert_same(undisturbed)
    assert run.lines("attempts.jsonl")[-1]["passed_over"] == [said.strip()]
    assert f"step-{run.lines('attempts.jsonl')[-1]['after_step']:09}" == previous.stem


# The data


def test_data_that_goes_away_stops_the_run_which_goes_on_when_it_is_back(
    cli: Cli, start: Cli, many: Path, tiny: Path, kept: Any, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(many, tmp_path / "data"))
    command = ("train", data, "--recipe", tiny, "--threads", "0", "--set", "epochs=1", "--set", "batch_size=4")
    peace, run = kept(tmp_path / "peace"), kept(tmp_path / "run")
    assert cli(*command, "--out", peace.folder).status == 0

    started = start(*command, "--out", run.folder, "--checkpoint-every", "2")
    started.until(lambda: run.step > 0)
    data.rename(tmp_path / "elsewhere")
    said = sentence(started.wait(), 1)
    assert "training images in a row could not be read" in said
    assert "No such file" in said
    assert 0 < run.step < peace.step
    (tmp_path / "elsewhere").rename(data)
    resumed = cli(*command, "--out", run.folder, "--resume")
    assert resumed.status == 0, resumed.err
    run.assert_same(peace)


@pytest.fixture
def failing(start: Cli, many: Path, tiny: Path, kept: Any, tmp_path: Path) -> Callable[..., tuple[Any, Any, list[str]]]:
    """Train on images of which five in a hundred are damaged once the run has begun; return what came of it."""

    def run(*options: str) -> tuple[Any, Any, list[str]]:
        data = Path(shutil.copytree(many, tmp_path / "data"))
        images = open_data(str(data)).indexed("train")
        order = Sampler(num_images=240, batch_size=16, seed=0).order(1)
        names = [images.name(int(index)) for index in order[-12:]]
        made = kept(tmp_path / "run")
        started = start("train", data, "--recipe", tiny, "--threads", "0", "--out", made.folder, *options)
        started.until(lambda: made.lines("attempts.jsonl"))
        for name in names:
            os.truncate(data / name, 100)
        return started.wait(), made, names

    return run


def test_damaged_images_within_the_budget_are_named_once_and_training_goes_on(failing: Any) -> None:
    shown, run, names = failing("--max-unreadable", "12")
    assert shown.status == 0, shown.err
    messages = [event["message"] for event in run.events("problem")]
    assert sorted(message.partition(": left out, ")[0] for message in messages) == sorted(names)
    assert [shown.err.count(f"  {name}: left out, ") for name in names] == [1] * 12
    assert run.events("end")[0]["is_whole"] is True


def test_more_damaged_images_than_the_budget_stop_the_run(failing: Any) -> None:
    shown, run, names = failing()
    said = sentence(shown, 1)
    assert said.startswith("12 images could not be read, more than the 10 that this run bears")
    assert "--max-unreadable" in said
    named = sorted(event["message"].partition(": left out, ")[0] for event in run.events("problem"))
    assert named == sorted(names)
    assert run.step == 15
    assert Checkpoints(run.folder / "checkpoints").read() is not None


# Memory

# Memory is what a run in small parts took, which has loaded and mapped all that any needs, and little more. Blocks of a
# tensor's size are given back to the system when they are freed (-3), so that it is tensors that fill it.
LIMITED = """
import contextlib, ctypes, os, resource, sys, tempfile
from resnext.__main__ import main
ctypes.CDLL(None).mallopt(-3, 1 << 17)
os.environ.update(environment)
with tempfile.TemporaryDirectory() as folder, contextlib.suppress(SystemExit):
    sys.argv = ["resnext", *arguments, "--out", folder + "/run", "--micro-batch", "4"]
    main()
[peak] = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmPeak")]
resource.setrlimit(resource.RLIMIT_AS, ((peak << 10) + (64 << 20),) * 2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a system that limits and tells how much memory is mapped")
def test_a_step_that_needs_too_much_memory_is_taken_in_parts(
    cli: Cli, start: Cli, photos: Path, tiny: Path, kept: Any, tmp_path: Path
) -> None:
    settings = ("architecture.base_channels=16", "image.size=64", "batch_size=48", "batch_norm_images=4", "epochs=1")
    command = ("train", photos, "--recipe", tiny, "--threads", "0", *(w for s in settings for w in ("--set", s)))
    free, tight = kept(tmp_path / "free"), kept(tmp_path / "tight")
    assert cli(*command, "--out", free.folder).status == 0
    shown = start(*command, "--out", tight.folder, script=LIMITED).wait()
    assert shown.status == 0, shown.err
    [said] = [line for line in shown.err.splitlines() if "out of memory" in line]
    assert "images at a time; the recipe, and what is learnt, stay the same" in said
    [found], [expected] = tight.events("epoch"), free.events("epoch")
    assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)
    assert found["scores"] == {**expected["scores"], "loss": pytest.approx(expected["scores"]["loss"], rel=1e-5)}


# The compiler


@pytest.mark.skipif(not os.environ.get("RESNEXT_SLOW"), reason="takes a minute; RESNEXT_SLOW=1 runs it")
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_network_learns_as_an_eager_one(
    start: Cli, photos: Path, tiny: Path, kept: Any, tmp_path: Path
) -> None:
    losses = []
    gentle = ("--recipe", tiny, "--set", "optimiser.learning_rate=0.01", "--threads", "0")
    for name, options in (("eager", ()), ("compiled", ("--compile",))):
        run = kept(tmp_path / name)
        shown = start("train", photos, *gentle, "--out", run.folder, *options).wait(300)
        assert shown.status == 0, shown.err
        losses.append([epoch["train_loss"] for epoch in run.events("epoch")])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
