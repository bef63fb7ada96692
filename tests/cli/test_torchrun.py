import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
Words = tuple[str | Path, ...]

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def sentences(shown: Any) -> list[str]:
    """Return what a process said went wrong, having made sure that it is plain."""
    assert "Traceback" not in shown.err
    assert shown.out == ""
    return [line.removeprefix("Error: ") for line in shown.err.splitlines() if line.startswith("Error: ")]


def children(parent: int) -> Iterator[int]:
    """Yield the processes that another has started."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            yield int(path.parent.name)


# Started by hand, as torchrun does


def test_two_processes_carry_out_the_run_of_one_in_one_log(
    start_ranks: Cli, steady: Words, undisturbed: Any, kept: Any, tmp_path: Path
) -> None:
    run = kept(tmp_path / "run")
    first, second = (started.wait() for started in start_ranks(2, *steady, "--out", run.folder))
    assert (first.status, second.status) == (0, 0), first.err
    epochs = [line.split(":")[0] for line in first.err.splitlines() if line.startswith("epoch ")]
    assert epochs == [f"epoch {number}/12" for number in range(1, 13)]
    assert (second.out, second.err) == ("", "")
    assert [event["event"] for event in run.events()] == [event["event"] for event in undisturbed.events()]
    for found, expected in zip(run.events("epoch"), undisturbed.events("epoch"), strict=True):
        assert found["scores"]["num_images"] == expected["scores"]["num_images"] == 6
    [attempt] = run.lines("attempts.jsonl")
    assert attempt["num_processes"] == 2
    assert "2 processes, cpu" in (run.folder / "report.html").read_text()
    assert len(list((run.folder / "tensorboard").iterdir())) == 1


@pytest.fixture(scope="session")
def exact(many: Path, tiny: Path) -> Callable[..., Words]:
    """Return the command of a run in float64 on batches of 64 images, with statistics of 16."""

    def command(*settings: str) -> Words:
        fixed = ("batch_size=64", "batch_norm_images=16", "optimiser.learning_rate=0.01", *settings)
        return ("train", many, "--recipe", tiny, "--threads", "0", *(w for s in fixed for w in ("--set", s)))

    return command


MODERN = (
    "image.train_size=12",
    "augmentation.policy=trivial",
    "augmentation.erasing=0.5",
    "mixing.mixup=0.2",
    "mixing.cutmix=1.0",
    "class_weights={red = 2.0, blue = 0.5}",
    "sampling=balanced",
)


@pytest.mark.parametrize("settings", [(), MODERN])
def test_two_processes_of_32_images_learn_as_one_of_64(
    cli: Cli, start_ranks: Cli, exact: Any, kept: Any, relative_error: Any, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    command = (*exact("epochs=17", "average_decay=0.9", *settings), "--precision", "fp64")
    one, two = kept(tmp_path / "one"), kept(tmp_path / "two")
    ranks = start_ranks(2, *command, "--out", two.folder)
    assert cli(*command, "--out", one.folder).status == 0
    assert [started.wait().status for started in ranks] == [0, 0]
    assert two.step == one.step == 51
    found, expected = two.tensors(), one.tensors()
    assert found.keys() == expected.keys()
    assert max(relative_error(found[key], expected[key]) for key in found) <= 1e-9
    for found_epoch, expected_epoch in zip(two.events("epoch"), one.events("epoch"), strict=True):
        loss = pytest.approx(expected_epoch["scores"]["loss"], rel=1e-9)
        assert found_epoch["scores"] == {**expected_epoch["scores"], "loss": loss}
        assert found_epoch["train_loss"] == pytest.approx(expected_epoch["train_loss"], rel=1e-9)


def test_the_first_loss_is_the_same_on_two_processes_in_single_precision(
    cli: Cli, start_ranks: Cli, exact: Any, kept: Any, tmp_path: Path
) -> None:
    command = exact("epochs=1", "batch_size=128")
    one, two = kept(tmp_path / "one"), kept(tmp_path / "two")
    ranks = start_ranks(2, *command, "--out", two.folder)
    assert cli(*command, "--out", one.folder).status == 0
    assert [started.wait().status for started in ranks] == [0, 0]
    assert two.step == one.step == 1
    [found], [expected] = two.events("epoch"), one.events("epoch")
    assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)


@pytest.mark.parametrize("option", [None, "--json", "--csv"])
def test_two_processes_predict_the_same_lines_in_the_same_order(
    cli: Cli, start_ranks: Cli, artefact: Path, photos: Path, tmp_path: Path, option: str | None
) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    command = ("predict", artefact, photos, tmp_path / "bad.png", photos, photos, *([option] if option else []))
    first, second = (started.wait() for started in start_ranks(2, *command))
    alone = cli(*command)
    assert (first.status, second.status, alone.status) == (1, 1, 1)
    assert (first.out, first.err) == (alone.out, alone.err)
    assert (second.out, second.err) == ("", "")


def test_two_processes_that_find_no_images_say_so_once(start_ranks: Cli, artefact: Path, tmp_path: Path) -> None:
    first, second = (started.wait() for started in start_ranks(2, "predict", artefact, tmp_path))
    assert (first.status, second.status) == (2, 2)
    assert [said.partition(" in ")[0] for said in sentences(first)] == ["no images"]
    assert (second.out, second.err) == ("", "")


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        (
            3,
            ("--set", "batch_size=64", "--set", "batch_norm_images=8"),
            "batch_size = 64: 3 processes cannot take equal parts of it; give a multiple of 3",
        ),
        (2, (), "batch_norm_images is left out"),
        (2, ("--set", "batch_norm_images=16"), "batch_norm_images = 16: each of 2 processes takes 8 of the 16 images"),
    ],
)
def test_a_layout_that_cannot_be_is_one_sentence_of_the_first(
    start_ranks: Cli, many: Path, tiny: Path, tmp_path: Path, size: int, options: tuple[str, ...], words: str
) -> None:
    command = ("train", many, "--recipe", tiny, "--threads", "0", "--out", tmp_path / "run", *options)
    first, *others = [started.wait() for started in start_ranks(size, *command)]
    assert {first.status, *(other.status for other in others)} == {2}
    [said] = sentences(first)
    assert words in said
    assert first.err.splitlines() == [f"Error: {said}"]
    assert {other.err for other in others} == {""}
    assert not (tmp_path / "run").exists()


def test_several_processes_need_to_be_told_the_folder(start_ranks: Cli, steady: Words) -> None:
    first, second = (started.wait() for started in start_ranks(2, *steady))
    assert (first.status, second.status) == (2, 2)
    [said] = sentences(first)
    assert "give --out" in said
    assert second.err == ""


@pytest.mark.parametrize("absent", [0, 1])
def test_a_process_that_never_comes_is_missed_in_a_sentence(
    start_ranks: Cli, steady: Words, tmp_path: Path, absent: int
) -> None:
    command = (*steady, "--out", tmp_path / "run")
    [alone] = start_ranks(2, *command, absent=(absent,), RESNEXT_TIMEOUT_SECONDS="1")
    shown = alone.wait()
    assert shown.status == 1
    [said] = sentences(shown)
    assert said.startswith(f"process {1 - absent} could not meet all 2 processes of the run within 1 s")
    assert "MASTER_ADDR" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_lost_ends_the_other_with_a_sentence(
    start_ranks: Cli, steady: Words, kept: Any, tmp_path: Path, victim: int
) -> None:
    run = kept(tmp_path / "run")
    ranks = start_ranks(2, *steady, "--out", run.folder, RESNEXT_TIMEOUT_SECONDS="20")
    ranks[victim].until(lambda: run.step > 0)
    ranks[victim].kill()
    shown = ranks[1 - victim].wait()
    assert shown.status == 1
    [said] = sentences(shown)
    assert said.startswith(f"process {1 - victim} of 2 lost another one")
    assert "training goes on from the last checkpoint" in said


def test_a_signal_to_one_of_two_processes_stops_both_with_a_checkpoint(
    start_ranks: Cli, steady: Words, kept: Any, tmp_path: Path
) -> None:
    run = kept(tmp_path / "run")
    first, second = start_ranks(2, *steady, "--out", run.folder)
    second.until(lambda: run.step > 0)
    second.send(signal.SIGTERM)
    assert second.wait().status == 143
    assert first.wait().status == 143
    assert run.events("end")[0]["is_whole"] is False


# Started by torchrun


def test_a_run_of_which_a_process_is_killed_is_started_again_and_ends_bit_for_bit_the_same(
    start_ranks: Cli, plain: dict[str, str], steady: Words, kept: Any, tmp_path: Path
) -> None:
    peace, run = kept(tmp_path / "peace"), kept(tmp_path / "run")
    assert [started.wait().status for started in start_ranks(2, *steady, "--out", peace.folder)] == [0, 0]

    command = (*TORCHRUN, "--max-restarts", "3", "-m", "resnext", *steady, "--checkpoint-every", "1")
    with subprocess.Popen(
        [*map(str, command), "--out", run.folder],
        env={**plain, "RESNEXT_TIMEOUT_SECONDS": "30"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as launched:
        try:
            while run.step < 10:
                assert launched.poll() is None, launched.communicate()[1]
                time.sleep(0.005)
            os.kill(min(children(launched.pid)), signal.SIGKILL)
            out, err = launched.communicate(timeout=100)
        finally:
            launched.terminate()  # and so, by torchrun, what it has started
    assert launched.returncode == 0, err
    assert "could not meet" not in err, "the processes did not find each other at once when they were started again"
    run.assert_same(peace)
    assert [attempt["num_processes"] for attempt in run.lines("attempts.jsonl")] == [2, 2]
    epochs = [line.split(":")[0] for line in err.splitlines() if line.startswith("epoch ")]
    assert len(epochs) == len(set(epochs)) >= 11
    assert out.splitlines()[-1] == str(run.folder / "best.safetensors")


def test_torchrun_predicts_a_list_from_standard_input(
    cli: Cli, plain: dict[str, str], artefact: Path, photos: Path
) -> None:
    listed = "".join(f"{path}\n" for path in sorted(photos.rglob("*.png"))[::-1])
    command = (*TORCHRUN, "-m", "resnext", "predict", str(artefact), "-", "--json")
    done = subprocess.run(command, env=plain, input=listed, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == cli("predict", artefact, "-", "--json", stdin=listed).out
