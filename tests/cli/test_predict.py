import csv
import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from resnext.inference.classifier import Prediction
from resnext.inference.load import load

Cli = Callable[..., Any]


def json_rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def answers(cli: Cli, *arguments: str | Path, stdin: str = "") -> list[str]:
    """Return the images that were answered, in order."""
    shown = cli("predict", *arguments, "--json", stdin=stdin)
    assert (shown.status, shown.err) == (0, "")
    return [row["image"] for row in json_rows(shown.out)]


@pytest.fixture
def expected(artefact: Path, photos: Path) -> Prediction:
    return load(artefact, device="cpu").predict(photos / "red" / "00.png")[0]


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    return tmp_path / "bad.png"


def test_a_file_gets_a_line_with_its_classes_best_first(
    cli: Cli, artefact: Path, photos: Path, expected: Prediction
) -> None:
    shown = cli("predict", artefact, photos / "red" / "00.png")
    assert (shown.status, shown.err) == (0, "")
    [line] = shown.out.splitlines()
    pairs = zip(expected.labels, expected.probabilities, strict=True)
    said = [str(photos / "red" / "00.png"), *(word for label, value in pairs for word in (label, f"{value:.1%}"))]
    assert line.split() == said


def test_json_has_an_object_a_line(cli: Cli, artefact: Path, photos: Path, expected: Prediction) -> None:
    paths = [photos / "red" / "00.png", photos / "blue" / "00.png"]
    shown = cli("predict", artefact, *paths, "--json")
    rows = json_rows(shown.out)
    assert (shown.status, [row["image"] for row in rows]) == (0, [str(path) for path in paths])
    assert [answer["label"] for answer in rows[0]["predictions"]] == list(expected.labels)
    found = [answer["probability"] for answer in rows[0]["predictions"]]
    assert found == pytest.approx(expected.probabilities, abs=1e-6)
    assert sum(found) == pytest.approx(1, abs=1e-6)


def test_csv_has_a_line_for_each_image_and_class(cli: Cli, artefact: Path, photos: Path, expected: Prediction) -> None:
    shown = cli("predict", artefact, photos / "red" / "00.png", "--csv")
    rows = list(csv.DictReader(StringIO(shown.out)))
    assert [(row["image"], row["rank"], row["label"], row["error"]) for row in rows] == [
        (str(photos / "red" / "00.png"), str(rank), label, "") for rank, label in enumerate(expected.labels, start=1)
    ]
    assert [float(row["probability"]) for row in rows] == pytest.approx(expected.probabilities, abs=1e-6)


@pytest.mark.parametrize("top", [1, 2, 3, 99])
def test_top_says_how_many_classes_an_answer_has(
    cli: Cli, artefact: Path, photos: Path, expected: Prediction, top: int
) -> None:
    shown = cli("predict", artefact, photos / "red" / "00.png", "--json", "--top", top)
    labels = [answer["label"] for answer in json_rows(shown.out)[0]["predictions"]]
    assert labels == list(expected.labels[:top])


def test_a_folder_stands_for_the_images_below_it(cli: Cli, artefact: Path, photos: Path) -> None:
    assert answers(cli, artefact, photos) == [str(path) for path in sorted(photos.rglob("*.png"))]


def test_a_quoted_pattern_stands_for_what_it_matches(cli: Cli, artefact: Path, photos: Path) -> None:
    found = answers(cli, artefact, f"{photos}/*/0[12].png")
    assert found == [str(photos / colour / f"0{n}.png") for colour in ("blue", "green", "red") for n in (1, 2)]


def test_a_dash_reads_files_folders_and_patterns_from_standard_input(cli: Cli, artefact: Path, photos: Path) -> None:
    first, last = str(photos / "red" / "00.png"), str(photos / "blue" / "19.png")
    listed = f"{photos}/green/0*.png\n\n{photos / 'blue'}\n"
    found = answers(cli, artefact, first, "-", last, stdin=listed)
    assert (found[0], found[-1], len(found)) == (first, last, 32)
    assert answers(cli, artefact, "-", stdin=f"{first}\n{last}") == [first, last]


def test_a_list_written_on_windows_is_read_too(cli: Cli, artefact: Path, photos: Path) -> None:
    first = str(photos / "red" / "00.png")
    assert answers(cli, artefact, "-", stdin=f"{first}\r\n{first}\r\n") == [first, first]


def test_an_image_named_twice_is_answered_twice(cli: Cli, artefact: Path, photos: Path) -> None:
    path = str(photos / "red" / "00.png")
    assert answers(cli, artefact, path, path) == [path, path]


@pytest.mark.parametrize("option", [None, "--json", "--csv"])
def test_a_bad_image_is_a_row_with_its_error_and_the_rest_goes_on(
    cli: Cli, artefact: Path, photos: Path, bad: Path, option: str | None
) -> None:
    good = [photos / "red" / "00.png", photos / "blue" / "00.png"]
    shown = cli("predict", artefact, good[0], bad, good[1], "--top", "1", *([option] if option else []))
    assert (shown.status, shown.err) == (1, "")
    lines = shown.out.splitlines()[1 if option == "--csv" else 0 :]
    assert len(lines) == 3
    for line, path in zip(lines, (good[0], bad, good[1]), strict=True):
        assert str(path) in line
        assert ("damaged" in line or "not an image" in line) == (path == bad)
    if option == "--json":
        assert set(json_rows(shown.out)[1]) == {"image", "error"}


def test_a_missing_file_is_a_row_with_its_error(cli: Cli, artefact: Path, tmp_path: Path) -> None:
    shown = cli("predict", artefact, tmp_path / "none.png", "--json")
    [row] = json_rows(shown.out)
    assert (shown.status, row["image"]) == (1, str(tmp_path / "none.png"))
    assert "No such file" in row["error"]


@pytest.mark.parametrize("option", [None, "--json", "--csv"])
def test_nothing_to_predict_is_an_error(cli: Cli, artefact: Path, tmp_path: Path, option: str | None) -> None:
    shown = cli("predict", artefact, tmp_path, *([option] if option else []))
    assert shown.status == 2
    assert shown.err.startswith("Error: no images")
    assert cli("predict", artefact, "-", stdin="").status == 2


def test_json_and_csv_exclude_each_other(cli: Cli, artefact: Path, photos: Path) -> None:
    shown = cli("predict", artefact, photos, "--json", "--csv")
    assert (shown.status, shown.out) == (2, "")
    assert "--json and --csv" in shown.err


def test_a_name_is_printed_as_it_is_whatever_it_holds(cli: Cli, artefact: Path, photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "[bold]:dog:[" / "x] cat.png"
    path.parent.mkdir()
    path.write_bytes((photos / "red" / "00.png").read_bytes())
    shown = cli("predict", artefact, path)
    assert shown.status == 0
    assert shown.out.startswith(f"{path}  ")
    path.write_bytes(b"")
    assert str(path) in cli("predict", artefact, path).out


def test_a_line_is_never_broken_by_a_long_name(cli: Cli, artefact: Path, photos: Path, tmp_path: Path) -> None:
    path = tmp_path / ("long " * 40) / "cat.png"
    path.parent.mkdir()
    shutil.copy(photos / "red" / "00.png", path)
    assert len(cli("predict", artefact, path).out.splitlines()) == 1


def test_a_file_that_is_not_an_artefact_is_one_sentence(cli: Cli, photos: Path) -> None:
    shown = cli("predict", photos / "red" / "00.png", photos)
    assert (shown.status, shown.out, len(shown.err.splitlines())) == (2, "", 1)
    assert "00.png" in shown.err


def test_every_engine_prints_the_same_labels(cli: Cli, artefact: Path, photos: Path) -> None:
    expected = [row["predictions"][0]["label"] for row in json_rows(cli("predict", artefact, photos, "--json").out)]
    for engine in ("torch", "openvino", "onnxruntime"):
        pytest.importorskip(engine, reason=f"{engine}, an extra, is not installed")
        shown = cli("predict", artefact, photos, "--json", "--engine", engine)
        assert (shown.status, shown.err) == (0, "")
        assert [row["predictions"][0]["label"] for row in json_rows(shown.out)] == expected


def test_for_many_images_the_quickest_engine_is_found_and_named(
    cli: Cli, artefact: Path, many: Path, tmp_path: Path, plain: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plain, "XDG_CACHE_HOME", str(tmp_path))  # where choices are remembered
    first, again = (cli("predict", artefact, many, "--json") for _ in range(2))
    assert (first.status, len(json_rows(first.out))) == (0, 300)
    assert first.err.startswith("  engine ")
    assert len(first.err.splitlines()) == 1
    assert again.out == first.out


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_int8_of_an_artefact_says_how_to_quantise_it(cli: Cli, artefact: Path, photos: Path, engine: str) -> None:
    shown = cli("predict", artefact, photos, "--engine", engine, "--precision", "int8")
    assert (shown.status, shown.out) == (2, "")
    assert shown.err.startswith(
        "Error: precision = 'int8': a network is quantised first, by resnext export ARTEFACT --to"
    )
    assert shown.err.count("\n") == 1


def test_an_engine_that_there_is_not_is_one_sentence(cli: Cli, artefact: Path, photos: Path) -> None:
    shown = cli("predict", artefact, photos, "--engine", "tensorrt")
    assert (shown.status, shown.out) == (2, "")
    assert "'tensorrt'" in shown.err
