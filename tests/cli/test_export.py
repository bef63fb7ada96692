import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def model(cli: Callable[..., Any], artefact: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export what was trained to ONNX, compared on its own held-out images."""
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    done = cli("export", artefact, "--to", "onnx", "--out", path, "--data", photos)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"{path}: top-1 the same for 6 of 6 images, logits within ")
    assert done.out.endswith(f"; certificate: {path}.json\n")
    return path


def test_the_certificate_names_the_users_images(model: Path, photos: Path) -> None:
    found = json.loads(model.with_name("model.onnx.json").read_text())["agreement"]
    assert (found["images"], found["num_images"], found["num_agreeing"]) == (f"{photos}, test", 6, 6)


def test_predict_takes_an_exported_file(cli: Callable[..., Any], model: Path, artefact: Path, photos: Path) -> None:
    rows = [
        [json.loads(line) for line in cli("predict", weights, photos / "red", "--json").out.splitlines()]
        for weights in (model, artefact)
    ]
    assert len(rows[0]) == 20
    for given, expected in zip(*rows, strict=True):
        assert given["image"] == expected["image"]
        assert given["predictions"][0]["label"] == expected["predictions"][0]["label"]


def test_evaluate_scores_an_exported_file_like_its_artefact(
    cli: Callable[..., Any], model: Path, artefact: Path, photos: Path
) -> None:
    given, expected = (json.loads(cli("evaluate", each, photos, "--json").out) for each in (model, artefact))
    assert given["split"] == expected["split"] == "test"
    assert given["confusion"] == expected["confusion"]
    assert given["loss"] == pytest.approx(expected["loss"], rel=1e-4)


@pytest.mark.parametrize("crops", [("--crops", "dense", "--scales", "32,40"), ("--image-size", "24")])
def test_evaluate_shows_an_exported_file_other_sizes_too(
    cli: Callable[..., Any], model: Path, photos: Path, crops: tuple[str, ...]
) -> None:
    done = cli("evaluate", model, photos, *crops, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["num_images"] == 6


def test_what_cannot_be_exported_is_one_sentence_with_status_2(
    cli: Callable[..., Any], artefact: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model.safetensors"
    done = cli("export", artefact, "--to", "torchvision", "--out", out)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("Error: torchvision has no network like this resnext")
    assert done.err.count("\n") == 1
    assert not out.exists()


def test_a_folder_that_is_not_there_is_one_sentence_with_status_1(
    cli: Callable[..., Any], artefact: Path, tmp_path: Path
) -> None:
    done = cli("export", artefact, "--to", "torch", "--out", tmp_path / "none" / "model.pt2")
    assert (done.status, done.out) == (1, "")
    assert done.err == f"Error: {tmp_path}/none/model.pt2 could not be written: No such file or directory\n"


@pytest.mark.parametrize(
    ("to", "package", "extra"), [("onnx", "onnxscript", "onnx"), ("openvino", "openvino", "openvino")]
)
def test_a_missing_extra_is_one_sentence_with_the_line_that_installs_it(
    cli: Callable[..., Any],
    artefact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    to: str,
    package: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    done = cli("export", artefact, "--to", to, "--out", tmp_path / f"model{'.onnx' if to == 'onnx' else '.xml'}")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"Error: {package}")
    assert done.err.endswith(f"is not installed; pip install 'resnext[{extra}]'\n")
    assert list(tmp_path.iterdir()) == []


def test_int8_is_calibrated_and_scored_on_the_users_data(
    cli: Callable[..., Any], artefact: Path, photos: Path, tmp_path: Path
) -> None:
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")
    asked = ("--to", "openvino", "--precision", "int8", "--max-drop", 50)
    path = tmp_path / "model.xml"
    done = cli("export", artefact, *asked, "--out", path, "--data", photos)
    assert (done.status, done.err) == (0, "")
    assert " % in int8 against " in done.out
    certificate = json.loads(path.with_name("model.xml.json").read_text())
    assert certificate["int8"]["num_layers"] > 0
    assert certificate["scored_on"] == f"{photos}, val (the epoch was chosen on them)"
    assert f" layers put back on {certificate['scored_on']}; top-1 the same for " in done.out
    scored = cli("evaluate", path, photos, "--precision", "int8", "--json")
    assert json.loads(scored.out)["num_images"] == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "openvino", "--precision", "int8"), "--precision int8 needs --data"),
        (("--to", "openvino", "--max-drop", "1"), "--max-drop is for --precision int8"),
        (("--to", "onnx", "--precision", "int8"), "int8 to onnx: OpenVINO alone computes in it"),
        (("--to", "torch", "--opset", "18"), "opset = 18: torch has none"),
        (("--to", "onnx", "--opset", "9"), "opset = 9: torch writes ONNX in opsets 18 to 25"),
        (("--to", "torch", "--out", "model.onnx"), "a file of this format ends in .pt2"),
    ],
)
def test_wrong_usage_is_refused_with_status_2_before_data_is_looked_for(
    cli: Callable[..., Any], artefact: Path, arguments: tuple[str, ...], words: str
) -> None:
    data = () if words.endswith("needs --data") else ("--data", "nowhere")
    done = cli("export", artefact, *arguments, *data)
    assert (done.status, done.out) == (2, "")
    assert words in done.err
