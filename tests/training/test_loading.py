from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnext.data.dataset import Data, DataError
from resnext.data.open import open_data
from resnext.data.packed import pack
from resnext.data.views import Remembered
from resnext.spec.recipe import Recipe
from resnext.training.run import Run
from resnext.training.task import Task


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of photographs four times as large as the network's input, of three classes."""
    root = tmp_path_factory.mktemp("photographs")
    for number in range(36):
        cells = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        path = root / ("train" if number < 27 else "val") / "abc"[number % 3] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cells).resize((80, 64), Image.Resampling.BICUBIC).save(path)
    return root


@pytest.fixture
def cropping(demanding: Recipe) -> Recipe:
    return demanding.replace(augmentation={**demanding.augmentation.model_dump(), "crop": "random_resized"})


@pytest.fixture
def fast(cropping: Recipe) -> Recipe:
    return cropping.replace(augmentation={**cropping.augmentation.model_dump(), "decoding": "fast"})


def stopped_and_resumed(start: Callable[..., Run], *data: Data, **given: Any) -> Path:
    """Train on the first data for four steps, and on the second to the end, as if it were the same run."""
    run = start("stopped", data=data[0], resumes=True, **given)
    for _ in islice(run, 4):
        pass
    run.journal.checkpoint(run.state)
    run.folder.release()
    run = start("stopped", data=data[1], resumes=True, **given)
    list(run)
    run.finish()
    return run.folder.path


def test_a_run_that_decodes_what_it_needs_resumes_bit_for_bit_and_learns_something_else(
    photographs: Path,
    start: Callable[..., Run],
    cropping: Recipe,
    fast: Recipe,
    kept: Callable[[Path], dict[str, Any]],
) -> None:
    data = open_data(str(photographs))
    found = {}
    for name, recipe in (("whole", cropping), ("fast", fast)):
        run = start(name, data=data, recipe=recipe)
        list(run)
        run.finish()
        found[name] = kept(run.folder.path)
    assert found["fast"] != found["whole"]
    resumed = kept(stopped_and_resumed(start, data, data, recipe=fast))
    tensors = [key for key in resumed if key.startswith("last ")]
    assert len(tensors) > 10
    assert all(resumed[key] == found["fast"][key] for key in tensors)


def test_fast_decoding_without_its_extra_is_refused_in_a_sentence(
    photographs: Path, fast: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnext.imaging.jpeg.find_spec", lambda package: None)
    with pytest.raises(DataError, match=r"augmentation\.decoding = 'fast'.*pip install 'resnext\[fast\]'"):
        Task(data=open_data(str(photographs)), recipe=fast)


def test_what_each_crop_decodes_is_not_remembered(
    photographs: Path, start: Callable[..., Run], cropping: Recipe, fast: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered: list[Remembered] = []
    begin = Remembered.__init__

    def noted(self: Remembered, dataset: Any) -> None:
        remembered.append(self)
        begin(self, dataset)

    monkeypatch.setattr(Remembered, "__init__", noted)
    data = open_data(str(photographs))
    start("whole", data=data, recipe=cropping).course()
    assert len(remembered) == 1
    start("fast", data=data, recipe=fast).course()
    assert len(remembered) == 1


def test_a_run_on_packed_images_is_that_on_the_folder_and_each_goes_on_as_the_other(
    photographs: Path,
    start: Callable[..., Run],
    cropping: Recipe,
    kept: Callable[[Path], dict[str, Any]],
    tmp_path: Path,
) -> None:
    plain = open_data(str(photographs))
    packed, _ = pack(plain, tmp_path / "cache")
    run = start("plain", data=plain, recipe=cropping)
    list(run)
    run.finish()
    resumed = kept(stopped_and_resumed(start, plain, packed, recipe=cropping))
    expected = kept(run.folder.path)
    tensors = [key for key in resumed if key.startswith(("last ", "checkpoint "))]
    assert len(tensors) > 20
    assert all(resumed[key] == expected[key] for key in tensors)
