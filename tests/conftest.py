import csv
import difflib
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from torch import Tensor, nn

# Tests run side by side, and threads that wait for a busy core in turn make small networks a hundred times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

GOLDEN = Path(__file__).parent / "golden"
_CACHES = ("HF_HOME", "XDG_CACHE_HOME")
COLOURS = ("red", "green", "blue")

settings.register_profile("resnext", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("resnext")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden with what the tests computed")


def pytest_configure() -> None:
    # What is cached and remembered is none of the user's; the datasets library reads the first when it is imported.
    for folder in _CACHES:
        os.environ[folder] = mkdtemp()


def pytest_unconfigure() -> None:
    for folder in _CACHES:
        shutil.rmtree(os.environ[folder], ignore_errors=True)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with tests/golden/<name>, or rewrite that file under --update-golden."""
    is_update = request.config.getoption("--update-golden")
    command = f"pytest --update-golden {shlex.quote(request.node.nodeid)}"

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if is_update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        expected = path.read_text(encoding="utf-8") if path.exists() else ""
        if text != expected:
            state = "differs" if path.exists() else "does not exist"
            lines = (expected.splitlines(), text.splitlines())
            diff = difflib.unified_diff(*lines, f"golden/{name}", "computed", lineterm="")
            difference = "\n".join(diff) or "only the end of the last line differs"
            pytest.fail(
                f"golden/{name} {state}; if the new text is meant, run: {command}\n{difference}",
                pytrace=False,
            )

    return check


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch runtime type checks off, to see the answer to arguments that the annotations forbid."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def randomised() -> Callable[..., None]:
    """Give every batch norm of a network random scale, shift and statistics, in place."""

    @torch.no_grad()
    def randomise(network: nn.Module, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0.0, 0.3, generator=generator)
                module.get_buffer("running_mean").normal_(0.0, 0.3, generator=generator)
                module.get_buffer("running_var").uniform_(0.5, 2.0, generator=generator)
                module.get_buffer("num_batches_tracked").fill_(seed + 3)

    return randomise


@pytest.fixture(scope="session")
def relative_error() -> Callable[[Tensor, Tensor], float]:
    """Norm of the difference over norm of the expected; equal tensors, zeros too, differ by 0."""

    def error(actual: Tensor, expected: Tensor) -> float:
        assert actual.shape == expected.shape
        difference = (actual.double() - expected.double()).norm().item()
        return difference / expected.double().norm().item() if difference else 0.0

    return error


@pytest.fixture(scope="session")
def written() -> Callable[[Path], dict[str, str]]:
    """Write the same images, of three colours in given splits, in every form that there is, and name each."""
    return _written


def _written(root: Path, num_train: int = 24, num_val: int = 9) -> dict[str, str]:
    import datasets  # noqa: PLC0415 - takes a second
    from webdataset import ShardWriter  # noqa: PLC0415

    root.mkdir()
    images = {
        split: [(colour, _png(split, colour, number)) for colour in COLOURS for number in range(count // 3)]
        for split, count in (("train", num_train), ("val", num_val))
    }
    rows = []
    for split, pairs in images.items():
        for number, (colour, content) in enumerate(pairs):
            path = root / "folder" / split / colour / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            rows.append((f"folder/{split}/{colour}/{number:03}.png", colour, split))
        with ShardWriter(f"{root}/{split}-%03d.tar", maxcount=5, verbose=0) as shards:
            for number in np.random.default_rng(0).permutation(len(pairs)).tolist():
                colour, content = pairs[number]
                shards.write({"__key__": f"{number:03}", "png": content, "txt": colour})
    with (root / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows[::-1]])
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=sorted(COLOURS))})
    tables = {
        split: _table(datasets, sorted(pairs, key=lambda pair: pair[0]), features) for split, pairs in images.items()
    }
    for split, table in tables.items():
        (root / "parquet").mkdir(exist_ok=True)
        table.to_parquet(root / "parquet" / f"{split}.parquet")
    datasets.DatasetDict(tables).save_to_disk(root / "saved")
    return {
        "folder": str(root / "folder"),
        "list": str(root / "list.csv"),
        "parquet": f"hf:{root}/parquet",
        "saved": f"hf:{root}/saved",
        "tar": f"wds:{root}",
        "streaming": f"hf:{root}/parquet?streaming=true",
    }


def _table(datasets: Any, pairs: list[tuple[str, bytes]], features: Any) -> Any:
    columns = {
        "image": [{"bytes": content, "path": None} for _, content in pairs],
        "label": [colour for colour, _ in pairs],
    }
    return datasets.Dataset.from_dict(columns, features=features)


def _png(split: str, colour: str, number: int) -> bytes:
    pixels = np.random.default_rng([number, *split.encode()]).integers(0, 100, (16, 16, 3), dtype=np.uint8)
    pixels[..., COLOURS.index(colour)] += 60
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
