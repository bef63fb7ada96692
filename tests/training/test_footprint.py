import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from resnext.data.dataset import ArrayDataset, Data
from resnext.data.stream import Stream
from resnext.data.views import Selected
from resnext.spec.complexity import complexity
from resnext.spec.recipe import Recipe
from resnext.training.footprint import Footprint, advice, measure_footprint, remembered_fraction
from resnext.training.machine import Machine
from resnext.training.task import Task
from resnext.training.world import World

HERE = Machine(device="cpu", num_threads=0)

# A process of its own forecasts, trains, and says what it forecast and the most that it then held, both beyond itself.
MEASURED = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
import numpy as np
import resnext
from resnext.data.dataset import ArrayDataset, Data
from resnext.training.footprint import measure_footprint
from resnext.training.machine import Machine
from resnext.training.task import Task, adapt
from resnext.training.world import World

def images(number):
    pixels = np.random.default_rng(0).integers(0, 256, (number, 32, 32, 3), dtype=np.uint8)
    return ArrayDataset("noise", pixels, [index % 2 for index in range(number)])

data = Data(source="noise", class_names=("a", "b"), splits={"train": images(64), "val": images(8)}, digest="0" * 64)
machine = Machine(device="cpu", num_threads=0)
settings = {"model": "resnext20_8x4d", "epochs": 1, "batch_size": 32, **eval(sys.argv[1])}
recipe, _ = adapt(resnext.read_recipe("quick", settings), data, machine)
forecast = measure_footprint(Task(data=data, recipe=recipe), machine, World())
assert forecast.activations_bytes > 200e6
Path("/proc/self/clear_refs").write_text("5")
with TemporaryDirectory() as folder:
    resnext.train(data, recipe, folder + "/run", machine=machine)
[peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(forecast.peak_bytes - forecast.process_bytes, 1024 * int(peak) - forecast.process_bytes)
"""


@pytest.fixture(scope="module")
def footprint(data: Data, recipe: Recipe) -> Footprint:
    return measure_footprint(Task(data=data, recipe=recipe), HERE, World())


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the most memory a process held is Linux's")
@pytest.mark.parametrize("settings", [{}, {"batch_norm_images": 16}], ids=["whole batch", "groups"])
def test_the_peak_is_forecast_to_a_third(settings: dict[str, int]) -> None:
    command = [sys.executable, "-c", MEASURED, repr(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    forecast, measured = map(int, done.stdout.split())
    assert forecast == pytest.approx(measured, rel=0.35)


def test_what_is_kept_is_counted_in_bytes(footprint: Footprint, data: Data, recipe: Recipe) -> None:
    cost = complexity(recipe.network(), 16)
    assert footprint.weights_bytes == footprint.gradients_bytes == footprint.momentum_bytes == 4 * cost.params
    assert (footprint.average_bytes, footprint.num_images) == (0, 8)
    # Autograd keeps what enters and what leaves every batch norm, and the image: about twice what convolutions write.
    assert 4 * cost.activations < footprint.image_bytes < 4 * 4 * cost.activations
    assert footprint.activations_bytes == footprint.fixed_bytes + 8 * footprint.image_bytes
    assert footprint.activations_bytes < footprint.peak_bytes


def test_images_at_a_time_groups_and_averages_are_seen(data: Data, recipe: Recipe, footprint: Footprint) -> None:
    grouped = recipe.replace(batch_norm_images=4, average_decay=0.9)
    parts = measure_footprint(Task(data=data, recipe=grouped), replace(HERE, micro_batch_size=4), World())
    assert (parts.num_images, parts.average_bytes) == (4, parts.weights_bytes)
    assert parts.image_bytes == pytest.approx(footprint.image_bytes, rel=0.3)


def test_double_precision_takes_twice_the_memory(data: Data, recipe: Recipe, footprint: Footprint) -> None:
    double = measure_footprint(Task(data=data, recipe=recipe), replace(HERE, precision="fp64"), World())
    assert double.weights_bytes == 2 * footprint.weights_bytes
    assert double.image_bytes == pytest.approx(2 * footprint.image_bytes, rel=0.1)


def test_two_images_are_enough_to_forecast(images: Callable[..., ArrayDataset], data: Data, recipe: Recipe) -> None:
    few = replace(data, splits={**data.splits, "train": images("train", 2)})
    assert measure_footprint(Task(data=few, recipe=recipe), HERE, World()).image_bytes > 0


@pytest.fixture
def short(data: Data, recipe: Recipe, footprint: Footprint) -> Callable[..., str | None]:
    """Return the advice for a machine that has room for only so many images at a time."""

    def advise(room: int, **changes: Any) -> str | None:
        made = replace(footprint, num_images=8, image_bytes=10**9, scoring_bytes=0)
        available = replace(made, num_images=room).peak_bytes
        task = Task(data=data, recipe=recipe.replace(**changes))
        return advice(replace(made, available_bytes=available), task, World())

    return advise


def test_nothing_is_advised_where_memory_suffices(short: Callable[..., str | None]) -> None:
    assert short(8) is None


def test_the_largest_micro_batch_that_fits_is_advised(short: Callable[..., str | None]) -> None:
    said = short(5, batch_norm_images=2)
    assert said is not None
    assert "it will not fit: about" in said
    assert "; --micro-batch 4 needs about" in said


def test_a_batch_that_may_not_be_cut_is_given_groups_with_a_caution(short: Callable[..., str | None]) -> None:
    said = short(2)
    assert said is not None
    assert "--set batch_norm_images=2 --micro-batch 2" in said
    assert "statistics from fewer images" in said


def test_where_no_part_fits_less_is_advised(short: Callable[..., str | None]) -> None:
    said = short(3, batch_norm_images=4)
    assert said is not None
    assert said.endswith("a smaller model, image.size, batch_size or batch_norm_images needs less")


def test_images_that_fit_are_all_remembered_and_of_large_ones_a_part(images: Callable[..., ArrayDataset]) -> None:
    assert remembered_fraction(images("small", 8)) == 1.0

    large = images("large", 1, size=512)
    assert remembered_fraction(Selected(large, [0] * 512)) == pytest.approx(0.5, rel=0.01)


def test_a_stream_remembers_nothing_but_fills_its_window(
    streamed: Data, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = streamed.split("train")
    assert isinstance(stream, Stream)
    assert remembered_fraction(stream) == 0.0

    task = Task(data=streamed, recipe=recipe)
    whole = measure_footprint(task, HERE, World())
    monkeypatch.setattr("resnext.training.footprint.WINDOW", 10)
    short = measure_footprint(task, HERE, World())
    encoded_bytes = fmean(len(picture.content) for picture in stream.samples())
    assert whole.loading_bytes - short.loading_bytes == pytest.approx((24 - 10) * encoded_bytes, rel=0.05)
    assert (whole.image_bytes, whole.scoring_bytes) == (short.image_bytes, short.scoring_bytes)
