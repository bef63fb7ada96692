from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resnext.data.dataset import ArrayDataset
from resnext.data.open import open_data
from resnext.data.sample import Held, sample, stream_sample
from resnext.data.stream import Stream


@pytest.fixture
def stream(written: Callable[[Path], dict[str, str]], tmp_path: Path) -> Stream:
    """Return twenty-four images in five shards."""
    train = open_data(written(tmp_path / "data")["tar"]).split("train")
    assert isinstance(train, Stream)
    return train


@pytest.mark.parametrize(("number", "places"), [(1, [0]), (4, [0, 3, 6, 9]), (30, list(range(10)))])
def test_images_are_spread_over_a_data_set(number: int, places: list[int]) -> None:
    images = ArrayDataset("noise", np.zeros((10, 4, 4), np.uint8), [0] * 10)
    assert [picture.index for picture in sample(images, number)] == places


@pytest.mark.parametrize(
    ("number", "places"), [(2, [0, 20]), (10, [0, 1, 5, 6, 10, 11, 15, 16, 20, 21]), (99, list(range(24)))]
)
def test_of_a_stream_they_are_the_first_of_its_shards(stream: Stream, number: int, places: list[int]) -> None:
    assert [picture.index for picture in sample(stream, number)] == places


def test_held_images_are_those_of_the_stream_in_any_order(stream: Stream) -> None:
    held = Held(stream_sample(stream, 24))
    for index, picture in reversed(list(enumerate(stream.samples()))):
        assert (held.name(index), held.labels[index]) == (picture.name, picture.label)
        assert np.array_equal(np.asarray(held.image(index)), np.asarray(picture.image()))
