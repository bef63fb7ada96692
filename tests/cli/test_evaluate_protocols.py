import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from resnext.cli.evaluate import Crops
from resnext.imaging.transform import stack
from resnext.inference.classifier import Classifier
from resnext.inference.load import load
from resnext.spec import protocol

Cli = Callable[..., Any]
Show = Callable[[Image.Image], Iterable[Image.Image]]


def scores(cli: Cli, *arguments: str | Path) -> dict[str, Any]:
    shown = cli("evaluate", *arguments, "--json")
    assert (shown.status, shown.err) == (0, "")
    return json.loads(shown.out)  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of images of many shapes, in the three classes."""
    folder = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(1)
    for channel, colour in enumerate(("red", "green", "blue")):
        (folder / colour).mkdir()
        for index in range(3):
            pixels = rng.integers(0, 100, (17 + 5 * index, 31 - 4 * index + channel, 3), dtype=np.uint8)
            pixels[..., channel] += 60
            Image.fromarray(pixels).save(folder / colour / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def classifier(artefact: Path) -> Classifier:
    return load(artefact, device="cpu")


def by_hand(classifier: Classifier, folder: Path, show: Show) -> tuple[float, list[list[int]]]:
    """Return loss and confusion over a folder where the logits of all that is shown of an image are averaged."""
    losses, confusion = [], np.zeros((3, 3), dtype=int)
    for path in sorted(folder.rglob("*.png")):
        logits = mean_logits(classifier, show(Image.open(path).convert("RGB")))
        label = classifier.class_names.index(path.parent.name)
        losses.append(float(F.cross_entropy(logits, torch.tensor([label]))))
        confusion[label, int(logits.argmax())] += 1
    return float(np.mean(losses)), confusion.tolist()


def mean_logits(classifier: Classifier, images: Iterable[Image.Image]) -> Tensor:
    answers = [classifier.logits(stack([image])).double() for image in images]
    return torch.stack(answers).mean(dim=0)


def resized(image: Image.Image, side: int) -> Image.Image:
    shorter, longer = min(image.size), max(image.size)
    size = (side, side * longer // shorter) if image.width <= image.height else (side * longer // shorter, side)
    return image if shorter == side else image.resize(size, Image.Resampling.BICUBIC)


def ten_crops(image: Image.Image, size: int) -> list[Image.Image]:
    """Cut the corners and the centre out of an image and of its mirror image."""
    right, bottom = image.width - size, image.height - size
    places = [(0, 0), (right, 0), (0, bottom), (right, bottom), (round(right / 2), round(bottom / 2))]
    boxes = [(left, top, left + size, top + size) for left, top in places]
    return [whole.crop(box) for whole in (image, ImageOps.mirror(image)) for box in boxes]


def assert_same(found: dict[str, Any], expected: tuple[float, list[list[int]]]) -> None:
    assert found["loss"] == pytest.approx(expected[0], rel=1e-5)
    assert found["confusion"] == expected[1]


def test_ten_crops_are_scored_by_the_mean_of_their_logits(
    cli: Cli, artefact: Path, classifier: Classifier, shapes: Path
) -> None:
    found = scores(cli, artefact, shapes, "--crops", "ten", "--image-size", "20", "--resize-size", "26")
    assert found["protocol"] == "ten crops of 20, shorter side 26"
    assert_same(found, by_hand(classifier, shapes, lambda image: ten_crops(resized(image, 26), 20)))
    single = scores(cli, artefact, shapes, "--image-size", "20", "--resize-size", "26")
    assert found["loss"] != pytest.approx(single["loss"], rel=1e-3)


def test_dense_is_scored_by_the_mean_of_the_logits_at_every_scale(
    cli: Cli, artefact: Path, classifier: Classifier, shapes: Path
) -> None:
    found = scores(cli, artefact, shapes, "--crops", "dense", "--scales", "32,40,57")
    assert (found["protocol"], found["num_images"]) == ("dense, shorter side 32, 40, 57", 9)
    assert_same(found, by_hand(classifier, shapes, lambda image: [resized(image, side) for side in (32, 40, 57)]))


def test_dense_at_one_scale_of_square_images_is_the_single_crop_of_that_size(
    cli: Cli, artefact: Path, photos: Path
) -> None:
    dense = scores(cli, artefact, photos, "--crops", "dense", "--scales", "40")
    single = scores(cli, artefact, photos, "--image-size", "40", "--resize-size", "40")
    assert dense["loss"] == pytest.approx(single["loss"], rel=1e-5)
    assert dense["confusion"] == single["confusion"]


def test_a_mirrored_data_set_has_the_same_ten_crop_scores(
    cli: Cli, artefact: Path, shapes: Path, tmp_path: Path
) -> None:
    for path in shapes.rglob("*.png"):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        ImageOps.mirror(Image.open(path)).save(tmp_path / path.parent.name / path.name)
    asked = ("--crops", "ten", "--image-size", "16", "--resize-size", "24")
    plain, mirrored = (scores(cli, artefact, folder, *asked) for folder in (shapes, tmp_path))
    assert mirrored["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    assert mirrored["confusion"] == plain["confusion"]


@pytest.mark.parametrize("crops", ["single", "ten"])
def test_every_image_counts_once_whatever_the_batch_size(cli: Cli, artefact: Path, shapes: Path, crops: str) -> None:
    found = [scores(cli, artefact, shapes, "--crops", crops, "--batch-size", size) for size in ("1", "4", "64")]
    assert [one["num_images"] for one in found] == [9, 9, 9]
    assert found[0]["confusion"] == found[1]["confusion"] == found[2]["confusion"]
    assert [one["loss"] for one in found] == pytest.approx([found[0]["loss"]] * 3, rel=1e-5)


def test_one_scale_and_five_scales_count_every_image_once(cli: Cli, artefact: Path, shapes: Path) -> None:
    for scales in ("32", "32,36,40,44,48"):
        assert scores(cli, artefact, shapes, "--crops", "dense", "--scales", scales)["num_images"] == 9


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((), "single crop 16, shorter side 16"),
        (("--image-size", "20"), "single crop 20, shorter side 20"),
        (("--resize-size", "20"), "single crop 16, shorter side 20"),
        (("--crops", "ten", "--image-size", "18", "--resize-size", "24"), "ten crops of 18, shorter side 24"),
        (("--crops", "dense", "--scales", "32, 48"), "dense, shorter side 32, 48"),
    ],
)
def test_the_title_and_the_json_name_the_protocol(
    cli: Cli, artefact: Path, photos: Path, asked: tuple[str, ...], words: str
) -> None:
    assert scores(cli, artefact, photos, *asked)["protocol"] == words
    title = cli("evaluate", artefact, photos, *asked).out.splitlines()[-1]
    assert f", {words}: 6 images, top-1 error " in title


def test_the_artefacts_own_protocol_is_the_one_that_training_wrote_down(
    cli: Cli, artefact: Path, classifier: Classifier, photos: Path
) -> None:
    written = {measured.split: measured.protocol for measured in classifier.manifest.measurements}
    assert written["test"] == scores(cli, artefact, photos, "--split", "test")["protocol"]


def test_left_out_the_shorter_side_keeps_the_artefacts_proportion(
    cli: Cli, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    sizes = ("--set", "image.size=14", "--set", "image.crop_fraction=0.875", "--set", "epochs=1")
    done = cli("train", photos, "--recipe", tiny, "--out", tmp_path / "run", "--threads", 0, *sizes)
    assert done.status == 0, done.err
    artefact = tmp_path / "run" / "best.safetensors"
    assert scores(cli, artefact, photos, "--image-size", "21")["protocol"] == "single crop 21, shorter side 24"
    assert scores(cli, artefact, photos, "--crops", "ten")["protocol"] == "ten crops of 14, shorter side 16"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--scales", "224"), ["--scales 224 would do nothing", "--crops single has no scales"]),
        (("--crops", "ten", "--scales", "224,256"), ["--scales 224,256", "--crops ten"]),
        (("--crops", "dense", "--image-size", "320"), ["--image-size 320 would do nothing", "--scales"]),
        (("--crops", "dense", "--resize-size", "320"), ["--resize-size 320 would do nothing", "--scales"]),
        (("--crops", "dense", "--batch-size", "8"), ["--batch-size 8 would do nothing", "one at a time"]),
        (("--crops", "dense", "--scales", "224;256"), ["--scales '224;256'", "whole numbers", "224,256,320"]),
        (("--crops", "dense", "--scales", ""), ["--scales ''", "whole numbers"]),
        (("--crops", "dense", "--scales", "224,16"), ["scales.1 = 16", "32"]),
        (("--image-size", "20", "--resize-size", "18"), ["resize_size = 18", "image_size = 20"]),
        (("--image-size", "5000"), ["image_size = 5000", "4096"]),
    ],
)
def test_what_cannot_be_or_would_do_nothing_is_refused_in_a_sentence(
    cli: Cli, artefact: Path, photos: Path, asked: tuple[str, ...], said: list[str]
) -> None:
    shown = cli("evaluate", artefact, photos, *asked)
    assert (shown.status, shown.out) == (2, "")
    assert shown.err.startswith("Error: ")
    assert len(shown.err.splitlines()) == 1
    assert all(part in shown.err for part in said), shown.err


def test_an_image_that_cannot_be_read_is_named_once_under_every_protocol(
    cli: Cli, artefact: Path, spoilt: Path
) -> None:
    for asked in (("--crops", "ten"), ("--crops", "dense", "--scales", "32,40")):
        shown = cli("evaluate", artefact, spoilt, "--split", "all", "--json", *asked)
        assert (shown.status, json.loads(shown.out)["num_images"]) == (0, 60)
        assert len([line for line in shown.err.splitlines() if "red/bad.png" in line]) == 1


def test_every_kind_of_crops_that_a_protocol_knows_can_be_asked_for() -> None:
    assert tuple(Crops) == get_args(protocol.Crops)


@pytest.mark.parametrize("asked", [(), ("--crops", "ten"), ("--crops", "dense", "--scales", "32,48")])
def test_images_from_one_pixel_to_long_slivers_are_scored(
    cli: Cli, artefact: Path, tmp_path: Path, asked: tuple[str, ...]
) -> None:
    sizes = [(1, 1), (1, 16), (16, 1), (320, 20), (20, 320), (10_000, 3)]
    for colour in ("red", "blue"):
        (tmp_path / colour).mkdir()
        for width, height in sizes:
            Image.new("RGB", (width, height), colour).save(tmp_path / colour / f"{width}x{height}.png")
    assert scores(cli, artefact, tmp_path, *asked)["num_images"] == 2 * len(sizes)


@pytest.mark.parametrize(
    "asked", [("--batch-size", "7"), ("--crops", "ten"), ("--crops", "dense", "--scales", "32,40")]
)
def test_two_processes_print_the_scores_of_one_once_and_name_a_bad_image_once(
    cli: Cli, start_ranks: Cli, artefact: Path, spoilt: Path, asked: tuple[str, ...]
) -> None:
    command = ("evaluate", artefact, spoilt, "--split", "all", "--json", *asked)
    first, second = (started.wait() for started in start_ranks(2, *command))
    assert (first.status, second.status, second.out, second.err) == (0, 0, "", "")
    assert len([line for line in first.err.splitlines() if "red/bad.png" in line]) == 1
    found, alone = json.loads(first.out), json.loads(cli(*command).out)
    assert found.pop("loss") == pytest.approx(alone.pop("loss"), rel=1e-5)
    assert found.pop("calibration") == pytest.approx(alone.pop("calibration"), rel=1e-4)
    assert found == alone


def test_whole_images_are_not_compiled_for_shape_by_shape(cli: Cli, artefact: Path, photos: Path) -> None:
    shown = cli("evaluate", artefact, photos, "--crops", "dense", "--engine", "compiled")
    assert (shown.status, shown.out) == (2, "")
    assert "compile anew" in shown.err


def test_the_quickest_engine_scores_as_torch_does_and_is_named(
    cli: Cli, artefact: Path, photos: Path, tmp_path: Path, plain: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plain, "XDG_CACHE_HOME", str(tmp_path))  # where choices are remembered
    expected, shown = (
        cli("evaluate", artefact, photos, "--json", "--split", "all", "--engine", engine)
        for engine in ("torch", "auto")
    )
    assert shown.status == 0
    assert any(line.startswith("  engine ") for line in shown.err.splitlines()), shown.err
    scores, others = json.loads(shown.out), json.loads(expected.out)
    assert scores["confusion"] == others["confusion"]
    assert scores["loss"] == pytest.approx(others["loss"], abs=1e-5)
