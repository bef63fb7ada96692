from collections import Counter

import numpy as np
import pytest
from sklearn.datasets import load_digits

from resnext.data.dataset import ArrayDataset, Data
from resnext.data.digits import open_digits
from resnext.data.open import open_data


@pytest.fixture(scope="module")
def digits() -> Data:
    return open_digits()


def arrays(data: Data, split: str) -> ArrayDataset:
    dataset = data.split(split)
    assert isinstance(dataset, ArrayDataset)
    return dataset


def test_all_1797_digits_are_there_once_under_their_labels(digits: Data) -> None:
    bundle = load_digits()
    expected = Counter(
        (np.round(image * 255 / 16).astype(np.uint8).tobytes(), int(label))
        for image, label in zip(bundle.images, bundle.target, strict=True)
    )
    splits = [arrays(digits, name) for name in digits.splits]
    found = Counter(
        (p.tobytes(), label) for split in splits for p, label in zip(split.pixels, split.labels, strict=True)
    )
    assert found == expected
    assert found.total() == 1_797


def test_they_are_divided_80_10_10_in_every_class(digits: Data) -> None:
    assert list(digits.splits) == ["train", "val", "test"]
    for label in range(10):
        train, val, test = (list(digits.split(name).labels).count(label) for name in digits.splits)
        share = (train + val + test) / 10
        assert abs(val - share) <= 0.5 and abs(test - share) <= 0.5


def test_no_digit_is_in_two_splits(digits: Data) -> None:
    seen = [{image.tobytes() for image in arrays(digits, name).pixels} for name in digits.splits]
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_a_digit_is_a_grey_image_of_8x8_from_black_to_white(digits: Data) -> None:
    image = digits.indexed("val").image(3)
    assert (image.mode, image.size) == ("RGB", (8, 8))
    red, green, blue = (np.asarray(channel) for channel in image.split())
    assert np.array_equal(red, green) and np.array_equal(green, blue)
    levels = arrays(digits, "train").pixels
    assert (levels.min(), levels.max()) == (0, 255)
    assert digits.indexed("val").name(3) == "digits/val[3]"


def test_a_mirrored_digit_is_no_digit_and_the_best_is_chosen_on_validation(digits: Data) -> None:
    assert digits.is_handwriting
    assert digits.selection == "val"
    assert digits.class_names == tuple("0123456789")
    assert digits.problems == ()


def test_opening_them_again_gives_the_same(digits: Data) -> None:
    again = open_data("digits", strict=True)
    assert again.digest == digits.digest
    for name in digits.splits:
        assert again.split(name).labels == digits.split(name).labels
        assert np.array_equal(arrays(again, name).pixels, arrays(digits, name).pixels)
