import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support, top_k_accuracy_score
from torch import Tensor

from resnext.evaluation.metrics import Counts, Scores

seeds = st.integers(0, 10**6)
num_images = st.integers(1, 60)
num_classes = st.integers(2, 12)


def guesses(seed: int, images: int, classes: int) -> tuple[Tensor, Tensor]:
    """Draw logits, no two of an image equal, and labels that they get right more often than chance."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator, dtype=torch.float64)
    logits[torch.arange(images), labels] += 1.0
    return logits, labels


def scored(logits: Tensor, labels: Tensor) -> Scores:
    return Scores.of(Counts.of(logits, labels), [f"class {index}" for index in range(logits.shape[1])])


def percent(values: Sequence[float], known: Sequence[int]) -> list[float | None]:
    """Turn scikit-learn's fractions into ours: percent, and None where it divided by nothing."""
    return [100 * float(value) if count else None for value, count in zip(values, known, strict=True)]


@given(seed=seeds, images=num_images, classes=num_classes)
def test_confusion_error_and_loss_are_scikit_learns(seed: int, images: int, classes: int) -> None:
    logits, labels = guesses(seed, images, classes)
    scores = scored(logits, labels)
    said = logits.argmax(dim=1)
    expected = confusion_matrix(labels, said, labels=range(classes))
    assert np.array_equal(np.array(scores.confusion), expected)
    assert scores.num_images == images
    assert scores.top1_error_percent == pytest.approx(100 * (said != labels).double().mean().item(), rel=1e-12)
    loss = log_loss(labels.numpy(), logits.softmax(dim=1).numpy(), labels=range(classes))
    assert scores.loss == pytest.approx(loss, rel=1e-9)


@given(seed=seeds, images=num_images, classes=num_classes)
def test_precision_recall_and_support_are_scikit_learns(seed: int, images: int, classes: int) -> None:
    logits, labels = guesses(seed, images, classes)
    scores = scored(logits, labels)
    precision, recall, _, support = precision_recall_fscore_support(
        labels.numpy(), logits.argmax(dim=1).numpy(), labels=range(classes), zero_division=0
    )
    times_said = np.array(scores.confusion).sum(axis=0).tolist()
    assert [each.name for each in scores.classes] == [f"class {index}" for index in range(classes)]
    assert [each.support for each in scores.classes] == support.tolist()
    assert [each.precision_percent for each in scores.classes] == pytest.approx(percent(precision, times_said))
    assert [each.recall_percent for each in scores.classes] == pytest.approx(percent(recall, support))


@given(seed=seeds, images=num_images, classes=st.integers(6, 12))
def test_the_top_5_error_is_scikit_learns(seed: int, images: int, classes: int) -> None:
    logits, labels = guesses(seed, images, classes)
    accuracy = top_k_accuracy_score(labels.numpy(), logits.numpy(), k=5, labels=range(classes))
    assert scored(logits, labels).top5_error_percent == pytest.approx(100 * (1 - accuracy), abs=1e-9)


@pytest.mark.parametrize(("classes", "is_given"), [(1, False), (5, False), (6, True)])
def test_with_five_classes_or_fewer_there_is_no_top_5_error(classes: int, is_given: bool) -> None:
    scores = scored(*guesses(0, 10, classes))
    assert (scores.top5_error_percent is not None) is is_given


def test_a_class_never_said_has_no_precision_and_one_never_seen_no_recall() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    cat, dog, ant = scored(logits, torch.tensor([0, 1])).classes
    assert (cat.precision_percent, cat.recall_percent, cat.support) == (50.0, 100.0, 1)
    assert (dog.precision_percent, dog.recall_percent, dog.support) == (None, 0.0, 1)
    assert (ant.precision_percent, ant.recall_percent, ant.support) == (None, None, 0)


def test_a_row_of_the_confusion_is_a_true_class() -> None:
    logits = torch.tensor([[0.0, 9.0], [0.0, 9.0], [9.0, 0.0]])
    assert scored(logits, torch.tensor([0, 0, 0])).confusion == ((1, 2), (0, 0))


@given(seed=seeds, images=st.integers(1, 40), data=st.data())
def test_any_partition_into_batches_gives_the_same_scores(seed: int, images: int, data: st.DataObject) -> None:
    logits, labels = guesses(seed, images, 7)
    cuts = sorted(data.draw(st.lists(st.integers(0, images), max_size=6)))
    counts = Counts.none(7)
    for start, end in zip([0, *cuts], [*cuts, images], strict=True):
        counts += Counts.of(logits[start:end], labels[start:end])
    names = [str(index) for index in range(7)]
    merged, whole = Scores.of(counts, names), Scores.of(Counts.of(logits, labels), names)
    assert merged.loss == pytest.approx(whole.loss, rel=1e-12)
    assert (merged.confusion, merged.classes) == (whole.confusion, whole.classes)
    assert merged.top1_error_percent == whole.top1_error_percent
    assert merged.top5_error_percent == whole.top5_error_percent


@given(seed=seeds)
def test_merging_is_associative_and_commutative(seed: int) -> None:
    a, b, c = (Counts.of(*guesses(seed + index, 5, 4)) for index in range(3))
    for left, right in (((a + b) + c, a + (b + c)), (a + b, b + a), (a + Counts.none(4), a)):
        assert torch.equal(left.confusion, right.confusion)
        assert left.num_top5_correct == right.num_top5_correct
        assert math.isclose(left.loss_sum, right.loss_sum, rel_tol=1e-12)


def test_merging_leaves_the_parts_as_they_were() -> None:
    first, second = Counts.of(*guesses(0, 5, 4)), Counts.of(*guesses(1, 5, 4))
    before = first.confusion.clone()
    total = first + second
    assert (total.num_images, first.num_images) == (10, 5)
    assert torch.equal(first.confusion, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_loss_is_summed_in_double_precision_whatever_the_logits_are(dtype: torch.dtype) -> None:
    logits, labels = guesses(0, 50, 8)
    narrow = logits.to(dtype)
    expected = torch.nn.functional.cross_entropy(narrow.double(), labels).item()
    assert scored(narrow, labels).loss == pytest.approx(expected, rel=1e-12)


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="no images to score"):
        Scores.of(Counts.none(3), ["a", "b", "c"])


@given(levels=st.lists(st.lists(st.integers(0, 1), min_size=10, max_size=10), min_size=1, max_size=8))
def test_the_top_5_error_is_never_above_the_top_1_error_even_among_equal_logits(levels: list[list[int]]) -> None:
    logits = torch.tensor(levels, dtype=torch.float64)
    scores = scored(logits, logits.argmax(dim=1))
    assert scores.top1_error_percent == 0
    assert scores.top5_error_percent == 0
