import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from resnext.data.augment import augmenter
from resnext.data.loader import Batch, Feed, Loading, UnreadableError, evaluation_batches
from resnext.data.mixing import Mix, mixer
from resnext.data.sampler import Sampler
from resnext.imaging.decode import ImageError
from resnext.imaging.transform import central_crop
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import Augmentation, Mixing

PREPROCESSING = Preprocessing(image_size=6, resize_size=6)
AUGMENT = augmenter(Augmentation(crop="random_resized", flip=True), PREPROCESSING)

sizes = st.integers(1, 40)
threads = st.integers(0, 4)


@dataclass(frozen=True)
class Noise:
    """As many images as asked for, each one its own, some of which cannot be read."""

    num_images: int
    bad: frozenset[int] = frozenset()
    error: Exception | None = None

    @property
    def labels(self) -> list[int]:
        return [index % 3 for index in range(self.num_images)]

    def name(self, index: int) -> str:
        return f"noise[{index}]"

    def image(self, index: int) -> Image.Image:
        if index in self.bad:
            raise self.error or ImageError("the file is empty")
        return Image.fromarray(np.random.default_rng(index).integers(0, 256, (9, 7, 3), dtype=np.uint8))


def feed(
    dataset: Noise, *, batch_size: int = 4, seed: int = 0, num_threads: int = 0, rank: int = 0, of: int = 1
) -> Feed:
    sampler = Sampler(num_images=dataset.num_images, batch_size=batch_size, seed=seed, rank=rank, num_ranks=of)
    return Feed(dataset=dataset, augment=AUGMENT, sampler=sampler, num_threads=num_threads)


def trained(seed: int = 0, epoch: int = 1, num_threads: int = 0, num_images: int = 11) -> list[Batch]:
    return list(feed(Noise(num_images), seed=seed, num_threads=num_threads).batches(epoch))


def is_same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.pixels, b.pixels)
        and torch.equal(a.labels, b.labels)
        and (a.names, a.left_out) == (b.names, b.left_out)
        for a, b in zip(first, second, strict=True)
    )


def wait_for_threads() -> list[str]:
    """Return the loader's threads that still run after they had time to finish the image at hand."""
    end = time.monotonic() + 10
    while (alive := [t.name for t in threading.enumerate() if t.name.startswith("loader")]) and time.monotonic() < end:
        time.sleep(0.01)
    return alive


@given(num_images=st.integers(0, 40), batch_size=sizes, num_threads=threads)
def test_evaluation_shows_each_image_once_in_order(num_images: int, batch_size: int, num_threads: int) -> None:
    dataset = Noise(num_images)
    loading = Loading(batch_size=batch_size, num_threads=num_threads)
    batches = list(evaluation_batches(dataset, PREPROCESSING, loading))
    assert [name for batch in batches for name in batch.names] == [dataset.name(index) for index in range(num_images)]
    assert [label for batch in batches for label in batch.labels.tolist()] == dataset.labels
    assert all(len(batch.labels) == batch_size for batch in batches[:-1])
    assert not any(batch.left_out for batch in batches)


def test_evaluation_shows_an_image_as_the_classifier_will_see_it() -> None:
    dataset = Noise(3)
    [batch] = evaluation_batches(dataset, PREPROCESSING, Loading(batch_size=8))
    assert (batch.pixels.dtype, batch.labels.dtype) == (torch.uint8, torch.int64)
    for index, planes in enumerate(batch.pixels):
        expected = np.asarray(central_crop(dataset.image(index), PREPROCESSING))
        assert np.array_equal(planes.permute(1, 2, 0).numpy(), expected)


@given(num_images=sizes, batch_size=sizes, num_threads=threads, epoch=st.integers(1, 3))
def test_training_shows_no_image_twice_in_an_epoch_and_drops_less_than_a_batch(
    num_images: int, batch_size: int, num_threads: int, epoch: int
) -> None:
    dataset = Noise(num_images)
    batches = list(feed(dataset, batch_size=batch_size, num_threads=num_threads).batches(epoch))
    shown = [(name, label) for batch in batches for name, label in zip(batch.names, batch.labels.tolist(), strict=True)]
    assert len(set(shown)) == len(shown) > num_images - batch_size
    assert set(shown) <= {(dataset.name(index), label) for index, label in enumerate(dataset.labels)}
    assert all(len(batch.labels) == min(batch_size, num_images) for batch in batches)


@pytest.mark.parametrize("num_threads", [1, 3, 20])
def test_training_batches_are_the_same_for_any_number_of_threads(num_threads: int) -> None:
    assert is_same(trained(num_threads=num_threads), trained(num_threads=0))


def test_training_batches_depend_on_the_seed_and_the_epoch_and_on_nothing_else() -> None:
    assert is_same(trained(seed=0, epoch=1), trained(seed=0, epoch=1))
    assert not is_same(trained(seed=1, epoch=1), trained(seed=0, epoch=1))
    assert not is_same(trained(seed=0, epoch=2), trained(seed=0, epoch=1))


def by_name(batches: list[Batch]) -> dict[str, torch.Tensor]:
    return {name: pixels for batch in batches for name, pixels in zip(batch.names, batch.pixels, strict=True)}


def test_both_the_order_and_the_random_changes_differ_between_epochs_and_seeds() -> None:
    first = trained(seed=0, epoch=1)
    for other in (trained(seed=0, epoch=2), trained(seed=1, epoch=1)):
        assert list(by_name(other)) != list(by_name(first))
        assert (shared := by_name(other).keys() & by_name(first).keys())
        assert not all(torch.equal(by_name(first)[name], by_name(other)[name]) for name in shared)


def test_the_random_change_of_an_image_does_not_depend_on_the_batch_it_is_in() -> None:
    one_by_one = by_name(list(feed(Noise(11), batch_size=1).batches(1)))
    assert all(torch.equal(pixels, one_by_one[name]) for name, pixels in by_name(trained()).items())


@given(
    num_images=sizes, share=st.integers(1, 8), of=st.integers(1, 4), num_threads=threads, first_step=st.integers(0, 3)
)
def test_any_number_of_processes_from_any_step_read_the_batches_of_one(
    num_images: int, share: int, of: int, num_threads: int, first_step: int
) -> None:
    assume(min(share * of, num_images) % of == 0)
    dataset = Noise(num_images)
    alone = list(feed(dataset, batch_size=share * of).batches(2))[first_step:]
    parts = [
        list(feed(dataset, batch_size=share * of, num_threads=num_threads, rank=rank, of=of).batches(2, first_step))
        for rank in range(of)
    ]
    together = [
        (torch.cat([part.pixels for part in step]), sum((part.names for part in step), ()))
        for step in zip(*parts, strict=True)
    ]
    assert len(together) == len(alone)
    for (pixels, names), batch in zip(together, alone, strict=True):
        assert torch.equal(pixels, batch.pixels)
        assert names == batch.names


@given(bad=st.frozensets(st.integers(0, 19), max_size=15), of=st.sampled_from([1, 2, 4]))
def test_a_bad_training_image_is_named_and_its_place_taken_so_that_batches_are_full(
    bad: frozenset[int], of: int
) -> None:
    batches = [b for rank in range(of) for b in feed(Noise(20, bad), batch_size=8, rank=rank, of=of).batches(1)]
    assert all(len(batch.labels) == len(batch.pixels) == len(batch.names) == 8 // of for batch in batches)
    assert not {name for batch in batches for name in batch.names} & {f"noise[{index}]" for index in bad}
    named = {line for batch in batches for line in batch.left_out}
    assert named <= {f"noise[{index}]: left out, the file is empty" for index in bad}
    alone = [batch.names for batch in feed(Noise(20, bad), batch_size=8).batches(1)]
    assert [name for batch in batches for name in batch.names if of == 1] == [
        name for names in alone for name in names if of == 1
    ]


@pytest.mark.parametrize(("num_threads", "of"), [(3, 1), (0, 2)])
def test_a_batch_is_mixed_alike_on_any_number_of_threads_and_processes(num_threads: int, of: int) -> None:
    def mixes(**layout: int) -> list[Mix | None]:
        mixing = replace(feed(Noise(20), batch_size=4, **layout), draw_mix=mixer(Mixing(mixup=0.3, cutmix=1.0), 6))
        return [batch.mix for batch in mixing.batches(2)]

    expected = mixes()
    assert len(set(expected)) == len(expected) == 5
    for rank in range(of):
        assert mixes(num_threads=num_threads, rank=rank, of=of) == expected


def test_a_batch_goes_on_being_mixed_from_any_step_as_in_the_whole_epoch() -> None:
    mixing = replace(feed(Noise(20), batch_size=4), draw_mix=mixer(Mixing(cutmix=1.0), 6))
    assert [batch.mix for batch in mixing.batches(1, 3)] == [batch.mix for batch in mixing.batches(1)][3:]


def test_what_is_erased_goes_with_its_image() -> None:
    erasing = augmenter(Augmentation(crop="none", flip=False, erasing=0.5), PREPROCESSING)
    [batch] = replace(feed(Noise(12), batch_size=12), augment=erasing).batches(1)
    assert batch.erased is not None and batch.erased.shape == (12, 4)
    assert 0 < int(batch.erased.any(dim=1).sum()) < 12


def test_data_that_is_gone_is_one_sentence_after_32_images() -> None:
    gone = Noise(100, frozenset(range(100)))
    with pytest.raises(
        UnreadableError, match=r"32 training images in a row .* noise\[\d+\]: left out, the file is empty"
    ):
        next(iter(feed(gone).batches(1)))


@given(bad=st.frozensets(st.integers(0, 19)), batch_size=sizes, num_threads=threads)
def test_a_bad_image_is_named_and_left_out_and_the_rest_goes_on(
    bad: frozenset[int], batch_size: int, num_threads: int
) -> None:
    loading = Loading(batch_size=batch_size, num_threads=num_threads)
    batches = list(evaluation_batches(Noise(20, bad), PREPROCESSING, loading))
    assert [name for b in batches for name in b.names] == [f"noise[{i}]" for i in range(20) if i not in bad]
    assert [line for b in batches for line in b.left_out] == [
        f"noise[{index}]: left out, the file is empty" for index in sorted(bad)
    ]
    assert all(len(b.pixels) == len(b.labels) == len(b.names) for b in batches)


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_an_error_that_is_not_the_images_fault_comes_through_and_ends_the_threads(num_threads: int) -> None:
    dataset = Noise(30, frozenset({9}), RuntimeError("the disk is on fire"))
    loading = Loading(batch_size=4, num_threads=num_threads)
    shown: list[str] = []
    with pytest.raises(RuntimeError, match="the disk is on fire"):
        for batch in evaluation_batches(dataset, PREPROCESSING, loading):
            shown.extend(batch.names)
    assert len(shown) == 8
    assert wait_for_threads() == []


def closed_after_one(batches: Iterator[Batch]) -> None:
    next(batches)
    batches.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("num_threads", [1, 3])
def test_closing_early_leaves_no_thread_running(num_threads: int) -> None:
    loading = Loading(batch_size=2, num_threads=num_threads)
    closed_after_one(evaluation_batches(Noise(200), PREPROCESSING, loading))
    closed_after_one(feed(Noise(200), num_threads=num_threads).batches(1))
    assert wait_for_threads() == []


def test_running_to_the_end_leaves_no_thread_running() -> None:
    trained(num_threads=3)
    assert wait_for_threads() == []


def test_only_a_few_batches_are_prepared_ahead() -> None:
    asked: list[int] = []

    class Counted(Noise):
        def image(self, index: int) -> Image.Image:
            asked.append(index)
            return super().image(index)

    batches = evaluation_batches(Counted(1_000), PREPROCESSING, Loading(batch_size=1, num_threads=2))
    closed_after_one(batches)
    assert wait_for_threads() == []
    assert len(asked) <= 4  # the one that was taken, and one more than there are threads


def test_closing_early_cancels_what_was_not_begun_and_waits_for_nothing() -> None:
    asked: list[int] = []
    gate = threading.Event()

    class Held(Noise):
        def image(self, index: int) -> Image.Image:
            asked.append(index)
            assert index == 0 or gate.wait(10)
            return super().image(index)

    closed_after_one(evaluation_batches(Held(100), PREPROCESSING, Loading(batch_size=1, num_threads=1)))
    gate.set()
    assert wait_for_threads() == []
    assert asked in ([0], [0, 1])
