from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import resnext
from resnext.imaging.decode import ImageError
from resnext.imaging.transform import stack
from resnext.inference.classifier import BATCH_SIZE, Classifier, Prediction
from resnext.inference.engine import EngineName
from resnext.inference.engines import ENGINES
from resnext.inference.files import predict_files
from resnext.inference.load import load
from resnext.model.network import Network

EXIF_ORIENTATION, ROTATED = 0x0112, 6


def pixels_of(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(path))


def assert_same(these: list[Prediction], those: list[Prediction]) -> None:
    assert [answer.labels for answer in these] == [answer.labels for answer in those]
    for one, other in zip(these, those, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


GIVEN: dict[str, Callable[[Path], Any]] = {
    "str": str,
    "Path": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "PIL": Image.open,
    "array": pixels_of,
}


@pytest.mark.parametrize("way", GIVEN)
def test_an_image_gets_the_same_answer_however_it_is_given(
    classifier: Classifier, pictures: list[Path], way: str
) -> None:
    expected = [classifier.predict(path)[0] for path in pictures[:4]]
    assert [classifier.predict(GIVEN[way](path))[0] for path in pictures[:4]] == expected
    assert_same(classifier.predict([GIVEN[way](path) for path in pictures[:4]]), expected)


def test_ways_of_giving_images_mix_in_one_call(classifier: Classifier, pictures: list[Path]) -> None:
    mixed = [give(path) for give, path in zip(GIVEN.values(), pictures, strict=False)]
    assert_same(classifier.predict(mixed), classifier.predict(pictures[:5]))
    assert_same(classifier.predict(iter(mixed)), classifier.predict(pictures[:5]))


def test_images_of_many_sizes_get_the_same_answers_in_one_batch_or_in_several(
    classifier: Classifier, pictures: list[Path]
) -> None:
    assert len(pictures) > BATCH_SIZE
    together = classifier.predict(pictures)
    assert_same(together, [classifier.predict(path)[0] for path in pictures])
    assert len({answer.probabilities for answer in together}) == len(pictures)


def test_no_images_get_no_answers(classifier: Classifier) -> None:
    assert classifier.predict([]) == []


def test_a_grey_array_is_read_as_a_grey_image(classifier: Classifier, tmp_path: Path) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (20, 24), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert classifier.predict(grey) == classifier.predict(tmp_path / "grey.png")
    assert classifier.predict(grey) == classifier.predict(np.stack([grey] * 3, axis=2))


def test_a_photo_taken_upright_gets_the_same_answer_opened_or_named(
    classifier: Classifier, pictures: list[Path], tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = ROTATED
    path = tmp_path / "photo.png"
    Image.open(pictures[0]).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    upright = classifier.predict(pictures[0])
    assert classifier.predict(path) == upright
    assert classifier.predict(path.read_bytes()) == upright
    assert classifier.predict(Image.open(path)) == upright


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "array",
    [
        np.zeros((20, 20, 3), dtype=np.float32),
        np.zeros((20, 20), dtype=np.int64),
        np.zeros((20, 20, 4), dtype=np.uint8),
        np.zeros((20, 20, 1), dtype=np.uint8),
        np.zeros((3, 20, 20), dtype=np.uint8),
        np.zeros((2, 20, 20, 3), dtype=np.uint8),
        np.zeros((20,), dtype=np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_that_is_no_picture_of_bytes_is_refused_with_what_is_allowed(
    classifier: Classifier, array: Any
) -> None:
    with pytest.raises(ImageError, match="allowed are bytes") as caught:
        classifier.predict([array])
    assert str(array.dtype) in str(caught.value)
    assert str(array.shape) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("thing", [7, None, {"a": 1}, torch.zeros(3, 8, 8)], ids=lambda thing: type(thing).__name__)
def test_things_that_are_no_images_are_refused_with_what_is_allowed(classifier: Classifier, thing: Any) -> None:
    with pytest.raises(ImageError, match="allowed are a path") as caught:
        classifier.predict([thing])
    assert type(thing).__name__ in str(caught.value)


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 5), (5, 0, 3)])
def test_an_array_without_a_pixel_is_refused(classifier: Classifier, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError):
        classifier.predict(np.zeros(shape, dtype=np.uint8))


def test_an_opened_image_whose_file_ends_too_early_is_refused(classifier: Classifier, pictures: list[Path]) -> None:
    content = pictures[0].read_bytes()
    with pytest.raises(ImageError):
        classifier.predict(Image.open(BytesIO(content[: len(content) // 2])))


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_a_bad_image_is_an_error_that_names_it(classifier: Classifier, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "cat.png"
    if content is not None:
        path.write_bytes(content)
    for given_as in (path, str(path)):
        with pytest.raises(ImageError, match=r"cat\.png: "):
            classifier.predict(given_as)
    with pytest.raises(ImageError, match="given as bytes"):
        classifier.predict(b"not an image")


@given(top=st.integers(1, 5))
def test_an_answer_has_the_most_probable_classes_first(classifier: Classifier, pictures: list[Path], top: int) -> None:
    everything = classifier.predict(pictures[:8], top=3)
    for answer, whole in zip(classifier.predict(pictures[:8], top=top), everything, strict=True):
        assert (answer.labels, answer.probabilities) == (whole.labels[:top], whole.probabilities[:top])
        assert list(answer.probabilities) == sorted(answer.probabilities, reverse=True)
        assert (answer.label, answer.probability) == (answer.labels[0], answer.probabilities[0])


def test_probabilities_of_all_classes_sum_to_one(classifier: Classifier, pictures: list[Path]) -> None:
    for answer in classifier.predict(pictures, top=99):
        assert sorted(answer.labels) == sorted(classifier.class_names)
        assert sum(answer.probabilities) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("top", [0, -1])
def test_an_answer_needs_at_least_one_class(classifier: Classifier, pictures: list[Path], top: int) -> None:
    with pytest.raises(ValueError, match=f"top = {top}"):
        classifier.predict(pictures[0], top=top)


def test_probabilities_are_the_softmax_of_the_logits_under_the_class_names(
    classifier: Classifier, pictures: list[Path]
) -> None:
    logits = classifier.logits(stack([classifier.prepare(pictures[0])]))[0].double().numpy()
    expected = np.exp(logits) / np.exp(logits).sum()
    [answer] = classifier.predict(pictures[0], top=3)
    found = [dict(zip(answer.labels, answer.probabilities, strict=True))[name] for name in classifier.class_names]
    assert found == pytest.approx(expected.tolist(), abs=1e-6)


def test_logits_are_those_of_the_network_on_normalised_pixels(
    classifier: Classifier, network: Network, pictures: list[Path]
) -> None:
    prepared = [classifier.prepare(path) for path in pictures[:3]]
    assert [(image.mode, image.size) for image in prepared] == [("RGB", (16, 16))] * 3
    bytes_ = np.stack([np.asarray(image) for image in prepared])
    preprocessing = classifier.preprocessing
    normalised = (bytes_ / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    with torch.inference_mode():
        expected = network(torch.from_numpy(normalised).permute(0, 3, 1, 2).float())
    torch.testing.assert_close(classifier.logits(stack(prepared)), expected, rtol=1e-5, atol=1e-5)


def test_predicting_changes_nothing(classifier: Classifier, pictures: list[Path]) -> None:
    before = classifier.predict(pictures[:3])
    assert [classifier.predict(pictures[:3]) for _ in range(2)] == [before] * 2


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_every_engine_gives_the_same_answers(
    artefact: Path,
    classifier: Classifier,
    pictures: list[Path],
    engine: EngineName | Literal["auto"],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where choices are remembered
    for package in ("onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")
    other = load(artefact, "cpu", engine, batch_size=4)
    assert (other.engine.name == engine) == (engine != "auto")
    assert (other.choice is not None) == (engine == "auto")
    assert_same(other.predict(pictures[:6]), classifier.predict(pictures[:6]))


def test_an_engine_or_a_batch_that_cannot_be_had_is_refused_with_what_can(artefact: Path) -> None:
    with pytest.raises(ValueError, match="engine = 'tensorrt': allowed are auto, torch"):
        load(artefact, "cpu", "tensorrt")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size = 0: at least 1"):
        load(artefact, "cpu", batch_size=0)


def rows(classifier: Classifier, paths: list[str], top: int = 5) -> list[tuple[str, Prediction | ImageError]]:
    return list(predict_files(classifier, paths, top))


def test_files_are_answered_in_order_over_several_batches(classifier: Classifier, pictures: list[Path]) -> None:
    paths = [str(path) for path in reversed(pictures)]
    found = rows(classifier, paths)
    assert [path for path, _ in found] == paths
    answers = [outcome for _, outcome in found if isinstance(outcome, Prediction)]
    assert_same(answers, classifier.predict(paths))


def test_bad_files_are_rows_in_their_place_and_the_rest_goes_on(
    classifier: Classifier, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("text")
    bad = [str(tmp_path / "missing.png"), str(tmp_path / "text.png")]
    paths = [bad[0], *map(str, pictures[:3]), bad[1], *map(str, pictures[3:])]
    found = rows(classifier, paths, top=1)
    assert [path for path, _ in found] == paths
    for path, outcome in found:
        assert isinstance(outcome, ImageError) == (path in bad)
        assert path not in bad or path in str(outcome)


def test_only_bad_files_are_only_errors(classifier: Classifier, tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{index}.png") for index in range(BATCH_SIZE + 1)]
    assert [type(outcome) for _, outcome in rows(classifier, paths)] == [ImageError] * len(paths)
    assert rows(classifier, []) == []


def test_a_file_named_twice_is_answered_twice(classifier: Classifier, pictures: list[Path], tmp_path: Path) -> None:
    one, other, missing = str(pictures[0]), str(pictures[1]), str(tmp_path / "missing.png")
    found = rows(classifier, [one, missing, other, one, missing])
    assert [path for path, _ in found] == [one, missing, other, one, missing]
    assert found[0] == found[3]
    assert found[0][1] != found[2][1]


def test_a_file_that_is_not_an_artefact_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="does not exist"):
        resnext.load(str(tmp_path / "other.safetensors"))
