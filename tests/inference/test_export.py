import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

import resnext
from resnext.artefact.manifest import Manifest
from resnext.artefact.store import save_artefact
from resnext.inference.certificate import Certificate, Format
from resnext.inference.engine import Engine, EngineError
from resnext.inference.export import Exported, Images, Int8, ParityError, carry_out
from resnext.inference.export_plan import ExportError, plan_export
from resnext.inference.formats import FORMATS
from resnext.inference.samples import sample_images
from resnext.model.forms import build
from resnext.spec.architecture import Architecture
from resnext.spec.preprocessing import Preprocessing

NEEDS = {"onnx": ("onnxscript", "onnxruntime"), "openvino": ("openvino",), "timm": ("timm",)}
CLASSES = ("apple", "banana", "cherry", "date")
ARCHITECTURE = Architecture(stage_depths=(1, 1, 1, 1), cardinality=2, base_width=4, num_classes=len(CLASSES))

# What a stranger does with an exported ONNX file: the manifest says how images are prepared.
STRANGER = """
import json, sys
import numpy as np, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1])
manifest = json.loads(session.get_modelmeta().custom_metadata_map["resnext.manifest"])
seen = manifest["preprocessing"]
image = Image.open(sys.argv[2]).resize((seen["resize_size"],) * 2, Image.Resampling.BICUBIC)
edge = round((seen["resize_size"] - seen["image_size"]) / 2)
image = image.crop((edge, edge, edge + seen["image_size"], edge + seen["image_size"]))
pixels = (np.asarray(image, np.float32) / 255 - np.float32(seen["mean"])) / np.float32(seen["std"])
[logits] = session.run(None, {"pixels": pixels.transpose(2, 0, 1)[None]})
assert not any(name.partition(".")[0] in ("torch", "resnext") for name in sys.modules)
print(manifest["class_names"][logits[0].argmax()])
"""


def requires(to: str) -> None:
    for package in NEEDS.get(to, ()):
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, randomised: Callable[..., None]) -> Path:
    """Save a network of four stages, which torchvision and timm have too."""
    network = build(ARCHITECTURE, generator=torch.manual_seed(0))
    randomised(network)
    manifest = Manifest(
        architecture=network.architecture,
        preprocessing=Preprocessing(image_size=48, resize_size=56),
        class_names=CLASSES,
    )
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    save_artefact(path, network, manifest)
    return path


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Format], Exported]:
    """Export to a format, into a folder of its own, once however often it is asked for."""

    @cache
    def export(to: Format) -> Exported:
        requires(to)
        return resnext.export(weights, to, tmp_path_factory.mktemp("made") / f"m{FORMATS[to].suffix}")

    return export


@pytest.fixture(scope="module", params=FORMATS)
def made(exported: Callable[[Format], Exported], request: pytest.FixtureRequest) -> Exported:
    """Return an export to each format."""
    return exported(request.param)


def test_an_export_answers_as_the_artefact_does_and_says_so(weights: Path, made: Exported) -> None:
    again, first = resnext.load(made.path, device="cpu"), resnext.load(weights, device="cpu")
    assert again.manifest == first.manifest
    images = list(sample_images())
    given, expected = (each.predict(images, top=1) for each in (again, first))
    assert [answer.label for answer in given] == [answer.label for answer in expected]
    certificate = Certificate.from_json(made.certificate_path.read_text())
    assert certificate == made.certificate
    found = certificate.agreement
    assert (found.num_images, found.percent) == (64, 100)
    assert re.fullmatch(r"\w+ \d+(\.\d+)+(\+\w+)?", certificate.runtime)
    assert 0 <= found.largest_difference <= 1e-4 * found.largest_logit
    for name, digest in certificate.files.items():
        assert sha256(made.path.with_name(name).read_bytes()).hexdigest() == digest
    assert {path.name for path in made.path.parent.iterdir()} == {*certificate.files, made.certificate_path.name}


def test_no_export_names_places_on_the_makers_machine(made: Exported) -> None:
    home = str(Path(resnext.__file__).parent).encode()
    for name in made.certificate.files:
        assert home not in made.path.with_name(name).read_bytes()


def test_a_stranger_reads_onnx_without_this_package_and_without_torch(
    weights: Path, exported: Callable[[Format], Exported], tmp_path: Path
) -> None:
    made = exported("onnx")
    picture = tmp_path / "picture.png"
    next(sample_images()).save(picture)
    command = [sys.executable, "-I", "-c", STRANGER, str(made.path), str(picture)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == resnext.load(weights, device="cpu").predict(picture)[0].label


def test_torchvision_loads_its_export_strictly(weights: Path, exported: Callable[[Format], Exported]) -> None:
    made = exported("torchvision")
    theirs = ResNet(Bottleneck, [1, 1, 1, 1], num_classes=len(CLASSES), groups=2, width_per_group=4).eval()
    theirs.load_state_dict(load_file(made.path), strict=True)
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    own = resnext.open_weights(str(weights)).tensors
    network = build(ARCHITECTURE).eval()
    network.load_state_dict(own)
    with torch.inference_mode():
        torch.testing.assert_close(theirs(images), network(images))


@pytest.mark.parametrize("to", ["torchvision", "timm"])
def test_a_network_that_a_library_has_not_is_refused_in_a_sentence(artefact: Path, tmp_path: Path, to: Format) -> None:
    requires(to)
    with pytest.raises(EngineError, match=rf"^{to} has no network like this resnext11_2x2d: they build four stages"):
        resnext.export(artefact, to, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_export_lies_beside_the_artefact_unless_a_place_is_given(weights: Path) -> None:
    made = resnext.export(weights, "torchvision")
    assert made.path == weights.with_name("best.torchvision.safetensors")
    assert made.certificate_path == weights.with_name("best.torchvision.safetensors.json")


def test_an_export_that_answers_otherwise_is_not_kept_and_what_was_there_stays(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"an older one")
    wrong = nn.Sequential(nn.Flatten(), nn.LazyLinear(len(CLASSES))).eval()
    writer = FORMATS["torch"]
    broken = type(writer)(writer.suffix, writer.runtime, writer.write, lambda *_: wrong)
    monkeypatch.setitem(FORMATS, "torch", broken)
    with pytest.raises(ParityError, match=r"model\.pt2 is not written: .* top-1 the same for \d+ of 64 images"):
        resnext.export(weights, "torch", path)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"an older one"]


def test_images_of_ones_own_are_named_and_counted_without_those_that_cannot_be_read(
    weights: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    pixels = np.zeros((60, 50, 3), np.uint8)
    own = Images("mine", [pixels, bad, Image.fromarray(pixels)])
    made = resnext.export(weights, "torch", tmp_path / "model.pt2", own)
    assert (made.certificate.agreement.images, made.certificate.agreement.num_images) == ("mine", 2)
    with pytest.raises(ValueError, match=r"^no image to compare on"):
        resnext.export(weights, "torch", tmp_path / "other.pt2", Images("none", [bad]))
    assert not (tmp_path / "other.pt2").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"to": "tflite"}, "to = 'tflite': allowed are onnx, openvino, torch, torchvision, timm"),
        ({"to": "onnx", "out": "model.pt"}, "out = 'model.pt': a file of this format ends in .onnx"),
        ({"to": "torch", "opset": 18}, "opset = 18: torch has none; leave it out, or export to onnx"),
        ({"to": "onnx", "opset": 9}, "opset = 9: torch writes ONNX in opsets 18 to 25"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_a_sentence(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], words: str
) -> None:
    requires("onnx")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^{words.replace('(', '.')}$"):
        resnext.export(weights, **arguments)


def test_the_artefact_is_not_written_over(weights: Path) -> None:
    before = weights.read_bytes()
    with pytest.raises(ExportError, match="the artefact itself; give another file"):
        resnext.export(weights, "torchvision", weights)
    assert weights.read_bytes() == before


@pytest.mark.parametrize("opset", [18, 21])
def test_onnx_has_the_opset_that_is_asked_for(weights: Path, tmp_path: Path, opset: int) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx, an extra, is not installed")
    made = resnext.export(weights, "onnx", tmp_path / "model.onnx", opset=opset)
    assert [each.version for each in onnx.load(made.path).opset_import] == [opset]


def is_precise(engine: Engine) -> float:
    """Score int8 far below fp32."""
    return 90.0 if engine.precision == "fp32" else 50.0


def test_int8_that_holds_is_kept_with_what_it_costs_and_is_loaded_as_int8(artefact: Path, tmp_path: Path) -> None:
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")
    int8 = Int8(list(sample_images())[:8], lambda _: 90.0)
    made = resnext.export(artefact, "openvino", tmp_path / "model.xml", int8=int8)
    cost = made.certificate.int8
    assert cost is not None
    assert (cost.fp32_top1_percent, cost.int8_top1_percent, cost.num_put_back) == (90, 90, 0)
    assert made.words.startswith("top-1 90.00 % in int8 against 90.00 % in fp32, a drop of 0.00 points with 0 of ")
    loaded = resnext.load(made.path, precision="int8")
    assert loaded.engine.precision == resnext.load(made.path).engine.precision == "int8"
    assert loaded.predict([next(sample_images())])[0].label in CLASSES
    for precision in ("fp32", "bf16"):
        with pytest.raises(
            EngineError, match=rf"^precision = '{precision}': .* is in int8; give the artefact for another"
        ):
            resnext.load(made.path, precision=precision)


def test_int8_that_costs_too_much_is_not_kept(artefact: Path, tmp_path: Path) -> None:
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")
    int8 = Int8(list(sample_images())[:4], is_precise, max_drop=1.0)
    with pytest.raises(ParityError, match=r"^model\.xml is not written: max_drop = 1 points: top-1 50\.00 % in int8"):
        resnext.export(artefact, "openvino", tmp_path / "model.xml", int8=int8)
    assert list(tmp_path.iterdir()) == []


def test_int8_that_holds_in_memory_alone_is_not_kept(artefact: Path, tmp_path: Path) -> None:
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")
    scores = iter((90.0, 90.0, 50.0))  # fp32, int8 in memory, int8 of the file
    int8 = Int8(list(sample_images())[:4], lambda _: next(scores))
    with pytest.raises(ParityError, match=r"model\.xml is not written: it does not answer as"):
        resnext.export(artefact, "openvino", tmp_path / "model.xml", int8=int8)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_is_carried_out_telling_what_is_done_and_refuses_int8_that_was_not_planned(
    weights: Path, tmp_path: Path
) -> None:
    plan = plan_export(weights, "torch", tmp_path / "model.pt2")
    told: list[str] = []
    made = carry_out(plan, Images("mine", list(sample_images())[:3]), tell=told.append)
    assert made.path == tmp_path / "model.pt2" and made.path.is_file()
    assert told == ["Writing model.pt2", "Comparing on mine"]
    assert " 3 of 3 images, " in made.words and " on mine, as torch " in made.words
    with pytest.raises(ExportError, match=r"^precision = 'fp32': int8= is for 'int8', and needed there$"):
        carry_out(plan, int8=Int8([], is_precise))


def test_int8_is_openvinos_alone(weights: Path) -> None:
    with pytest.raises(ExportError, match=r"^int8 to onnx: OpenVINO alone computes in it here"):
        resnext.export(weights, "onnx", int8=Int8([], is_precise))
