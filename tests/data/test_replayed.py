from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from resnext.data import replayed
from resnext.data.loader import Batch, Loading, evaluation_batches
from resnext.data.replayed import Replayed
from resnext.imaging.decode import ImageError
from resnext.spec.preprocessing import Preprocessing

SEEN = Preprocessing(image_size=8, resize_size=8)
LOADING = Loading(batch_size=4, num_threads=0)
BYTES_PER_BATCH = 4 * 3 * 8 * 8


class Counting:
    """Eleven grey images, the third of which cannot be read; notes which are decoded."""

    def __init__(self) -> None:
        self.labels = [index % 2 for index in range(11)]
        self.decoded: list[int] = []

    def name(self, index: int) -> str:
        return str(index)

    def image(self, index: int) -> Image.Image:
        self.decoded.append(index)
        if index == 2:
            raise ImageError("damaged")
        return Image.fromarray(np.full((8, 8, 3), index, np.uint8))


def told(batches: Iterator[Batch]) -> list[tuple[list[int], list[int], tuple[str, ...]]]:
    return [(batch.pixels[:, 0, 0, 0].tolist(), batch.labels.tolist(), batch.names) for batch in batches]


@pytest.mark.parametrize(
    ("num_kept", "decoded_again"), [(0, range(11)), (1, range(4, 11)), (2, range(8, 11)), (9, range(0))]
)
def test_batches_are_the_same_every_time_and_those_that_fit_are_decoded_once(
    monkeypatch: pytest.MonkeyPatch, num_kept: int, decoded_again: range
) -> None:
    monkeypatch.setattr(replayed, "MAX_REMEMBERED_BYTES", num_kept * BYTES_PER_BATCH)
    dataset = Counting()
    batches = Replayed(dataset, SEEN, LOADING)
    expected = told(evaluation_batches(Counting(), SEEN, LOADING))
    assert [len(pixels) for pixels, *_ in expected] == [3, 4, 3]
    assert told(iter(batches)) == expected
    dataset.decoded.clear()
    assert told(iter(batches)) == told(iter(batches)) == expected
    assert dataset.decoded == [*decoded_again] * 2


def test_what_was_not_read_to_its_end_is_whole_the_next_time() -> None:
    batches = Replayed(Counting(), SEEN, LOADING)
    assert torch.equal(next(iter(batches)).labels, torch.tensor([0, 1, 1]))
    assert told(iter(batches)) == told(evaluation_batches(Counting(), SEEN, LOADING))
