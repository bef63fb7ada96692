import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.models import ResNet18_Weights, resnet18

from resnext.artefact.store import load_artefact
from resnext.spec.recipe import Recipe

Cli = Callable[..., Any]

BARE = """\
name = "bare"
model = "auto"
epochs = 2
batch_size = 16
[image]
size = 16
[augmentation]
crop = "none"
flip = false
[optimiser]
learning_rate = 0.02
[fine_tuning]
frozen_epochs = 1
layer_decay = 0.5
"""


@pytest.fixture(scope="module")
def others(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return images whose classes have other names."""
    folder = tmp_path_factory.mktemp("others")
    for colour, name in (("red", "cherries"), ("green", "grass")):
        shutil.copytree(photos / colour, folder / name)
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "bare.toml"
    path.write_text(BARE)
    return path


def test_quick_fine_tunes_from_an_artefact_and_says_what_it_chose(
    cli: Cli, others: Path, artefact: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings = ("--set", "epochs=3", "--set", "image.size=16", "--threads", 0)
    done = cli("train", others, "--from", artefact, *settings, "--out", run)
    assert done.status == 0, done.err
    for words in (
        f"Starting from {artefact} (resnext11_2x2d, ",
        "a new head for the classes of the data",
        f"model = resnext11_2x2d: that of {artefact}",
        "architecture.base_channels = 4: that of the weights",
        "fine_tuning.frozen_epochs = 1: the new head learns first",
    ):
        assert words in done.err
    network, manifest = load_artefact(run / "best.safetensors")
    assert manifest.class_names == ("cherries", "grass")
    assert network.head.weight.shape[0] == 2
    recipe = Recipe.from_toml((run / "recipe.toml").read_text())
    assert recipe.fine_tuning.weights is not None
    assert recipe.fine_tuning.weights[:12] in done.err


def test_the_head_stays_where_the_classes_are_the_same(cli: Cli, photos: Path, artefact: Path, tmp_path: Path) -> None:
    settings = ("--set", "epochs=1", "--set", "image.size=16", "--threads", 0)
    done = cli("train", photos, "--from", artefact, *settings, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    assert "the same classes: its head stays" in done.err
    assert "fine_tuning.frozen_epochs = 0: the head is that of the weights" in done.err


def test_one_command_line_begins_the_run_and_goes_on_with_it(
    cli: Cli, others: Path, artefact: Path, bare: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ("train", others, "--recipe", bare, "--from", artefact, "--threads", 0, "--out", run, "--resume")
    assert cli(*command).status == 0
    trained = load_file(run / "best.safetensors")
    again = cli(*command)
    assert (again.status, "Going on after step" in again.err) == (0, True)
    assert all(torch.equal(tensor, trained[name]) for name, tensor in load_file(run / "best.safetensors").items())
    without = cli("train", others, "--recipe", run / "recipe.toml", "--out", run, "--resume")
    assert without.status == 2
    assert "this recipe starts from trained weights; give them with --from" in without.err
    best = run / "best.safetensors"
    other = cli("train", others, "--recipe", run / "recipe.toml", "--from", best, "--out", run, "--resume")
    assert other.status == 2
    assert f"this recipe starts from other weights than those of {best}" in other.err


def test_weights_of_another_network_than_asked_for_are_named(
    cli: Cli, others: Path, artefact: Path, tmp_path: Path
) -> None:
    done = cli("train", others, "--from", artefact, "--model", "resnet18", "--out", tmp_path / "run")
    assert done.status == 2
    assert "model = resnet18: the weights of" in done.err
    assert "are of resnext11_2x2d" in done.err
    assert not (tmp_path / "run").exists()
    missing = cli("train", others, "--from", "none.pt", "--out", tmp_path / "run")
    assert (missing.status, "no weights at 'none.pt'" in missing.err) == (2, True)


def test_quick_says_how_to_do_better_from_few_images(cli: Cli, photos: Path, tmp_path: Path) -> None:
    done = cli("train", photos, "--set", "epochs=1", "--set", "image.size=16", "--out", tmp_path / "run")
    assert "starting from trained weights usually does better: --from ARTEFACT" in done.err


def test_two_processes_fine_tune_as_one(
    cli: Cli, start_ranks: Cli, many: Path, artefact: Path, bare: Path, tmp_path: Path
) -> None:
    settings = ("--set", "batch_norm_images=8", "--precision", "fp64", "--set", "epochs=3", "--threads", 0)
    (tmp_path / "classes").mkdir()
    for colour in ("red", "green"):
        shutil.copytree(many / colour, tmp_path / "classes" / f"{colour}ish")
    command = ("train", tmp_path / "classes", "--recipe", bare, "--from", artefact, *settings)
    alone = cli(*command, "--out", tmp_path / "alone")
    assert alone.status == 0, alone.err
    for started in start_ranks(2, *command, "--out", tmp_path / "both"):
        done = started.wait()
        assert done.status == 0, done.err
    found, expected = (load_file(tmp_path / name / "last.safetensors") for name in ("both", "alone"))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)


def test_torchvisions_weights_describe_and_classify(
    cli: Cli, plain: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plain, "TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(resnet18().state_dict(), folder / Path(ResNet18_Weights.IMAGENET1K_V1.url).name)
    Image.new("RGB", (40, 30)).save(tmp_path / "black.png")
    said = cli("predict", "torchvision:resnet18", tmp_path / "black.png", "--top", 1, "--csv")
    assert said.status == 0, said.err
    assert said.out.splitlines()[1].startswith(f"{tmp_path / 'black.png'},1,")
    described = cli("describe", "torchvision:resnet18")
    assert (described.status, "tench" in described.out) == (0, True)
    unknown = cli("predict", "torchvision:resnet19", tmp_path / "black.png")
    assert (unknown.status, "nearest: resnet" in unknown.err) == (2, True)


def test_a_pushed_folder_is_evaluated_as_the_artefact_is(
    cli: Cli, photos: Path, artefact: Path, tmp_path: Path
) -> None:
    pushed = cli("push", artefact, tmp_path / "net", "--license", "apache-2.0")
    assert (pushed.status, pushed.out) == (0, f"{tmp_path / 'net'}\n")
    assert 'license: "apache-2.0"' in (tmp_path / "net" / "README.md").read_text()
    scores = [cli("evaluate", name, photos).out for name in (artefact, f"hf:{tmp_path / 'net'}")]
    assert scores[0] == scores[1] != ""
    refused = cli("push", artefact, "hf:nobody")
    assert (refused.status, "hf:USER/nobody" in refused.err) == (2, True)
