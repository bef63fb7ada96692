import numpy as np
import pytest
from PIL import Image

from resnext.data import views
from resnext.data.dataset import ArrayDataset, Data, DataError
from resnext.data.views import Joined, Relabelled, Remembered, under_classes


def grey(source: str, levels: list[int], labels: list[int]) -> ArrayDataset:
    pixels = np.array(levels, dtype=np.uint8).reshape(-1, 1, 1).repeat(2, axis=1).repeat(2, axis=2)
    return ArrayDataset(source, pixels, labels)


def level(image: Image.Image) -> object:
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


def opened(class_names: tuple[str, ...]) -> Data:
    splits = {"train": grey("train", [1, 2, 3], [0, 1, 1]), "test": grey("test", [4], [1])}
    return Data(
        source="animals", class_names=class_names, splits=splits, digest="d", selection="test", problems=("one",)
    )


def test_an_array_data_set_shows_its_images_as_rgb() -> None:
    coloured = ArrayDataset("coloured", np.array([[[[1, 2, 3]]]], dtype=np.uint8), [0])
    assert level(coloured.image(0)) == (1, 2, 3)
    assert level(grey("grey", [7], [0]).image(0)) == (7, 7, 7)
    assert coloured.name(0) == "coloured[0]"


def test_a_relabelled_data_set_differs_in_its_labels_alone() -> None:
    dataset = Relabelled(grey("some", [5, 6], [0, 1]), [3, 4])
    assert list(dataset.labels) == [3, 4]
    assert (dataset.name(1), level(dataset.image(1))) == ("some[1]", (6, 6, 6))


def test_joined_data_sets_follow_one_another() -> None:
    joined = Joined((grey("a", [1, 2], [0, 1]), grey("empty", [], []), grey("b", [3], [2])))
    assert list(joined.labels) == [0, 1, 2]
    assert [joined.name(index) for index in range(3)] == ["a[0]", "a[1]", "b[0]"]
    assert [level(joined.image(index)) for index in range(3)] == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
    with pytest.raises(IndexError, match="beyond the last image"):
        joined.image(3)


def test_data_under_a_classifiers_classes_is_matched_by_name() -> None:
    data = under_classes(opened(("cats", "dogs")), ["ants", "dogs", "cats"])
    assert data.class_names == ("ants", "dogs", "cats")
    assert list(data.split("train").labels) == [2, 1, 1]
    assert list(data.split("test").labels) == [1]
    assert level(data.indexed("train").image(2)) == (3, 3, 3)
    assert data.indexed("train").name(2) == "train[2]"
    assert (data.source, data.digest, data.selection, data.problems) == ("animals", "d", "test", ("one",))


def test_a_class_that_the_classifier_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(DataError) as caught:
        under_classes(opened(("cats", "wolves")), ["cats", "dogs"])
    assert str(caught.value) == "animals has classes that the classifier does not know: wolves; it knows cats, dogs"


def test_an_image_is_decoded_once_while_it_fits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), dtype=np.uint8)
    dataset = ArrayDataset("some", pixels, [0] * 4)
    asked: list[int] = []

    class Counted:
        labels = dataset.labels
        name = dataset.name

        def image(self, index: int) -> Image.Image:
            asked.append(index)
            return dataset.image(index)

    monkeypatch.setattr(views, "MAX_REMEMBERED_BYTES", 2 * (4 * 5 * 5 + 4096))
    remembered = Remembered(Counted())
    for _ in range(2):
        for index in range(4):
            assert remembered.image(index).tobytes() == dataset.image(index).tobytes()
    assert asked == [0, 1, 2, 3, 2, 3]
    assert remembered.name(3) == "some[3]"
