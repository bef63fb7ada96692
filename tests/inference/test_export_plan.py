import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import resnext
from resnext.artefact.weights import open_network
from resnext.inference.engine import EngineError
from resnext.inference.export_plan import ExportError, move_together, plan_export


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Write two new files into a folder, and two old ones of their names where they go."""
    for folder in ("new", "place"):
        (tmp_path / folder).mkdir()
        for name in ("model.bin", "model.xml"):
            (tmp_path / folder / name).write_text(folder)
    return tmp_path / "new", tmp_path / "place"


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_files_that_belong_together_take_the_place_of_those_there(pair: tuple[Path, Path]) -> None:
    new, place = pair
    move_together((new / "model.bin", new / "model.xml"), place)
    assert contents(place) == {"model.bin": "new", "model.xml": "new"}


@pytest.mark.parametrize("lost", ["model.bin", "model.xml", "model.xml.json"])
def test_the_old_pair_is_there_whole_where_any_new_file_cannot_be_moved(pair: tuple[Path, Path], lost: str) -> None:
    new, place = pair
    (new / lost).unlink(missing_ok=True)
    with pytest.raises(OSError, match=r"^\S+/model\.xml\.json could not be written: No such file or directory$"):
        move_together((new / "model.bin", new / "model.xml", new / "model.xml.json"), place)
    assert contents(place) == {"model.bin": "place", "model.xml": "place"}


def test_weights_of_something_else_are_not_written_over(artefact: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino, an extra, is not installed")
    foreign, out = tmp_path / "pytorch_model.bin", tmp_path / "pytorch_model.xml"
    torch.save(open_network(str(artefact))[0].state_dict(), foreign)
    before = foreign.read_bytes()
    for there in (False, True):
        if there:
            out.write_text("<annotation/>")
        for arguments in ((artefact, "openvino", out), (foreign, "openvino")):
            with pytest.raises(ExportError, match=r"pytorch_model\.bin, which would be written too, is there and of "):
                resnext.export(*arguments)
    assert foreign.read_bytes() == before


def test_an_export_takes_the_place_of_one_that_was_there(artefact: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino, an extra, is not installed")
    for _ in range(2):
        made = resnext.export(artefact, "openvino", tmp_path / "model.xml")
    assert {path.name for path in tmp_path.iterdir()} == {"model.xml", "model.bin", "model.xml.json"}
    assert resnext.load(made.path).class_names == ("apple", "banana", "cherry")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"to": "onnx", "precision": "int8"}, "int8 to onnx: OpenVINO alone computes in it here"),
        ({"to": "openvino", "precision": "bf16"}, "precision = 'bf16': allowed are fp32 and int8"),
        ({"to": "onnx", "opset": 9}, "opset = 9: torch writes ONNX in opsets 18 to 25"),
        ({"to": "openvino", "opset": 18}, "opset = 18: openvino has none"),
        ({"to": "torch", "out": "model.onnx"}, "out = 'model.onnx': a file of this format ends in .pt2"),
        ({"to": "torch", "out": "folder.pt2"}, "out = 'folder.pt2': a folder; give a file"),
    ],
)
def test_wrong_arguments_are_refused_before_weights_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.pt2").mkdir()
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        plan_export("nowhere.safetensors", **arguments)


def test_int8_without_nncf_is_refused_before_weights_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="openvino, an extra, is not installed")
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(EngineError, match=r"^nncf, which quantises, is not installed; pip install 'resnext\[openvino"):
        plan_export("nowhere.safetensors", "openvino", precision="int8")


def test_planning_leaves_nothing_behind(artefact: Path, tmp_path: Path) -> None:
    plan = plan_export(artefact, "torch", tmp_path / "model.pt2")
    assert plan.manifest.class_names == ("apple", "banana", "cherry")
    assert list(tmp_path.iterdir()) == []
