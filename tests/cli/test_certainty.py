import csv
import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnext.artefact.manifest import Manifest
from resnext.artefact.store import load_artefact, save_artefact
from resnext.inference.classifier import Prediction
from resnext.inference.load import load

Cli = Callable[..., Any]

SHARES = ("0", "1", "-0.1", "99", "0%", "100%", "nan", "much", "", "99%%", "5%5")


def json_of(cli: Cli, *arguments: str | Path) -> dict[str, Any]:
    shown = cli(*arguments, "--json")
    assert (shown.status, shown.err) == (0, "")
    return json.loads(shown.out)  # type: ignore[no-any-return]


def rewritten(artefact: Path, target: Path, change: Callable[[Manifest], Manifest]) -> Path:
    network, manifest = load_artefact(artefact)
    save_artefact(target, network, change(manifest))
    return target


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with splits of its own, in which some images are in the folder of another class."""
    folder, rng = tmp_path_factory.mktemp("mixed"), np.random.default_rng(1)
    for split, number in (("train", 60), ("val", 60), ("test", 30)):
        for index in range(number):
            channel = index % 3
            pixels = rng.integers(0, 100, (16, 16, 3), dtype=np.uint8)
            pixels[..., channel] += np.uint8(rng.integers(10, 60))
            named = (channel + (index % 10 == 0)) % 3
            place = folder / split / ("red", "green", "blue")[named] / f"{index:02}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place)
    return folder


@pytest.fixture(scope="module")
def run(cli: Cli, mixed: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Train on the mixed images, and return what was printed and the run folder."""
    folder = tmp_path_factory.mktemp("certainty") / "run"
    done = cli("train", mixed, "--recipe", tiny, "--out", folder, "--threads", "0", "--set", "epochs=8")
    assert done.status == 0, done.err
    return done, folder


@pytest.fixture(scope="module")
def best(run: tuple[Any, Path]) -> Path:
    return run[1] / "best.safetensors"


def test_training_ends_with_the_temperature_that_the_artefact_carries(run: tuple[Any, Path], best: Path) -> None:
    calibration = load_artefact(best)[1].calibration
    assert calibration is not None
    [line] = [line for line in run[0].out.splitlines() if line.startswith("calibrated")]
    assert f"temperature {calibration.temperature:.3f}, expected calibration error" in line
    assert f"{calibration.ece_before_percent:.2f} % before and {calibration.ece_after_percent:.2f} % after" in line
    assert line.endswith("on the 60 val images that it was fitted on")


def test_errors_before_and_after_are_those_that_were_written_down(cli: Cli, best: Path, mixed: Path) -> None:
    calibration = load_artefact(best)[1].calibration
    assert calibration is not None
    found = json_of(cli, "evaluate", best, mixed, "--split", "val")["calibration"]
    assert found == {
        "temperature": calibration.temperature,
        "ece_percent": pytest.approx(calibration.ece_after_percent, rel=1e-3),
        "raw_ece_percent": pytest.approx(calibration.ece_before_percent, rel=1e-3),
    }
    last = cli("evaluate", best, mixed, "--split", "val").out.splitlines()[-1]
    errors = f"expected calibration error {found['ece_percent']:.2f} % ({found['raw_ece_percent']:.2f} % before"
    assert last.endswith(f"{errors} calibration)")
    assert "60 images" in last


def test_calibration_changes_neither_errors_nor_the_loss_nor_the_answers(
    cli: Cli, best: Path, mixed: Path, tmp_path: Path
) -> None:
    plain = rewritten(best, tmp_path / "plain.safetensors", lambda manifest: manifest.replace(calibration=None))
    with_it, without = (json_of(cli, "evaluate", artefact, mixed) for artefact in (best, plain))
    ignored = ("calibration", "artefact")
    assert {k: v for k, v in with_it.items() if k not in ignored} == {
        k: v for k, v in without.items() if k not in ignored
    }
    assert without["calibration"]["temperature"] is None
    assert without["calibration"]["ece_percent"] == without["calibration"]["raw_ece_percent"]
    assert "% (not calibrated)" in cli("evaluate", plain, mixed).out.splitlines()[-1]
    answers = [cli("predict", artefact, mixed / "test", "--csv").out for artefact in (best, plain)]
    labels, others = ([row["label"] for row in csv.DictReader(StringIO(text))] for text in answers)
    assert labels == others
    assert answers[0] != answers[1]


@pytest.mark.parametrize("target", ["0.9", "90%"])
def test_the_threshold_of_a_precision_does_in_predict_what_was_said_of_it(
    cli: Cli, best: Path, mixed: Path, target: str
) -> None:
    found = json_of(cli, "evaluate", best, mixed, "--target-precision", target)["abstention"]
    assert (found["target_precision"], found["is_reached"]) == (0.9, True)
    assert found["val"]["precision_percent"] >= 90
    for split, number in (("val", 60), ("test", 30)):
        shown = cli("predict", best, mixed / split, "--json", "--unknown-below", found["threshold"])
        rows = [json.loads(line) for line in shown.out.splitlines()]
        said = [row for row in rows if row["label"] != "unknown"]
        right = [row for row in said if Path(row["image"]).parent.name == row["label"]]
        assert (found[split]["num_images"], found[split]["num_answered"]) == (number, len(said))
        assert (found[split]["num_right"], len(rows)) == (len(right), number)
        low, high = found[split]["interval_percent"]
        assert low <= found[split]["precision_percent"] <= high
        assert found[split]["coverage_percent"] == pytest.approx(100 * len(said) / number)


def test_the_lines_for_a_person_have_the_figures_of_the_json(cli: Cli, best: Path, mixed: Path) -> None:
    command = ("evaluate", best, mixed, "--target-precision", "0.9")
    found, lines = json_of(cli, *command)["abstention"], cli(*command).out.splitlines()
    assert f"precision 90 %: --unknown-below {found['threshold']:.15g}" in lines
    for split in ("val", "test"):
        [line] = [line for line in lines if line.startswith(f"{split}: precision")]
        one = found[split]
        low, high = one["interval_percent"]
        assert f"precision {one['precision_percent']:.2f} % (95 % interval {low:.2f} to {high:.2f} %)" in line
        assert f"coverage {one['coverage_percent']:.2f} %: {one['num_right']} of {one['num_answered']} answers" in line


def test_a_precision_that_is_not_reached_comes_with_the_highest_there_is(
    cli: Cli, best: Path, mixed: Path, tmp_path: Path
) -> None:
    def turned(manifest: Manifest) -> Manifest:
        return manifest.replace(class_names=(*manifest.class_names[1:], manifest.class_names[0]))

    wrong = rewritten(best, tmp_path / "wrong.safetensors", turned)
    shown = cli("evaluate", wrong, mixed, "--target-precision", "0.99")
    assert shown.status == 0
    [line] = [line for line in shown.out.splitlines() if "no threshold" in line]
    assert line.startswith("no threshold has a precision of 99 % on val; the highest there is has ")
    assert json_of(cli, "evaluate", wrong, mixed, "--target-precision", "0.99")["abstention"]["is_reached"] is False


def test_a_precision_that_all_answers_have_costs_nothing(cli: Cli, best: Path, mixed: Path) -> None:
    shown = cli("evaluate", best, mixed, "--target-precision", "0.1").out.splitlines()
    assert "precision 10 %: every image answered" in shown
    assert len([line for line in shown if "coverage 100.00 %" in line]) == 2


def test_without_a_test_split_validation_stands_alone(cli: Cli, best: Path, mixed: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        shutil.copytree(mixed / split, tmp_path / "data" / split)
    found = json_of(cli, "evaluate", best, tmp_path / "data", "--target-precision", "0.9")
    assert set(found["abstention"]) == {"target_precision", "is_reached", "threshold", "val"}


def test_data_on_which_a_threshold_would_promise_too_much_is_refused(
    cli: Cli, best: Path, mixed: Path, tmp_path: Path
) -> None:
    for split in ("train", "test"):  # one image a class to train on: none of them can be held out
        for colour in ("red", "green", "blue"):
            (tmp_path / "data" / split / colour).mkdir(parents=True)
            shutil.copy(min((mixed / split / colour).iterdir()), tmp_path / "data" / split / colour)
    foreign = mixed / "test"
    for data, words in ((tmp_path / "data", "no val split"), (foreign, "no splits of its own")):
        shown = cli("evaluate", best, data, "--target-precision", "0.9")
        assert (shown.status, shown.out) == (2, "")
        assert len(shown.err.splitlines()) == 1
        assert shown.err.startswith("Error: --target-precision: ")
        assert words in shown.err


@pytest.mark.parametrize("value", SHARES)
def test_what_is_no_share_is_refused_in_a_sentence(cli: Cli, best: Path, mixed: Path, value: str) -> None:
    is_certainty = value in ("1", "100%")  # below which everything else may be unknown
    commands = {"--target-precision": "evaluate", **({} if is_certainty else {"--unknown-below": "predict"})}
    for option, command in commands.items():
        shown = cli(command, best, mixed, f"{option}={value}")
        assert (shown.status, shown.out) == (2, "")
        assert shown.err == (
            f"Error: {option} {value}: give a number between 0 and 1, such as 0.99, or percent, such as 99%\n"
        )


def test_two_processes_find_the_threshold_of_one(cli: Cli, start_ranks: Cli, best: Path, mixed: Path) -> None:
    command = ("evaluate", best, mixed, "--target-precision", "0.9", "--json")
    first, second = (started.wait() for started in start_ranks(2, *command))
    assert (first.status, second.status, second.out) == (0, 0, "")
    assert json.loads(first.out)["abstention"] == json.loads(cli(*command).out)["abstention"]


def test_two_processes_write_the_temperature_of_one(
    cli: Cli, start_ranks: Cli, mixed: Path, tiny: Path, tmp_path: Path
) -> None:
    options = (
        "--recipe",
        tiny,
        "--threads",
        "0",
        "--precision",
        "fp64",
        "--set",
        "batch_norm_images=8",
        "--set",
        "epochs=8",
    )
    ranks = start_ranks(2, "train", mixed, *options, "--out", tmp_path / "two")
    assert cli("train", mixed, *options, "--out", tmp_path / "one").status == 0
    assert [started.wait().status for started in ranks] == [0, 0]
    for name in ("best.safetensors", "last.safetensors"):
        one, two = (load_artefact(tmp_path / folder / name)[1].calibration for folder in ("one", "two"))
        assert one is not None
        assert two is not None
        assert (two.split, two.num_images) == (one.split, one.num_images) == ("val", 60)
        assert two.temperature == pytest.approx(one.temperature, rel=1e-4)
        assert two.ece_after_percent == pytest.approx(one.ece_after_percent, abs=1e-3)


@pytest.fixture
def answers(best: Path, mixed: Path) -> list[Prediction]:
    return load(best, device="cpu").predict(sorted((mixed / "test").rglob("*.png")))


@pytest.fixture
def median(answers: list[Prediction]) -> float:
    return round(sorted(answer.probability for answer in answers)[len(answers) // 2] - 1e-4, 4)


def test_answers_below_the_threshold_are_printed_as_unknown_with_the_best_guess(
    cli: Cli, best: Path, mixed: Path, answers: list[Prediction], median: float
) -> None:
    shown = cli("predict", best, mixed / "test", "--unknown-below", median)
    usual = cli("predict", best, mixed / "test").out.splitlines()
    assert shown.status == 0
    found = shown.out.splitlines()
    assert len([line for line in found if " unknown " in line]) == 15
    for line, before, answer in zip(found, usual, answers, strict=True):
        guess = f"unknown      best guess {answer.label} {answer.probability:.1%}"
        assert line.endswith(guess) if not answer.is_known(median) else line == before


def test_json_and_csv_say_unknown_and_keep_the_guesses(
    cli: Cli, best: Path, mixed: Path, answers: list[Prediction], median: float
) -> None:
    command = ("predict", best, mixed / "test", "--unknown-below", f"{100 * median:.4f}%")
    expected = [answer.label if answer.is_known(median) else "unknown" for answer in answers]
    rows = [json.loads(line) for line in cli(*command, "--json").out.splitlines()]
    assert [row["label"] for row in rows] == expected
    assert [row["predictions"][0]["label"] for row in rows] == [answer.label for answer in answers]
    table = list(csv.DictReader(StringIO(cli(*command, "--csv").out)))
    assert [row["answer"] for row in table] == [label for label in expected for _ in range(3)]
    assert [row["label"] for row in table] == [label for answer in answers for label in answer.labels]


def test_without_a_threshold_json_and_csv_are_as_they_were(cli: Cli, best: Path, mixed: Path) -> None:
    image = mixed / "test" / "red"
    rows = [json.loads(line) for line in cli("predict", best, image, "--json").out.splitlines()]
    assert {tuple(row) for row in rows} == {("image", "predictions")}
    assert cli("predict", best, image, "--csv").out.startswith("image,rank,label,probability,error\n")


def test_a_bad_image_has_its_error_and_no_answer(cli: Cli, best: Path, mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    shown = cli("predict", best, tmp_path, "--csv", "--unknown-below", "0.5")
    [row] = csv.DictReader(StringIO(shown.out))
    assert (shown.status, row["answer"], row["label"]) == (1, "", "")
    assert row["error"]
