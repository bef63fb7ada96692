from dataclasses import dataclass

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from resnext.evaluation.outputs import collect


@dataclass(frozen=True)
class Batch:
    pixels: Tensor
    labels: Tensor
    names: tuple[str, ...]


def batches(*sizes: int) -> list[Batch]:
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    places = [torch.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return [Batch(10.0 * place, place % 3, tuple(f"image {int(i)}" for i in place)) for place in places]


def tens(pixels: Tensor) -> Tensor:
    return torch.stack([pixels, pixels + 1, pixels + 2], dim=1).double()


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any))
def test_what_is_said_of_every_image_is_kept_in_order_however_they_are_batched(sizes: list[int]) -> None:
    found, number = collect(tens, batches(*sizes)), sum(sizes)
    assert found.names == tuple(f"image {index}" for index in range(number))
    assert torch.equal(found.labels, torch.arange(number) % 3)
    assert torch.equal(found.logits, tens(10.0 * torch.arange(number)).float())
    assert (found.logits.dtype, found.labels.dtype) == (torch.float32, torch.int64)


def test_of_no_images_nothing_is_kept() -> None:
    found = collect(tens, batches(0, 0))
    assert (found.names, len(found.logits), len(found.labels)) == ((), 0, 0)
