import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from resnext.__main__ import main

COLOURS = ("red", "green", "blue")

TINY = """\
name = "tiny"
model = "resnext11_2x2d"
epochs = 2
batch_size = 16
[architecture]
base_channels = 4
[image]
size = 16
[optimiser]
learning_rate = 0.1
"""

# Everything that would change how help and errors are laid out.
_LAYOUT = ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "RESNEXT_TRACEBACK")


# What differs between two runs that learnt the same.
_TIMES = ("time", "train_seconds", "images_per_second", "wall_seconds")

# A process that is forked from one which has torch loaded begins at once; a new Python needs seconds. The libraries of
# the hub are not among what is loaded, since they read the environment when they are imported.
_LOADED = ["resnext.cli.train", "resnext.cli.predict", "resnext.cli.progress", "resnext.training.run", "torch._dynamo"]
_LOADED += ["resnext.artefact.push", "pandas", "pyarrow.parquet"]
_FORKED = """
import os, sys
sys.argv = ["resnext", *arguments]
os.environ.clear()
os.environ.update(environment)
for number, path in enumerate(streams):
    os.dup2(os.open(path, os.O_RDWR), number)
sys.stdin = open(0, encoding="utf-8", closefd=False)
from resnext.__main__ import main
main()
"""


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Started:
    """A process of the command line that is under way, with files as its standard streams."""

    process: BaseProcess
    out: Path
    err: Path

    def send(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def catches(self, number: int) -> bool:
        """Tell whether the process has a handler of its own for a signal."""
        [mask] = re.findall(r"^SigCgt:\s*(\w+)", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        return bool(int(mask, 16) >> (number - 1) & 1)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so, which must be before the process ends."""
        deadline = time.monotonic() + 60
        while not condition():
            assert self.process.is_alive(), f"ended too early: {self.err.read_text()}"
            assert time.monotonic() < deadline, f"took too long: {self.err.read_text()}"
            time.sleep(0.001)

    def wait(self, seconds: float = 60) -> Outcome:
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"does not end: {self.err.read_text()}"
        return Outcome(self.process.exitcode, self.out.read_text(), self.err.read_text())

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@dataclass(frozen=True)
class Kept:
    """What a run has kept in its folder."""

    folder: Path

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoints, newest first."""
        return sorted((self.folder / "checkpoints").glob("step-*.safetensors"), reverse=True)

    @property
    def step(self) -> int:
        """The step of the newest checkpoint; 0 where there is none."""
        return int(self.checkpoints[0].stem.removeprefix("step-")) if self.checkpoints else 0

    @property
    def is_writing_checkpoint(self) -> bool:
        return any((self.folder / "checkpoints").glob(".step-*.tmp"))

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of a log without the times in them."""
        path = self.folder / name
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        return [{key: value for key, value in line.items() if key not in _TIMES} for line in whole]

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        return [line for line in self.lines("events.jsonl") if kind in (None, line["event"])]

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, momentum and statistics of the newest checkpoint."""
        return load_file(self.checkpoints[0])

    def assert_same(self, other: "Kept") -> None:
        """Make sure that two runs learnt the same, bit for bit."""
        assert self.events() == other.events()
        for name in ("best.safetensors", "last.safetensors", self.checkpoints[0].relative_to(self.folder)):
            found, expected = load_file(self.folder / name), load_file(other.folder / name)
            assert found.keys() == expected.keys()
            different = [key for key in found if not torch.equal(found[key], expected[key])]
            assert different == []


@pytest.fixture(scope="session")
def plain() -> dict[str, str]:
    """Return an environment in which output has one width and no colours."""
    fixed = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
    fixed |= {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return {**{name: value for name, value in os.environ.items() if name not in _LAYOUT}, **fixed}


@pytest.fixture(scope="session")
def cli(plain: dict[str, str]) -> Callable[..., Outcome]:
    """Run the whole command line within this process: main, so that statuses and messages are the user's."""

    def run(*arguments: str | Path, stdin: str = "") -> Outcome:
        out, err, status = StringIO(), StringIO(), 0
        patches = (
            patch.object(sys, "argv", ["resnext", *map(str, arguments)]),
            patch.object(sys, "stdin", StringIO(stdin)),
            patch.dict(os.environ, plain, clear=True),
        )
        with redirect_stdout(out), redirect_stderr(err), patches[0], patches[1], patches[2]:
            try:
                main()
            except SystemExit as exit_:
                status = exit_.code if isinstance(exit_.code, int) else 0
        return Outcome(status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def process(plain: dict[str, str]) -> Callable[..., Outcome]:
    """Run the command line as a process of its own, under the name that users know it by."""

    def run(*arguments: str | Path) -> Outcome:
        script = "import sys; sys.argv[0] = 'resnext'; from resnext.__main__ import main; main()"
        command = [sys.executable, "-c", script, *map(str, arguments)]
        done = subprocess.run(command, env=plain, capture_output=True, encoding="utf-8", timeout=120, check=False)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def start(plain: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Started]]:
    """Start the command line as a process of its own, which dies with the test."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    started: list[Started] = []

    def begin(*arguments: str | Path, stdin: str = "", script: str = "", **environment: str) -> Started:
        streams = [tmp_path_factory.mktemp("streams") / name for name in ("in", "out", "err")]
        for path, content in zip(streams, (stdin, "", ""), strict=True):
            path.write_text(content)
        given = {"arguments": [*map(str, arguments)], "environment": {**plain, **environment}}
        process = context.Process(target=exec, args=(script + _FORKED, {**given, "streams": [*map(str, streams)]}))
        process.start()
        started.append(Started(process, streams[1], streams[2]))
        return started[-1]

    yield begin
    for each in started:
        with suppress(ProcessLookupError):
            each.send(signal.SIGCONT)
        each.kill()


@pytest.fixture
def start_ranks(start: Callable[..., Started]) -> Callable[..., list[Started]]:
    """Start the processes of one run, announced to each other as torchrun does."""

    def begin(size: int, *arguments: str | Path, absent: tuple[int, ...] = (), **options: str) -> list[Started]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **options}
        present = [str(rank) for rank in range(size) if rank not in absent]
        return [start(*arguments, **shared, RANK=rank, LOCAL_RANK=rank) for rank in present]

    return begin


@pytest.fixture(scope="session")
def kept() -> type[Kept]:
    return Kept


def save_photos(folder: Path, number: int) -> None:
    """Save so many images of each colour, under noise, in class folders."""
    rng = np.random.default_rng(0)
    for channel, colour in enumerate(COLOURS):
        (folder / colour).mkdir(parents=True)
        for index in range(number):
            pixels = rng.integers(0, 100, (16, 16, 3), dtype=np.uint8)
            pixels[..., channel] += 60
            Image.fromarray(pixels).save(folder / colour / f"{index:02}.png")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a recipe and sixty images of three colours in class folders."""
    place = tmp_path_factory.mktemp("place")
    (place / "tiny.toml").write_text(TINY)
    save_photos(place / "photos", 20)
    return place


@pytest.fixture(scope="session")
def photos(place: Path) -> Path:
    return place / "photos"


@pytest.fixture(scope="session")
def tiny(place: Path) -> Path:
    return place / "tiny.toml"


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of three hundred images, of which 240 are to be trained on."""
    folder = tmp_path_factory.mktemp("many")
    save_photos(folder, 100)
    return folder


@pytest.fixture(scope="session")
def steady(photos: Path, tiny: Path) -> tuple[str | Path, ...]:
    """Return the command of a run of 36 steps, with all that training can keep, that may be cut over processes."""
    settings = ("epochs=12", "batch_norm_images=8", "average_decay=0.9")
    return ("train", photos, "--recipe", tiny, "--threads", "0", *(word for s in settings for word in ("--set", s)))


@pytest.fixture(scope="session")
def undisturbed(cli: Callable[..., Outcome], steady: tuple[str | Path, ...], place: Path) -> Kept:
    """Carry out the steady run in peace."""
    done = cli(*steady, "--out", place / "undisturbed")
    assert done.status == 0, done.err
    return Kept(place / "undisturbed")


@pytest.fixture(scope="session")
def trained(cli: Callable[..., Outcome], place: Path, photos: Path, tiny: Path) -> Outcome:
    """Train once, into the folder `run`, and return what was printed."""
    done = cli("train", photos, "--recipe", tiny, "--out", place / "run", "--threads", 0)
    assert done.status == 0, done.err
    return done


@pytest.fixture(scope="session")
def artefact(trained: Outcome, place: Path) -> Path:
    assert trained.status == 0
    return place / "run" / "best.safetensors"


@pytest.fixture
def spoilt(photos: Path, tmp_path: Path) -> Path:
    """Copy the images, and put a damaged one among them."""
    copy = tmp_path / "spoilt"
    shutil.copytree(photos, copy)
    (copy / "red" / "bad.png").write_bytes((photos / "red" / "00.png").read_bytes()[:100])
    return copy
