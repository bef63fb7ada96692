"""Photographs for tests: structure at every scale, so that copies are known again and strangers are not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Photograph = Callable[..., Image.Image]


def photograph_of(seed: int, width: int = 120, height: int = 90) -> Image.Image:
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for side in (3, 6, 12, 24):
        cells = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        total += np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC)) / side
    return Image.fromarray((40 + 180 * (total - total.min()) / np.ptp(total)).astype(np.uint8))


@pytest.fixture(scope="session")
def photograph() -> Photograph:
    return photograph_of


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Make a healthy folder of two classes in three splits, 36 photographs in all."""
    for number in range(36):
        class_name, split = (
            ("cats", "dogs")[number % 2],
            ("train", "train", "train", "train", "val", "test")[number // 6],
        )
        folder = tmp_path / "album" / split / class_name
        folder.mkdir(parents=True, exist_ok=True)
        photograph_of(number).save(folder / f"{number:02}.jpg", quality=92)
    return tmp_path / "album"
