import re
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from torch import nn

import resnext
from resnext.artefact.store import ArtefactError
from resnext.inference.engine import EngineError
from resnext.inference.engines import Ready
from resnext.inference.onnxruntime_engine import onnx_model
from resnext.inference.openvino_engine import openvino_model, openvino_module
from resnext.model.network import Network

PACKAGES = {".onnx": ("onnxscript", "onnxruntime"), ".xml": ("openvino",), ".pt2": ()}
FORMATS = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch"}
OWN = {".onnx": "onnxruntime", ".xml": "openvino"}


@pytest.fixture(scope="module", params=FORMATS)
def suffix(request: pytest.FixtureRequest) -> str:
    for package in PACKAGES[request.param]:
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")
    return str(request.param)


@pytest.fixture(scope="module")
def exported(artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Export a network by a suffix, once however often it is asked for."""

    @cache
    def export(suffix: str) -> Path:
        return resnext.export(artefact, FORMATS[suffix], tmp_path_factory.mktemp("whole") / f"model{suffix}").path  # type: ignore[arg-type]

    return export


@pytest.fixture(scope="module")
def whole(exported: Callable[[str], Path], suffix: str) -> Path:
    """Return an export to each format that is read back."""
    return exported(suffix)


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    for path in whole.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / whole.name


def test_an_exported_file_classifies_as_the_artefact_does(whole: Path, artefact: Path, pictures: list[Path]) -> None:
    given, expected = (resnext.load(path, device="cpu").predict(pictures) for path in (whole, artefact))
    assert [answer.labels for answer in given] == [answer.labels for answer in expected]
    for one, other in zip(given, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_a_file_is_computed_by_its_own_runtime_and_a_program_by_any(whole: Path, suffix: str) -> None:
    assert resnext.load(whole).engine.name == OWN.get(suffix, "torch")
    if suffix in OWN:
        assert resnext.load(whole, engine="auto").engine.name == OWN[suffix]
        with pytest.raises(EngineError, match=rf"^engine = 'torch': .* is computed by {OWN[suffix]}; leave it out"):
            resnext.load(whole, engine="torch")
        with pytest.raises(EngineError, match=r"^precision = 'bf16': .* is in fp32; give the artefact for another"):
            resnext.load(whole, precision="bf16")
        with pytest.raises(EngineError, match=rf"^device = 'cuda': .* is computed by {OWN[suffix]}, on the CPU"):
            resnext.load(whole, device="cuda")
    else:
        assert resnext.load(whole, engine="compiled").engine.name == "compiled"


def test_a_file_that_is_cut_off_or_missing_is_refused_in_a_sentence(copied: Path) -> None:
    for part in (copied, copied.with_suffix(".bin")):
        if not part.is_file():
            continue
        content = part.read_bytes()
        part.write_bytes(content[: len(content) // 2])
        with pytest.raises(ArtefactError, match=rf"^{re.escape(str(copied))}.*") as refused:
            resnext.load(copied)
        assert "\n" not in str(refused.value)
        part.unlink()
        with pytest.raises(ArtefactError, match=rf"^no exported network at {re.escape(str(copied))}"):
            resnext.load(copied)
        part.write_bytes(content)


def test_noise_is_refused_in_a_sentence(copied: Path) -> None:
    copied.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(ArtefactError, match=rf"^{re.escape(str(copied))}.*") as refused:
        resnext.load(copied)
    assert "\n" not in str(refused.value)


def foreign_onnx(network: nn.Module, path: Path) -> None:
    path.write_bytes(onnx_model(Ready(network, torch.zeros(1, 3, 16, 16)).program).SerializeToString())


def foreign_openvino(network: nn.Module, path: Path) -> None:
    openvino_module().save_model(openvino_model(Ready(network, torch.zeros(1, 3, 16, 16)).program), path)


def foreign_program(network: nn.Module, path: Path) -> None:
    torch.export.save(Ready(network, torch.zeros(1, 3, 16, 16)).program, path)


WRITERS: dict[str, Callable[[nn.Module, Path], None]] = {
    ".onnx": foreign_onnx,
    ".xml": foreign_openvino,
    ".pt2": foreign_program,
}


def test_a_file_that_something_else_wrote_is_refused_in_a_sentence(
    network: Network, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"foreign{suffix}"
    WRITERS[suffix](network, path)
    with pytest.raises(ArtefactError, match=r"holds no manifest|is not a whole program that resnext export wrote"):
        resnext.load(path)


def test_images_of_a_size_that_it_does_not_take_are_refused_in_a_sentence(whole: Path) -> None:
    engine = resnext.load(whole, device="cpu").engine
    with pytest.raises(ValueError, match=r"^images of shape \(1, 4, 16, 16\): "):
        engine(torch.zeros(1, 4, 16, 16))


def rewritten(path: Path, changes: dict[str, Callable[[bytes], bytes]]) -> None:
    """Change records of a zip file by how their names end."""
    with ZipFile(path) as file:
        records = {name: file.read(name) for name in file.namelist()}
    with ZipFile(path, "w") as file:
        for name, content in records.items():
            change = next((change for ending, change in changes.items() if name.endswith(ending)), None)
            file.writestr(name, change(content) if change else content)


@pytest.mark.parametrize("suffix", [".pt2"], indirect=True)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights_config.json": lambda held: held.replace(b'"use_pickle": false', b'"use_pickle": true', 1)}, "fp32"),
        ({"weights_config.json": lambda held: held.replace(b'"dtype": 7', b'"dtype": 8', 1)}, "another kind than fp32"),
        ({"weights_config.json": lambda held: held.replace(b"stem.conv.weight", b"stem.weight", 1)}, "does not hold"),
        ({"weights_config.json": lambda _: b"[" * 100_000}, "is not a whole program"),
        ({"weights_config.json": lambda held: held.replace(b'"weight_2"', b'"weight_0"')}, "another kind than fp32"),
        ({"weights_config.json": lambda held: held.replace(b'"as_int": 4', b'"as_int": -4')}, "does not hold"),
        ({"weights_config.json": lambda held: held.replace(b"path_name", b"name")}, "is not a whole program"),
        ({"weight_0": lambda held: held[:-4]}, "another kind than fp32"),
        ({"resnext.manifest": lambda held: held.replace(b'"format":1', b'"format":9')}, "format = 9"),
        (
            {"resnext.manifest": lambda held: held.replace(b'"base_channels":4', b'"base_channels":60000')},
            "does not hold",
        ),
    ],
)
def test_of_a_program_only_plain_tensors_that_fit_its_manifest_are_read(
    copied: Path, changes: dict[str, Callable[[bytes], bytes]], words: str
) -> None:
    rewritten(copied, changes)
    with pytest.raises(ArtefactError, match=words):
        resnext.load(copied)


@pytest.mark.parametrize("suffix", [".pt2"], indirect=True)
def test_a_program_that_is_compressed_is_not_unpacked(copied: Path) -> None:
    with ZipFile(copied) as file:
        records = {name: file.read(name) for name in file.namelist()}
    with ZipFile(copied, "w", compression=ZIP_DEFLATED) as file:
        for name, content in records.items():
            file.writestr(name, content)
    with pytest.raises(ArtefactError, match="it is compressed"):
        resnext.load(copied)


@pytest.mark.parametrize("suffix", [".pt2"], indirect=True)
def test_the_code_in_a_program_is_not_opened(copied: Path, artefact: Path, pictures: list[Path]) -> None:
    rewritten(copied, {"models/model.json": lambda _: b"no program", "sample_inputs/model.pt": lambda _: b"a pickle"})
    answers = resnext.load(copied).predict(pictures[:4])
    assert [each.label for each in answers] == [each.label for each in resnext.load(artefact).predict(pictures[:4])]


@pytest.mark.parametrize("suffix", [".onnx"], indirect=True)
def test_onnx_that_answers_otherwise_than_its_manifest_says_is_refused(copied: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx, an extra, is not installed")
    model = onnx.load(copied)
    [words] = [entry for entry in model.metadata_props if entry.key == "resnext.manifest"]
    words.value = words.value.replace('"num_classes":3', '"num_classes":2').replace(',"cherry"', "")
    onnx.save(model, copied)
    with pytest.raises(ArtefactError, match="does not answer one finite logit for each of its 2 classes"):
        resnext.load(copied)


@pytest.mark.parametrize(
    ("suffix", "package", "words"),
    [
        (".onnx", "onnxruntime", r"onnxruntime is not installed; pip install 'resnext\[onnx\]'"),
        (".xml", "openvino", r"openvino is not installed; pip install 'resnext\[openvino\]'"),
    ],
    indirect=["suffix"],
)
def test_a_missing_extra_is_one_sentence(
    whole: Path, monkeypatch: pytest.MonkeyPatch, package: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=words):
        resnext.load(whole)
