"""Kill training at random moments and see that what it ends with is what it would have ended with.

A run is killed with SIGKILL thirty times, ten of them while a checkpoint is being written, and resumed each time; its
weights, momentum and batch statistics must then be those of an undisturbed run, bit for bit, and its event log the
same but for times. Then the same for a run of two processes under torchrun, of which one is killed at a time.

    python benchmarks/kill_and_resume.py
"""

import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

NUM_KILLS, NUM_WRITE_KILLS, NUM_ELASTIC_KILLS = 30, 10, 6
SECONDS_BEFORE_KILL = (0.0, 6.0)
TIMES = ("time", "train_seconds", "images_per_second", "wall_seconds")
RECIPE = """\
name = "killed"
model = "resnext11_8x16d"
epochs = {epochs}
batch_size = 64
batch_norm_images = 16
average_decay = 0.99
[image]
size = 16
[optimiser]
learning_rate = 0.05
"""


@dataclass(frozen=True)
class Outcome:
    """What was done to a run, and whether it ended as the undisturbed one did."""

    num_processes: int
    num_kills: int
    num_kills_during_write: int
    num_steps: int
    num_tensors: int
    is_bit_identical: bool
    is_same_log: bool
    seconds: float


def command(recipe: Path, out: Path, num_processes: int) -> list[str]:
    """Return the command that begins a run or goes on with it."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes))
    launcher = (*torchrun, "--max-restarts", str(NUM_ELASTIC_KILLS + 2)) if num_processes > 1 else ()
    options = ("--recipe", recipe, "--out", out, "--threads", "0", "--checkpoint-every", "4", "--resume")
    return [sys.executable, *launcher, "-m", "resnext", "train", "digits", *map(str, options)]


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, in silence; as many threads in every one, since they round."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(arguments, env=environment, start_new_session=True, **quiet)  # type: ignore[call-overload, no-any-return]


def carry_out(arguments: list[str]) -> None:
    """Run a process to its end. Raises `RuntimeError` where it fails."""
    if status := start(arguments).wait():
        raise RuntimeError(f"the run ended with status {status}")


def num_attempts(out: Path) -> int:
    """Return how often a run has been started."""
    attempts = out / "attempts.jsonl"
    return len(attempts.read_text().splitlines()) if attempts.exists() else 0


def wait(happened: Any, process: subprocess.Popen[bytes]) -> None:
    """Wait until something has happened. Raises `RuntimeError` where the process ends before."""
    while not happened():
        if process.poll() is not None:
            raise RuntimeError(f"the run ended with status {process.returncode} before all kills; make it longer")
        time.sleep(0.0005)


def is_writing(out: Path) -> bool:
    """Tell whether a checkpoint is being written."""
    return any((out / "checkpoints").glob(".step-*.tmp"))


def killed(recipe: Path, out: Path, rng: random.Random) -> tuple[int, int]:
    """Carry out a run with kills between, and return how many there were and how many hit a write."""
    aims = [True] * NUM_WRITE_KILLS + [False] * (NUM_KILLS - NUM_WRITE_KILLS)
    rng.shuffle(aims)
    num_hits = 0
    for aims_at_write in aims:
        before = num_attempts(out)
        process = start(command(recipe, out, 1))
        wait(lambda before=before: num_attempts(out) > before, process)
        time.sleep(rng.uniform(*SECONDS_BEFORE_KILL))
        if aims_at_write:
            wait(lambda: is_writing(out), process)
        process.kill()
        process.wait()
        num_hits += is_writing(out)
    carry_out(command(recipe, out, 1))
    return NUM_KILLS, num_hits


def workers(launcher: int) -> Iterator[int]:
    """Yield the processes that torchrun has started."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == launcher:
            yield int(path.parent.name)


def killed_elastically(recipe: Path, out: Path, rng: random.Random) -> tuple[int, int]:
    """Carry out a run of two processes of which one is killed now and then."""
    num_hits = 0
    process = start(command(recipe, out, 2))
    for number in range(NUM_ELASTIC_KILLS):
        wait(lambda number=number: num_attempts(out) > number, process)
        time.sleep(rng.uniform(*SECONDS_BEFORE_KILL))
        if number % 3 == 0:
            wait(lambda: is_writing(out), process)
        victims = sorted(workers(process.pid))
        os.kill(victims[0] if number % 3 == 0 else rng.choice(victims), signal.SIGKILL)
        num_hits += is_writing(out)
    if process.wait() != 0:
        raise RuntimeError(f"the run of two processes ended with status {process.returncode}")
    return NUM_ELASTIC_KILLS, num_hits


def newest(out: Path) -> Path:
    """Return the last checkpoint of a run."""
    return max((out / "checkpoints").glob("*.safetensors"))


def log(out: Path) -> list[dict[str, Any]]:
    """Return the event log without its times."""
    lines = map(json.loads, (out / "events.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def compare(folder: Path, num_processes: int, num_epochs: int) -> Outcome:
    """Carry out a run twice, undisturbed and killed, and compare how they ended."""
    recipe = folder / "killed.toml"
    recipe.write_text(RECIPE.format(epochs=num_epochs))
    undisturbed, disturbed = folder / f"undisturbed-{num_processes}", folder / f"killed-{num_processes}"
    carry_out(command(recipe, undisturbed, num_processes))
    started = time.perf_counter()
    kill = killed if num_processes == 1 else killed_elastically
    num_kills, num_hits = kill(recipe, disturbed, random.Random(num_processes))
    seconds = time.perf_counter() - started
    expected, found = load_file(newest(undisturbed)), load_file(newest(disturbed))
    return Outcome(
        num_processes=num_processes,
        num_kills=num_kills,
        num_kills_during_write=num_hits,
        num_steps=log(undisturbed)[-2]["step"],
        num_tensors=len(expected),
        is_bit_identical=expected.keys() == found.keys() and all(torch.equal(found[k], expected[k]) for k in expected),
        is_same_log=log(undisturbed) == log(disturbed),
        seconds=round(seconds, 1),
    )


def main() -> None:
    """Kill, compare, write the results beside this script, and fail where anything differs."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [compare(Path(folder), 1, 15), compare(Path(folder), 2, 12)]
    facts = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    here = Path(__file__)
    here.with_suffix(".json").write_text(json.dumps({**facts, "runs": [asdict(o) for o in outcomes]}, indent=2) + "\n")
    rows = [
        f"| {o.num_processes} | {o.num_kills} | {o.num_kills_during_write} | {o.num_steps} | {o.num_tensors} |"
        f" {'yes' if o.is_bit_identical else 'NO'} | {'yes' if o.is_same_log else 'NO'} |"
        for o in outcomes
    ]
    header = "| processes | kills | of these during a write | steps | tensors | bit for bit the same | same log |"
    text = "\n".join(["# Killed and resumed", "", header, "|---:|---:|---:|---:|---:|---|---|", *rows, ""])
    here.with_suffix(".md").write_text(text)
    print(text)
    if not all(outcome.is_bit_identical and outcome.is_same_log for outcome in outcomes):
        raise SystemExit("a killed run ended otherwise than an undisturbed one")


if __name__ == "__main__":
    main()
