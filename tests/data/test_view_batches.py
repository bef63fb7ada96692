from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resnext.data.loader import Loading, ViewBatch, evaluation_batches, view_batches
from resnext.imaging.decode import ImageError
from resnext.imaging.transform import stack
from resnext.imaging.views import views
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.protocol import ScoringProtocol

PREPROCESSING = Preprocessing(image_size=6, resize_size=8)
SINGLE = ScoringProtocol(preprocessing=PREPROCESSING)
TEN = ScoringProtocol(preprocessing=PREPROCESSING, crops="ten")
DENSE = ScoringProtocol(preprocessing=PREPROCESSING, crops="dense", scales=(32, 40))

protocols = st.sampled_from([SINGLE, TEN, DENSE])


@dataclass(frozen=True)
class Shapes:
    """As many images as asked for, no two of one shape, some of which cannot be read."""

    num_images: int
    bad: frozenset[int] = frozenset()

    @property
    def labels(self) -> list[int]:
        return [index % 3 for index in range(self.num_images)]

    def name(self, index: int) -> str:
        return f"shape[{index}]"

    def image(self, index: int) -> Image.Image:
        if index in self.bad:
            raise ImageError("the file is empty")
        shape = (9 + index, 7 + 2 * index, 3)
        return Image.fromarray(np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8))


def every_view(batches: list[ViewBatch]) -> list[list[torch.Tensor]]:
    """Return the views of each image, in order."""
    return [[view[place] for view in batch.pixels] for batch in batches for place in range(len(batch.labels))]


@given(
    protocol=protocols,
    num_images=st.integers(0, 12),
    bad=st.frozensets(st.integers(0, 11)),
    batch_size=st.integers(1, 20),
    num_threads=st.integers(0, 3),
)
def test_each_readable_image_is_shown_once_in_its_views_whatever_the_batch_size(
    protocol: ScoringProtocol, num_images: int, bad: frozenset[int], batch_size: int, num_threads: int
) -> None:
    dataset = Shapes(num_images, bad)
    batches = list(view_batches(dataset, protocol, Loading(batch_size=batch_size, num_threads=num_threads)))
    readable = [index for index in range(num_images) if index not in bad]
    assert [name for batch in batches for name in batch.names] == [dataset.name(index) for index in readable]
    assert [label for batch in batches for label in batch.labels.tolist()] == [dataset.labels[i] for i in readable]
    assert sum(len(batch.left_out) for batch in batches) == num_images - len(readable)
    for index, shown in zip(readable, every_view(batches), strict=True):
        expected = views(dataset.image(index), protocol)
        assert all(torch.equal(one, stack([view])[0]) for one, view in zip(shown, expected, strict=True))


def test_crops_are_stacked_and_whole_images_of_many_shapes_come_one_at_a_time() -> None:
    sizes = {
        protocol.crops: [len(batch.labels) for batch in view_batches(Shapes(7), protocol, Loading(batch_size=3))]
        for protocol in (SINGLE, TEN, DENSE)
    }
    assert sizes == {"single": [3, 3, 1], "ten": [3, 3, 1], "dense": [1] * 7}


def test_an_image_that_cannot_be_read_is_named_with_the_reason() -> None:
    for protocol in (SINGLE, TEN, DENSE):
        batches = list(view_batches(Shapes(2, frozenset({1})), protocol, Loading(batch_size=1)))
        assert [batch.left_out for batch in batches] == [(), ("shape[1]: left out, the file is empty",)]


def test_a_batch_of_which_no_image_can_be_read_has_every_view_without_an_image() -> None:
    for protocol in (SINGLE, TEN, DENSE):
        for batch in view_batches(Shapes(4, frozenset(range(4))), protocol, Loading(batch_size=4)):
            assert [len(view) for view in batch.pixels] == [0] * protocol.num_views
            assert (batch.labels.tolist(), batch.names) == ([], ())
            assert len(batch.left_out) == (1 if protocol is DENSE else 4)


def test_the_single_view_is_that_of_plain_batches() -> None:
    loading = Loading(batch_size=4)
    plain = evaluation_batches(Shapes(10), PREPROCESSING, loading)
    for one, other in zip(plain, view_batches(Shapes(10), SINGLE, loading), strict=True):
        assert torch.equal(one.pixels, other.pixels[0])
        assert (one.names, len(other.pixels)) == (other.names, 1)
