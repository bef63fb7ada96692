import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnext.artefact.store import load_artefact
from resnext.spec.recipe import Recipe

Cli = Callable[..., Any]


@pytest.fixture
def train(cli: Cli, photos: Path, tiny: Path, tmp_path: Path) -> Cli:
    """Train the tiny recipe on the photos into tmp_path/run for one epoch, with more options."""

    def run(*options: str | Path, data: str | Path = photos) -> Any:
        fixed = ("--recipe", tiny, "--out", tmp_path / "run", "--threads", "0", "--set", "epochs=1")
        return cli("train", data, *fixed, *options)

    return run


def recipe_of(folder: Path) -> Recipe:
    return Recipe.from_toml((folder / "recipe.toml").read_text())


def start_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "events.jsonl").read_text().splitlines()[0])  # type: ignore[no-any-return]


def attempts_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]


def assert_one_sentence(shown: Any, *words: str, status: int = 2) -> None:
    assert shown.status == status
    assert shown.err.startswith("Error: ")
    assert len(shown.err.splitlines()) == 1
    assert all(word in shown.err for word in words)
    assert shown.out == ""


def test_what_the_recipe_chose_is_printed_with_the_reason(trained: Any) -> None:
    lines = trained.err.splitlines()
    assert any("photos" in line and "3 classes" in line and "48 train, 6 val, 6 test" in line for line in lines)
    for choice in ("augmentation.crop = shift: ", "augmentation.flip = true: "):
        [line] = [line for line in lines if choice in line]
        assert len(line.partition(choice)[2].split()) > 3
    assert any("resnext11_2x2d" in line and "6 steps" in line for line in lines)


def test_progress_is_a_plain_line_an_epoch_where_there_is_no_terminal(trained: Any) -> None:
    assert "\x1b" not in trained.err + trained.out
    assert "\r" not in trained.err + trained.out
    epochs = [line for line in trained.err.splitlines() if line.startswith("epoch ")]
    assert [line.split(":")[0] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    for line in epochs:
        assert all(word in line for word in ("loss", "error", "images/s", "left"))


def test_the_result_goes_to_standard_output_with_the_artefact_last(trained: Any, artefact: Path) -> None:
    lines = trained.out.splitlines()
    assert Path(lines[-1]) == artefact
    scores = {measured.split: measured for measured in load_artefact(artefact)[1].measurements}
    assert list(scores) == ["val", "test"]
    for split, measured in scores.items():
        said = f"top-1 error {measured.top1_error_percent:.2f} %, loss {measured.loss:.4f}, on 6 {split} images"
        assert any(said in line for line in lines)
    assert any("chosen on validation" in line for line in lines)


def test_the_page_about_the_run_is_named_and_there(trained: Any, place: Path) -> None:
    assert f"Report: {place / 'run' / 'report.html'}" in trained.err.splitlines()
    assert "Whole: 2 epochs of 3 steps." in (place / "run" / "report.html").read_text()


def test_options_reach_the_run(train: Cli, tmp_path: Path) -> None:
    options = ("--model", "resnext11_4x2d", "--form", "aggregated", "--seed", "7", "--precision", "fp64")
    shown = train(*options, "--set", "optimiser.learning_rate=0.02", "--set", "augmentation.flip=false")
    assert shown.status == 0, shown.err
    assert start_of(tmp_path / "run")["seed"] == 7
    [attempt] = attempts_of(tmp_path / "run")
    machine = attempt["machine"]
    assert (machine["form"], machine["precision"], machine["num_threads"]) == ("aggregated", "fp64", 0)
    recipe = recipe_of(tmp_path / "run")
    assert (recipe.model, recipe.epochs) == ("resnext11_4x2d", 1)
    assert (recipe.optimiser.learning_rate, recipe.augmentation.flip) == (0.02, False)
    network, manifest = load_artefact(tmp_path / "run" / "best.safetensors")
    assert manifest.provenance is not None
    assert (network.form, manifest.architecture.name, manifest.provenance.seed) == ("grouped", "resnext11_4x2d", 7)


@pytest.mark.parametrize(
    "setting",
    [
        "image.train_size=12",
        "augmentation.policy=trivial",
        "augmentation.erasing=0.25",
        "mixing.mixup=0.2",
        "mixing.cutmix=1.0",
        "class_weights={red = 2.0}",
        "sampling=balanced",
        "schedule.warmup_epochs=0.5",
        "average_decay=0.9",
    ],
)
def test_whatever_modern_does_can_be_had_alone(train: Cli, tmp_path: Path, setting: str) -> None:
    shown = train("--set", setting)
    assert shown.status == 0, shown.err
    key, _, value = setting.partition("=")
    found: Any = recipe_of(tmp_path / "run").model_dump()
    for part in key.split("."):
        found = found[part]
    assert str(found) in (value, "{'red': 2.0}")


def test_whatever_modern_chooses_can_be_chosen_alone(train: Cli, tmp_path: Path) -> None:
    of_images = ("image.train_size", "augmentation.policy", "augmentation.erasing", "mixing.mixup", "mixing.cutmix")
    fields = (*of_images, "class_weights", "schedule.warmup_epochs", "average_decay")
    shown = train(*(word for field in fields for word in ("--set", f"{field}=auto")))
    assert shown.status == 0, shown.err
    for field in fields:
        [line] = [line for line in shown.err.splitlines() if line.strip().startswith(f"{field} = ")]
        assert len(line.partition(": ")[2].split()) > 2
    assert recipe_of(tmp_path / "run").class_weights == {"blue": 1.0, "green": 1.0, "red": 1.0}


def test_the_weights_of_many_classes_are_shown_in_a_line(cli: Cli, tmp_path: Path) -> None:
    options = ("--model", "resnext11_2x2d", "--set", "architecture.base_channels=4", "--set", "epochs=1")
    shown = cli("train", "digits", "--set", "class_weights=auto", *options, "--out", tmp_path / "run", "--threads", "0")
    assert shown.status == 0, shown.err
    [line] = [line for line in shown.err.splitlines() if "class_weights" in line]
    assert re.fullmatch(
        r"  class_weights = 10 values from \d 0\.9\d+ to \d 1\.0\d+: every class counts alike in all", line
    )


def test_the_quick_recipe_chooses_and_says_everything(cli: Cli, photos: Path, tmp_path: Path) -> None:
    small = ("--set", "epochs=1", "--set", "architecture.base_channels=4", "--model", "resnext11_2x2d")
    shown = cli("train", photos, *small, "--out", tmp_path / "run", "--threads", "0")
    assert shown.status == 0, shown.err
    for field in ("image.size", "batch_size", "optimiser.learning_rate", "augmentation.crop", "augmentation.flip"):
        [line] = [line for line in shown.err.splitlines() if line.strip().startswith(f"{field} = ")]
        assert len(line.partition(": ")[2].split()) > 2
    assert not any(line.strip().startswith(("epochs = ", "model = ")) for line in shown.err.splitlines())


def test_without_a_place_a_new_folder_under_runs_is_taken(
    cli: Cli, photos: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for expected in ("runs/photos", "runs/photos-2"):
        shown = cli("train", photos, "--recipe", tiny, "--threads", "0", "--set", "epochs=1")
        assert (shown.status, shown.out.splitlines()[-1]) == (0, f"{expected}/best.safetensors")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--set", "epoch=3"), ("'epoch'", "'epochs'")),
        (("--set", "learning_rate=3"), ("'learning_rate'", "'optimiser.learning_rate'")),
        (("--set", "epochs"), ("'epochs'", "key=value")),
        (("--set", "epochs=many"), ("epochs", "'many'")),
        (("--set", "epochs=0"), ("epochs", "0")),
        (("--model", "resnet51"), ("depth = 51",)),
        (("--device", "abacus"), ("device = 'abacus'", "'cpu'")),
        (("--recipe", "slow"), ("slow", "quick")),
        (("--recipe", "none.toml"), ("none.toml",)),
        (("--set", "image.train_size=24"), ("train_size = 24", "at most size = 16", "'same'")),
        (("--set", "augmentation.policy=rand"), ("policy = 'rand'", "'trivial'")),
        (("--set", "augmentation.erasing=2"), ("erasing = 2", "less than or equal to 1")),
        (("--set", "mixing.mixup=-1"), ("mixup = -1", "greater than or equal to 0")),
        (("--set", "class_weights={Red = 2}"), ("no class 'Red'", "did you mean 'red'")),
        (("--set", "class_weights={red = 0}"), ("class_weights = 0", "greater than 0")),
        (("--set", "sampling=fair"), ("sampling = 'fair'", "'balanced'")),
        (("--checkpoint-every", "often"), ("'often'", "10min")),
        (("--checkpoint-every", "0"), ("'0'", "a number of steps")),
        (("--set", "batch_norm_images=8", "--micro-batch", "12"), ("12", "a multiple of batch_norm_images = 8")),
        (("--micro-batch", "4"), ("batch_norm_images", "--set batch_norm_images=4")),
    ],
    ids=lambda value: " ".join(value[-1:]) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_used_is_one_sentence_and_leaves_no_folder(
    train: Cli, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_one_sentence(train(*options), *words)
    assert not (tmp_path / "run").exists()


def test_a_run_to_go_on_with_must_be_named(cli: Cli, photos: Path, tiny: Path) -> None:
    assert_one_sentence(cli("train", photos, "--recipe", tiny, "--resume"), "--resume needs --out")


def test_a_folder_without_a_run_is_not_gone_on_with(train: Cli, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    assert_one_sentence(train("--resume"), "no events.jsonl", "nothing to resume")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_to_go_on_where_no_run_is_begins_one(train: Cli, tmp_path: Path) -> None:
    shown = train("--resume")
    assert shown.status == 0, shown.err
    assert [attempt["after_step"] for attempt in attempts_of(tmp_path / "run")] == [0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seed", "1"), ("seed = 1, there 0", "--seed 0")),
        (("--set", "epochs=3"), ("recipe_digest", "recipe.toml")),
    ],
)
def test_another_run_is_not_gone_on_with(
    cli: Cli, steady: tuple[str | Path, ...], undisturbed: Any, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = undisturbed.lines("events.jsonl")
    shown = cli(*steady, *options, "--out", undisturbed.folder, "--resume")
    assert_one_sentence(shown, "holds another run", *words)
    assert undisturbed.lines("events.jsonl") == before


def test_parts_of_a_batch_change_rounding_alone(train: Cli, kept: Any, tmp_path: Path) -> None:
    losses = []
    for options in ((), ("--micro-batch", "8")):
        shown = train(*options, "--set", "batch_norm_images=8", "--precision", "fp64")
        assert shown.status == 0, shown.err
        losses += [epoch["train_loss"] for epoch in kept(tmp_path / "run").events("epoch")]
        (tmp_path / "run").rename(tmp_path / f"run-{len(losses)}")
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_a_form_that_the_blocks_do_not_have_is_one_sentence(train: Cli) -> None:
    assert_one_sentence(train("--model", "resnet18", "--form", "aggregated"), "aggregated", "basic blocks")


def test_a_run_that_cannot_begin_leaves_no_folder(train: Cli, tmp_path: Path) -> None:
    train("--model", "resnet18", "--form", "aggregated")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["nowhere", "cifar10:nowhere", "tiny.toml"])
def test_missing_data_is_one_sentence(train: Cli, tmp_path: Path, missing: str) -> None:
    (tmp_path / "tiny.toml").write_text("")
    kind, separator, name = missing.rpartition(":")
    shown = train(data=f"{kind}{separator}{tmp_path / name}")
    assert_one_sentence(shown, name)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_files_is_not_written_over(train: Cli, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    assert_one_sentence(train(), "already holds files")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_bad_image_is_named_in_a_line_and_training_goes_on(train: Cli, spoilt: Path, tmp_path: Path) -> None:
    shown = train(data=spoilt)
    assert shown.status == 0
    [line] = [line for line in shown.err.splitlines() if "bad.png" in line]
    assert "left out" in line
    assert any("bad.png" in problem for problem in start_of(tmp_path / "run")["problems"])


def test_strict_stops_at_a_bad_image(train: Cli, spoilt: Path, tmp_path: Path) -> None:
    shown = train("--strict", data=spoilt)
    assert shown.status == 2
    assert "red/bad.png" in shown.err
    assert "Traceback" not in shown.err
    assert not (tmp_path / "run").exists()


def test_an_exploding_loss_is_a_failed_job_in_one_sentence(train: Cli) -> None:
    shown = train("--set", "optimiser.learning_rate=1e30")
    assert (shown.status, shown.out) == (1, "")
    last = shown.err.splitlines()[-1]
    assert last.startswith("Error: ")
    assert "step 2" in last


def test_names_are_printed_as_they_are_whatever_they_hold(cli: Cli, photos: Path, tiny: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a[" / "x]" / "[bold]:dog:"
    shutil.copytree(photos, odd)
    shown = cli("train", odd, "--recipe", tiny, "--out", f"{odd}-run", "--threads", "0", "--set", "epochs=1")
    assert shown.status == 0, shown.err
    assert f"{odd}: 3 classes" in shown.err
    assert shown.out.splitlines()[-1] == f"{odd}-run/best.safetensors"
