import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

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


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


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


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a recipe and sixty images of three colours in class folders."""
    place = tmp_path_factory.mktemp("place")
    (place / "tiny.toml").write_text(TINY)
    rng = np.random.default_rng(0)
    for channel, colour in enumerate(COLOURS):
        (place / "photos" / colour).mkdir(parents=True)
        for index in range(20):
            pixels = rng.integers(0, 100, (16, 16, 3), dtype=np.uint8)
            pixels[..., channel] += 60
            Image.fromarray(pixels).save(place / "photos" / colour / f"{index:02}.png")
    return place


@pytest.fixture(scope="session")
def photos(place: Path) -> Path:
    return place / "photos"


@pytest.fixture(scope="session")
def tiny(place: Path) -> Path:
    return place / "tiny.toml"


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
