from collections import Counter, defaultdict
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resnext.data.split import split_by_content

FRACTIONS = {"val": 0.1, "test": 0.1}

images = st.lists(st.tuples(st.integers(0, 4), st.text("abcd", max_size=3)), max_size=120)
class_sizes = st.lists(st.integers(0, 60), min_size=1, max_size=5)
fractions = st.sampled_from([FRACTIONS, {"val": 0.1}, {"val": 0.3, "test": 0.2}])


def unzipped(pairs: list[tuple[int, str]]) -> tuple[list[int], list[str]]:
    return [label for label, _ in pairs], [content for _, content in pairs]


def distinct(sizes: list[int]) -> tuple[list[int], list[str]]:
    """Make labels and contents of classes of these sizes, no two images alike."""
    return unzipped([(label, f"{label}:{number}") for label, size in enumerate(sizes) for number in range(size)])


def split_of(labels: list[int], contents: list[str], shares: dict[str, float], seed: int = 0) -> dict[str, str]:
    splits = split_by_content(labels, contents, shares, seed)
    return {contents[index]: name for name, indices in splits.items() for index in indices}


@given(pairs=images, shares=fractions)
def test_every_image_is_in_exactly_one_split_in_order(pairs: list[tuple[int, str]], shares: dict[str, float]) -> None:
    splits = split_by_content(*unzipped(pairs), shares)
    assert list(splits) == ["train", *shares]
    assert all(indices == sorted(indices) for indices in splits.values())
    assert sorted(index for indices in splits.values() for index in indices) == list(range(len(pairs)))


@given(pairs=images, shares=fractions)
def test_copies_stay_together_whatever_their_labels(pairs: list[tuple[int, str]], shares: dict[str, float]) -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for name, indices in split_by_content(*unzipped(pairs), shares).items():
        for index in indices:
            places[pairs[index][1]].add(name)
    assert all(len(names) == 1 for names in places.values())


@example(sizes=[3, 4, 5, 14, 15, 16], shares=FRACTIONS)  # where a tenth rounds to none, and where it rounds up
@given(sizes=class_sizes, shares=fractions)
def test_every_class_gives_each_split_its_share_and_at_least_one(sizes: list[int], shares: dict[str, float]) -> None:
    labels, contents = distinct(sizes)
    splits = split_by_content(labels, contents, shares)
    counts = {name: Counter(labels[index] for index in indices) for name, indices in splits.items()}
    for label, size in enumerate(sizes):
        if size > len(shares):
            assert counts["train"][label] >= 1
            for name, share in shares.items():
                assert counts[name][label] == 1 or abs(counts[name][label] - share * size) <= 0.5
                assert counts[name][label] >= 1


@given(small=st.integers(1, 2), large=st.integers(3, 40))
def test_a_class_of_one_or_two_stays_in_train(small: int, large: int) -> None:
    labels, contents = distinct([large, small])
    splits = split_by_content(labels, contents, FRACTIONS)
    assert [labels[index] for index in splits["train"]].count(1) == small


@given(copies=st.integers(1, 20))
def test_copies_do_not_make_a_class_larger(copies: int) -> None:
    splits = split_by_content([0] * 2 * copies, ["a", "b"] * copies, FRACTIONS)
    assert len(splits["train"]) == 2 * copies


@given(sizes=class_sizes, order=st.randoms(use_true_random=False))
def test_the_order_of_the_images_decides_nothing(sizes: list[int], order: Random) -> None:
    pairs = list(zip(*distinct(sizes), strict=True))
    shuffled = pairs.copy()
    order.shuffle(shuffled)
    assert split_of(*unzipped(shuffled), FRACTIONS) == split_of(*unzipped(pairs), FRACTIONS)


@given(sizes=class_sizes)
def test_the_same_images_are_divided_the_same_way_again(sizes: list[int]) -> None:
    assert split_by_content(*distinct(sizes), FRACTIONS) == split_by_content(*distinct(sizes), FRACTIONS)


def test_another_seed_divides_otherwise() -> None:
    images = distinct([50, 50])
    assert split_of(*images, FRACTIONS, seed=0) != split_of(*images, FRACTIONS, seed=1)


@given(size=st.integers(20, 200), new=st.integers(0, 10_000))
def test_another_image_moves_few_of_the_others(size: int, new: int) -> None:
    labels, contents = distinct([size])
    before = split_of(labels, contents, FRACTIONS)
    after = split_of([*labels, 0], [*contents, f"new {new}"], FRACTIONS)
    assert sum(after[content] != split for content, split in before.items()) <= 3


@pytest.mark.parametrize("num_images", [1_000, 2_000])
def test_large_classes_are_divided_exactly(num_images: int) -> None:
    splits = split_by_content(*distinct([num_images]), FRACTIONS)
    counts = {name: len(indices) for name, indices in splits.items()}
    assert counts == {"train": 8 * num_images // 10, "val": num_images // 10, "test": num_images // 10}
