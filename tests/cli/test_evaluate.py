import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnext.inference.load import load

Cli = Callable[..., Any]


def scores(cli: Cli, *arguments: str | Path) -> dict[str, Any]:
    shown = cli("evaluate", *arguments, "--json")
    assert (shown.status, shown.err) == (0, "")
    return json.loads(shown.out)  # type: ignore[no-any-return]


def supports(found: dict[str, Any]) -> dict[str, int]:
    return {row["name"]: row["support"] for row in found["classes"]}


@pytest.fixture
def foreign(photos: Path, tmp_path: Path) -> Path:
    """Make a folder of other images without splits, with two of the three classes."""
    for colour, number in (("red", 5), ("green", 3)):
        (tmp_path / "foreign" / colour).mkdir(parents=True)
        for index in range(number):
            shutil.copy(photos / colour / f"{index:02}.png", tmp_path / "foreign" / colour / f"other{index}.png")
    return tmp_path / "foreign"


@pytest.fixture
def divided(photos: Path, tmp_path: Path) -> Path:
    """Make a folder that comes with splits of 6, 4 and 2 images of two classes."""
    for split, start, stop in (("train", 0, 3), ("val", 3, 5), ("test", 5, 6)):
        for colour in ("red", "blue"):
            (tmp_path / "divided" / split / colour).mkdir(parents=True)
            for index in range(start, stop):
                shutil.copy(photos / colour / f"{index:02}.png", tmp_path / "divided" / split / colour)
    return tmp_path / "divided"


def assert_one_sentence(shown: Any, *words: str) -> None:
    assert (shown.status, shown.out) == (2, "")
    assert shown.err.startswith("Error: ")
    assert len(shown.err.splitlines()) == 1
    assert all(word in shown.err for word in words)


def test_the_table_has_the_numbers_of_the_json(cli: Cli, artefact: Path, photos: Path) -> None:
    found = scores(cli, artefact, photos, "--split", "all")
    lines = [line.split() for line in cli("evaluate", artefact, photos, "--split", "all").out.splitlines()]
    for row, counts in zip(found["classes"], found["confusion"], strict=True):
        percents = (row["precision_percent"], row["recall_percent"])
        expected = ["-" if value is None else f"{value:.2f}" for value in percents]
        assert [row["name"], *expected, str(row["support"])] in lines
        assert [row["name"], *(str(count) if count else "." for count in counts)] in lines
    total = " ".join(lines[-1])
    assert f"60 images, top-1 error {found['top1_error_percent']:.2f} %" in total
    assert f"loss {found['loss']:.4f}" in total


def test_the_scores_are_those_of_the_answers(cli: Cli, artefact: Path, photos: Path) -> None:
    classifier = load(artefact, device="cpu")
    paths = sorted(photos.rglob("*.png"))
    said = [answer.label for answer in classifier.predict(paths)]
    names = classifier.class_names
    expected = [[0] * 3 for _ in names]
    for path, label in zip(paths, said, strict=True):
        expected[names.index(path.parent.name)][names.index(label)] += 1
    found = scores(cli, artefact, photos, "--split", "all")
    assert found["confusion"] == expected
    num_wrong = sum(path.parent.name != label for path, label in zip(paths, said, strict=True))
    assert found["top1_error_percent"] == pytest.approx(100 * num_wrong / 60)


def test_the_score_written_at_the_end_of_training_is_found_again(cli: Cli, artefact: Path, photos: Path) -> None:
    written = {measured.split: measured for measured in load(artefact, device="cpu").manifest.measurements}
    for split, measured in written.items():
        found = scores(cli, artefact, photos, "--split", split)
        assert found["top1_error_percent"] == measured.top1_error_percent
        assert found["loss"] == pytest.approx(measured.loss, rel=1e-6)


def test_every_image_counts_once_whatever_the_batch_size(cli: Cli, artefact: Path, photos: Path) -> None:
    found = {size: scores(cli, artefact, photos, "--split", "all", "--batch-size", str(size)) for size in (1, 7, 64)}
    for one in found.values():
        assert one["num_images"] == sum(map(sum, one["confusion"])) == 60
        assert supports(one) == {"blue": 20, "green": 20, "red": 20}
        assert one["confusion"] == found[1]["confusion"]
        assert one["loss"] == pytest.approx(found[1]["loss"], rel=1e-6)


def test_what_was_held_out_of_the_training_data_is_scored(cli: Cli, artefact: Path, photos: Path) -> None:
    found = scores(cli, artefact, photos)
    assert (found["split"], found["num_images"]) == ("test", 6)


@pytest.mark.parametrize(("split", "number"), [("train", 48), ("val", 6), ("test", 6), ("all", 60)])
def test_a_split_may_be_named(cli: Cli, artefact: Path, photos: Path, split: str, number: int) -> None:
    found = scores(cli, artefact, photos, "--split", split)
    assert (found["split"], found["num_images"]) == (split, number)


def test_all_of_a_foreign_folder_is_scored_with_its_classes_matched_by_name(
    cli: Cli, artefact: Path, foreign: Path
) -> None:
    found = scores(cli, artefact, foreign)
    assert (found["split"], found["num_images"]) == ("all", 8)
    assert supports(found) == {"blue": 0, "green": 3, "red": 5}
    assert found["classes"][0]["recall_percent"] is None


def test_splits_that_came_with_a_foreign_folder_are_respected(cli: Cli, artefact: Path, divided: Path) -> None:
    found = scores(cli, artefact, divided)
    assert (found["split"], found["num_images"]) == ("test", 2)
    assert scores(cli, artefact, divided, "--split", "all")["num_images"] == 12


def test_without_a_test_split_validation_is_scored_and_never_the_training_images(
    cli: Cli, artefact: Path, divided: Path
) -> None:
    shutil.rmtree(divided / "test")
    found = scores(cli, artefact, divided)
    assert (found["split"], found["num_images"]) == ("val", 4)


def test_a_bad_image_is_named_and_the_rest_is_scored(cli: Cli, artefact: Path, spoilt: Path) -> None:
    shown = cli("evaluate", artefact, spoilt, "--split", "all", "--json")
    assert (shown.status, json.loads(shown.out)["num_images"]) == (0, 60)
    assert len([line for line in shown.err.splitlines() if "red/bad.png" in line]) == 1
    strict = cli("evaluate", artefact, spoilt, "--strict")
    assert (strict.status, strict.out) == (2, "")
    assert "red/bad.png" in strict.err


def test_a_class_that_the_classifier_does_not_know_is_refused(cli: Cli, artefact: Path, foreign: Path) -> None:
    (foreign / "green").rename(foreign / "mauve")
    assert_one_sentence(cli("evaluate", artefact, foreign), "mauve", "blue, green, red")


def test_a_class_is_printed_by_its_whole_name(cli: Cli, photos: Path, tiny: Path, tmp_path: Path) -> None:
    for old, new in (("red", "[bold]"), ("green", ":dog:"), ("blue", "[x")):
        shutil.copytree(photos / old, tmp_path / "photos" / new)
    run = tmp_path / "run"
    done = cli("train", tmp_path / "photos", "--recipe", tiny, "--out", run, "--threads", 0, "--set", "epochs=1")
    assert done.status == 0
    shown = cli("evaluate", run / "best.safetensors", tmp_path / "photos").out
    for name in ("[bold]", ":dog:", "[x"):
        assert len([line for line in shown.splitlines() if line.split()[:1] == [name]]) >= 2


def test_a_split_that_is_not_there_is_refused_with_those_that_are(cli: Cli, artefact: Path, photos: Path) -> None:
    assert_one_sentence(cli("evaluate", artefact, photos, "--split", "exam"), "'exam'", "train", "val", "test")


@pytest.mark.parametrize("position", [0.1, 0.5, 0.99])
def test_a_tampered_artefact_is_refused(
    cli: Cli, artefact: Path, photos: Path, tmp_path: Path, position: float
) -> None:
    content = bytearray(artefact.read_bytes())
    content[int(position * len(content))] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    assert_one_sentence(cli("evaluate", tmp_path / "model.safetensors", photos), "model.safetensors")


def test_a_truncated_a_foreign_and_a_missing_artefact_are_refused(
    cli: Cli, artefact: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.safetensors").write_bytes(artefact.read_bytes()[:-100])
    (tmp_path / "text.safetensors").write_text("weights")
    for name in ("cut", "text", "missing"):
        assert_one_sentence(cli("evaluate", tmp_path / f"{name}.safetensors", photos), f"{name}.safetensors")


def test_missing_data_is_one_sentence(cli: Cli, artefact: Path) -> None:
    assert_one_sentence(cli("evaluate", artefact, "nowhere"), "nowhere")
