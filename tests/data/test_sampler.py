from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from resnext.data.sampler import Sampler

SEEDS, EPOCHS, NUM_IMAGES = st.integers(0, 2**63 - 1), st.integers(1, 10_000), st.integers(1, 300)


def samplers(num_images: int, batch_size: int, seed: int, num_ranks: int) -> list[Sampler]:
    alone = Sampler(num_images=num_images, batch_size=batch_size, seed=seed, num_ranks=num_ranks)
    return [replace(alone, rank=rank) for rank in range(num_ranks)]


@given(num_images=NUM_IMAGES, batch_size=st.integers(1, 100), first_step=st.integers(0, 5))
def test_the_batches_of_an_epoch_are_neighbouring_parts_of_its_order(
    num_images: int, batch_size: int, first_step: int
) -> None:
    sampler = Sampler(num_images=num_images, batch_size=batch_size, seed=0)
    size = min(batch_size, num_images)
    places = [place for step in range(first_step, sampler.steps_per_epoch) for place in sampler.positions(step)]
    assert places == list(range(first_step * size, sampler.steps_per_epoch * size))
    assert len(places) % size == 0
    assert num_images - sampler.steps_per_epoch * size < batch_size


@given(
    num_images=NUM_IMAGES, share=st.integers(1, 20), num_ranks=st.integers(1, 9), seed=SEEDS, step=st.integers(0, 300)
)
def test_the_parts_of_all_processes_joined_by_rank_are_the_batch_of_one(
    num_images: int, share: int, num_ranks: int, seed: int, step: int
) -> None:
    batch_size = share * num_ranks
    assume(num_images >= batch_size)
    alone = Sampler(num_images=num_images, batch_size=batch_size, seed=seed)
    step %= alone.steps_per_epoch
    parts = [sampler.positions(step) for sampler in samplers(num_images, batch_size, seed, num_ranks)]
    assert [len(part) for part in parts] == [share] * num_ranks
    assert [place for part in parts for place in part] == list(alone.positions(step))


@given(num_images=NUM_IMAGES, num_ranks=st.integers(1, 9), seed=SEEDS, epoch=EPOCHS)
def test_every_process_shuffles_all_images_the_same_way(num_images: int, num_ranks: int, seed: int, epoch: int) -> None:
    orders = [sampler.order(epoch) for sampler in samplers(num_images, num_ranks, seed, num_ranks)]
    assert sorted(orders[0]) == list(range(num_images))
    assert all(np.array_equal(order, orders[0]) for order in orders)


@given(seed=SEEDS, epoch=EPOCHS)
def test_seeds_and_epochs_have_orders_of_their_own(seed: int, epoch: int) -> None:
    sampler = Sampler(num_images=100, batch_size=10, seed=seed)
    other = Sampler(num_images=100, batch_size=10, seed=seed + 1)
    assert np.array_equal(sampler.order(epoch), Sampler(num_images=100, batch_size=7, seed=seed).order(epoch))
    assert not np.array_equal(sampler.order(epoch), sampler.order(epoch + 1))
    assert not np.array_equal(sampler.order(epoch), other.order(epoch))


@given(seed=SEEDS, epoch=EPOCHS, index=st.integers(0, 2_000_000))
def test_what_is_drawn_for_an_image_depends_on_seed_epoch_and_index_alone(seed: int, epoch: int, index: int) -> None:
    def draw(seed: int, epoch: int, index: int, **layout: Any) -> float:
        sampler = Sampler(num_images=2_000_001, batch_size=6, seed=seed)
        return replace(sampler, **layout).generator(epoch, index).random()

    value = draw(seed, epoch, index)
    assert value == draw(seed, epoch, index, rank=2, num_ranks=3, batch_size=12)
    others = [draw(seed + 1, epoch, index), draw(seed, epoch + 1, index), draw(seed, epoch, index + 1)]
    assert len({value, *others}) == 4


def test_the_order_of_an_epoch_never_changes_between_versions() -> None:
    sampler = Sampler(num_images=10, batch_size=5, seed=7)
    assert sampler.order(1).tolist() == [7, 2, 1, 0, 6, 9, 8, 4, 3, 5]
    assert sampler.generator(1, 3).integers(1_000_000) == 802_442


LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80)


def balanced(labels: list[int], seed: int = 0, **layout: Any) -> Sampler:
    return Sampler(num_images=len(labels), batch_size=4, seed=seed, labels=labels, **layout)


@given(labels=LABELS, seed=SEEDS, epoch=EPOCHS)
def test_a_balanced_epoch_has_as_many_images_and_every_class_the_same_number_within_one(
    labels: list[int], seed: int, epoch: int
) -> None:
    order = balanced(labels, seed).order(epoch).tolist()
    shown = Counter(labels[index] for index in order)
    assert len(order) == len(labels)
    assert shown.keys() <= set(labels)
    numbers = [shown[label] for label in set(labels)]
    assert max(numbers) - min(numbers) <= 1


@given(labels=LABELS, seed=SEEDS, epoch=EPOCHS)
def test_a_balanced_epoch_repeats_no_image_before_all_others_of_its_class(
    labels: list[int], seed: int, epoch: int
) -> None:
    times = Counter(balanced(labels, seed).order(epoch).tolist())
    for label in set(labels):
        of_class = [times[index] for index, other in enumerate(labels) if other == label]
        assert max(of_class) - min(of_class) <= 1


@given(labels=LABELS, num_ranks=st.integers(1, 4), seed=SEEDS, epoch=EPOCHS)
def test_every_process_balances_the_same_way(labels: list[int], num_ranks: int, seed: int, epoch: int) -> None:
    orders = [balanced(labels, seed, rank=rank, num_ranks=num_ranks).order(epoch) for rank in range(num_ranks)]
    assert all(np.array_equal(order, orders[0]) for order in orders)


def test_balanced_epochs_and_seeds_have_orders_of_their_own() -> None:
    labels = [0] * 40 + [1] * 10
    orders = [tuple(balanced(labels, seed).order(epoch).tolist()) for seed in (0, 1) for epoch in (1, 2)]
    assert len(set(orders)) == 4


def test_classes_of_equal_size_are_shown_whole_when_they_are_balanced() -> None:
    assert sorted(balanced([0, 1, 2] * 5).order(1)) == list(range(15))


def test_a_repeated_image_is_changed_in_another_way_each_time() -> None:
    sampler = balanced([0] * 9 + [1])
    places = [place for place, index in enumerate(sampler.order(1)) if index == 9]
    assert len(places) == 5
    assert len({sampler.generator(1, 9, place).random() for place in places}) == 5


def test_the_place_changes_nothing_where_every_image_is_shown_once() -> None:
    sampler = Sampler(num_images=10, batch_size=5, seed=7)
    assert sampler.generator(1, 3, 8).random() == sampler.generator(1, 3).random()


@given(seed=SEEDS, epoch=EPOCHS, step=st.integers(0, 100), rank=st.integers(0, 3))
def test_what_a_batch_has_in_common_is_drawn_alike_in_every_process(
    seed: int, epoch: int, step: int, rank: int
) -> None:
    sampler = Sampler(num_images=800, batch_size=8, seed=seed)
    value = sampler.batch_generator(epoch, step).random()
    assert replace(sampler, rank=rank, num_ranks=4).batch_generator(epoch, step).random() == value
    others = [(epoch + 1, step), (epoch, step + 1)]
    assert value not in [sampler.batch_generator(*other).random() for other in others]
