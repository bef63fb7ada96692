from dataclasses import replace
from pathlib import Path

import pytest
import torch

from resnext.data.augment import augmenter
from resnext.data.content import content_of, undecoded, whole
from resnext.data.dataset import Indexed
from resnext.data.digits import open_digits
from resnext.data.loader import Batch, Feed
from resnext.data.open import open_data
from resnext.data.sample import Held
from resnext.data.sampler import Sampler
from resnext.data.stream import Sample
from resnext.data.views import Joined, Relabelled, Selected
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import Augmentation

NUM_IMAGES = 24  # of the album, 120 pixels wide and 90 high
FIELDS = ({"crop": "random_resized"}, {"crop": "random_resized", "aspect": "uniform_swapped"}, {"crop": "shift"})


def feed(root: Path, size: int, **fields: object) -> Feed:
    """Return a feed of the album that decodes no more than crops need."""
    return Feed(
        dataset=open_data(str(root), examines=False).indexed("train"),
        augment=augmenter(Augmentation(flip=True, **fields), Preprocessing(image_size=size, resize_size=size)),
        sampler=Sampler(num_images=NUM_IMAGES, batch_size=8, seed=0),
        opening=undecoded,
        num_threads=0,
    )


def is_same(first: list[Batch], second: list[Batch]) -> bool:
    pairs = list(zip(first, second, strict=True))
    return all(a.names == b.names and torch.equal(a.pixels, b.pixels) for a, b in pairs)


def distance(first: Batch, second: Batch) -> float:
    assert first.names == second.names
    return float((first.pixels.float() - second.pixels.float()).abs().mean())


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_crops_of_photographs_decoded_smaller_are_drawn_alike_and_look_alike(
    album: Path, fields: dict[str, str]
) -> None:
    fast = feed(album, 16, **fields)
    batches, expected = list(fast.batches(1)), list(replace(fast, opening=whole).batches(1))
    assert not is_same(batches, expected)
    assert max(map(distance, batches, expected)) < 6
    assert all(torch.equal(a.labels, b.labels) for a, b in zip(batches, expected, strict=True))


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_where_crops_need_every_pixel_they_are_almost_the_same(album: Path, fields: dict[str, str]) -> None:
    fast = feed(album, 64, **fields)
    batches, expected = list(fast.batches(1)), list(replace(fast, opening=whole).batches(1))
    assert max(map(distance, batches, expected)) < 2


def test_threads_and_where_an_epoch_goes_on_change_nothing(album: Path) -> None:
    fast = feed(album, 16, crop="random_resized")
    batches = list(fast.batches(2))
    assert is_same(list(replace(fast, num_threads=3).batches(2)), batches)
    assert is_same(list(fast.batches(2, first_step=1)), batches[1:])


def test_a_photograph_that_turns_out_to_be_cut_short_is_named_and_its_place_taken(album: Path) -> None:
    bad = album / "train" / "cats" / "04.jpg"
    bad.write_bytes(bad.read_bytes()[:-1000])
    fast = feed(album, 16, crop="random_resized")
    batches, expected = list(fast.batches(1)), list(replace(fast, opening=whole).batches(1))
    assert [batch.names for batch in batches] == [batch.names for batch in expected]
    [line] = {line for batch in batches for line in batch.left_out}
    assert line.startswith("train/cats/04.jpg: left out, damaged image") and "truncated" in line


def test_encoded_images_are_found_in_parts_of_a_set_and_others_are_given_whole(album: Path) -> None:
    train = open_data(str(album)).indexed("train")
    content = train.content(5)  # type: ignore[attr-defined]
    assert content_of(Indexed(train, 5)) == content
    assert content_of(Indexed(Selected(Selected(train, [3, 5]), [1]), 0)) == content
    assert content_of(Indexed(Joined((train, Relabelled(train, train.labels))), len(train.labels) + 5)) == content
    sample = Sample(index=0, name="sample", label=0, content=content)
    assert content_of(sample) == content_of(Indexed(Held([sample]), 0)) == content

    digit = Indexed(open_digits().indexed("train"), 0)
    assert content_of(digit) is None
    assert undecoded(digit) == digit.image()
