import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from resnext.training.objective import Target, cross_entropy

SEEDS = st.integers(0, 10**6)


def drawn(seed: int, number: int = 9, num_classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(number, num_classes, dtype=torch.float64, generator=generator)
    return logits, *torch.randint(num_classes, (2, number), generator=generator)


@given(seed=SEEDS, weight=st.floats(0, 1), smoothing=st.floats(0, 0.5))
def test_the_shares_of_labels_are_a_distribution(seed: int, weight: float, smoothing: float) -> None:
    logits, own, partners = drawn(seed)
    shares = weight * torch.eye(4)[own] + (1 - weight) * torch.eye(4)[partners]
    shares = (1 - smoothing) * shares.double() + smoothing / 4
    assert shares.sum(dim=1).numpy() == pytest.approx(1)
    expected = -(shares * logits.log_softmax(dim=1)).sum()
    actual = cross_entropy(logits, Target(own, partners, weight), smoothing, None)
    assert float(actual) == pytest.approx(float(expected), rel=1e-6)


@given(seed=SEEDS)
def test_an_images_loss_is_weighed_by_its_class_and_by_nothing_else_of_the_batch(seed: int) -> None:
    logits, own, _ = drawn(seed)
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    alone = [
        float(weights[label] * cross_entropy(row[None], Target(label[None]), 0.0, None))
        for row, label in zip(logits, own, strict=True)
    ]
    assert float(cross_entropy(logits, Target(own), 0.0, weights)) == pytest.approx(sum(alone))


@given(seed=SEEDS, size=st.integers(1, 12), weight=st.none() | st.floats(0, 1))
def test_parts_add_up_to_the_whole(seed: int, size: int, weight: float | None) -> None:
    logits, own, partners = drawn(seed)
    target = Target(own) if weight is None else Target(own, partners, weight)
    parts = list(zip(torch.split(logits, size), target.split(size), strict=True))
    total = sum(float(cross_entropy(*part, 0.1, None)) for part in parts)
    assert total == pytest.approx(float(cross_entropy(logits, target, 0.1, None)))
    assert torch.equal(torch.cat([part.main for _, part in parts]), target.main)


@pytest.mark.parametrize(("weight", "main"), [(1.0, [0, 1]), (0.5, [0, 1]), (0.4, [2, 3])])
def test_the_main_label_is_that_of_the_greater_share(weight: float, main: list[int]) -> None:
    assert Target(torch.tensor([0, 1]), torch.tensor([2, 3]), weight).main.tolist() == main
