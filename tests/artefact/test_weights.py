import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights, resnet18

from resnext.artefact.adapters import export_weights
from resnext.artefact.sealed import write_sealed
from resnext.artefact.store import ArtefactError, load_artefact
from resnext.artefact.weights import Weights, open_network, open_weights
from resnext.model.network import Network
from resnext.spec.architecture import Architecture, architecture

SMALL = Architecture(stage_depths=(1, 1), cardinality=2, base_width=2, base_channels=4, stem="cifar", num_classes=3)

Save = Callable[[Path, Architecture], Network]


@pytest.fixture
def network(network_of: Callable[[Architecture], Network]) -> Network:
    return network_of(SMALL)


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def assert_same(weights: Weights, network: Network) -> None:
    expected = network.state_dict()
    assert weights.architecture == network.architecture
    assert weights.tensors.keys() == expected.keys()
    assert all(torch.equal(weights.tensors[name], expected[name]) for name in expected)


def refusal(text: str | Path) -> str:
    with pytest.raises(ArtefactError) as caught:
        open_weights(str(text))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_artefact_gives_all_that_it_knows(save_net: Save, tmp_path: Path) -> None:
    network = save_net(tmp_path / "net.safetensors", SMALL)
    weights = open_weights(str(tmp_path / "net.safetensors"))
    assert_same(weights, network)
    manifest = load_artefact(tmp_path / "net.safetensors")[1]
    assert (weights.manifest, weights.class_names) == (manifest, manifest.class_names)
    assert (weights.preprocessing, weights.origin) == (manifest.preprocessing, str(tmp_path / "net.safetensors"))


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth", "bin"])
@pytest.mark.parametrize("naming", ["resnext", "torchvision"])
def test_a_bare_state_dict_is_recognised_under_one_digest(
    network: Network, save_net: Save, tmp_path: Path, suffix: str, naming: Any
) -> None:
    save_net(tmp_path / "net.safetensors", SMALL)
    path = tmp_path / f"bare.{suffix}"
    tensors = export_weights(network, naming)
    if suffix == "safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}, "epoch": 3}, path)
    weights = open_weights(str(path))
    assert_same(weights, network)
    assert (weights.preprocessing, weights.class_names) == (None, None)
    assert weights.digest == open_weights(str(tmp_path / "net.safetensors")).digest
    with pytest.raises(ArtefactError, match=r"names no classes.*resnext train DATA --from"):
        open_network(str(path))


def test_half_precision_is_made_single_and_one_number_changes_the_digest(network: Network, tmp_path: Path) -> None:
    torch.save({name: tensor.half() for name, tensor in network.state_dict().items()}, tmp_path / "half.pt")
    half = open_weights(str(tmp_path / "half.pt"))
    assert {tensor.dtype for tensor in half.tensors.values()} <= {torch.float32, torch.int64}
    changed = {name: tensor.clone() for name, tensor in half.tensors.items()}
    changed["head.bias"][0] += 1
    torch.save(changed, tmp_path / "changed.pt")
    assert open_weights(str(tmp_path / "changed.pt")).digest != half.digest


def test_torchvisions_weights_come_with_classes_and_preprocessing(torch_home: Path) -> None:
    published = resnet18()
    torch.save(published.state_dict(), torch_home / Path(ResNet18_Weights.IMAGENET1K_V1.url).name)
    names = ("ResNet18_Weights.IMAGENET1K_V1", "ResNet18_Weights", "resnet18")
    first, *others = [open_weights(f"torchvision:{name}") for name in names]
    assert first.architecture == architecture("resnet18")
    assert {other.digest for other in others} == {first.digest}
    assert first.class_names is not None
    assert (len(first.class_names), first.class_names[0]) == (1000, "tench")
    assert first.preprocessing is not None
    assert (first.preprocessing.image_size, first.preprocessing.resize_size) == (224, 256)
    assert first.preprocessing.interpolation == "bilinear"
    network, manifest = open_network("torchvision:resnet18")
    assert manifest.provenance is None
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(network(image), published.eval()(image))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnext50_32x4", "resnext50_32x4d"),
        ("ResNet50_Weights.IMAGENET1K_V9", "ResNet50_Weights.IMAGENET1K_V1"),
        ("vgg16", "nearest: "),
        ("VGG16_Weights.IMAGENET1K_V1", "nearest: "),
    ],
)
def test_weights_that_torchvision_does_not_have_are_refused_with_the_nearest(name: str, nearest: str) -> None:
    said = refusal(f"torchvision:{name}")
    assert f"torchvision:{name}: torchvision has no such weights" in said
    assert nearest in said


def test_a_damaged_download_is_named(torch_home: Path) -> None:
    (torch_home / Path(ResNet18_Weights.IMAGENET1K_V1.url).name).write_bytes(b"nonsense")
    with pytest.raises(OSError, match=r"torchvision:resnet18: the file .* is damaged .* remove it"):
        open_weights("torchvision:resnet18")


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_in_timms_layout_is_opened(tmp_path: Path, file: str) -> None:
    theirs = timm.create_model("resnet18", num_classes=3)
    (save_file if file.endswith("safetensors") else torch.save)(theirs.state_dict(), tmp_path / file)
    own = {"input_size": [3, 160, 160], "crop_pct": 0.95, "interpolation": "bicubic", "mean": [0.5] * 3}
    config = {"architecture": "resnet18", "num_classes": 3, "pretrained_cfg": {**own, "label_names": ["a", "b", "c"]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = open_weights(f"hf:{tmp_path}")
    assert weights.architecture == architecture("resnet18", num_classes=3)
    assert weights.class_names == ("a", "b", "c")
    assert weights.preprocessing is not None
    assert (weights.preprocessing.image_size, weights.preprocessing.resize_size) == (160, 168)
    assert (weights.preprocessing.mean, weights.preprocessing.interpolation) == ((0.5, 0.5, 0.5), "bicubic")
    assert torch.equal(open_network(f"hf:{tmp_path}")[0].head.weight, theirs.state_dict()["fc.weight"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "pretrained_cfg"),
        ("{", "not valid JSON"),
        ('{"architecture": "resnetblur50"}', "'resnetblur50': this library has no such network"),
        ('{"pretrained_cfg": {"input_size": [3, 32, 32], "crop_pct": 7}}', "crop_pct = 7"),
        ('{"pretrained_cfg": {"input_size": "small"}}', "cannot be used"),
        ('{"pretrained_cfg": {"input_size": {}}}', "input_size, crop_pct, mean or std is not as timm writes it"),
        ('{"pretrained_cfg": {"input_size": []}}', "input_size, crop_pct, mean or std is not as timm writes it"),
        ('{"pretrained_cfg": {"input_size": [1e999]}}', "input_size, crop_pct, mean or std is not as timm writes it"),
        ('{"pretrained_cfg": {"input_size": [9], "crop_pct": 5e-324}}', "input_size, crop_pct, mean or std is not as"),
        ('{"label_names": {"a": 1}}', "label_names"),
        ('{"label_names": ["a"]}', "names 1 classes, its head has 3"),
    ],
)
def test_an_illegal_configuration_is_refused(network: Network, tmp_path: Path, text: str, words: str) -> None:
    save_file(export_weights(network, "timm"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    assert words in refusal(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("crop", "is_said"),
    [({}, True), ({"crop_mode": "center"}, True)]
    + [({"crop_mode": mode}, False) for mode in ("squash", "border", None)],
)
def test_a_crop_that_is_not_central_counts_as_not_said(
    network: Network, tmp_path: Path, crop: dict[str, Any], is_said: bool
) -> None:
    save_file(export_weights(network, "timm"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"input_size": [3, 32, 32], **crop}}))
    assert (open_weights(f"hf:{tmp_path}").preprocessing is not None) == is_said


def test_a_folder_whose_model_is_an_artefact_needs_no_configuration(save_net: Save, tmp_path: Path) -> None:
    network = save_net(tmp_path / "model.safetensors", SMALL)
    weights = open_weights(f"hf:{tmp_path}")
    assert_same(weights, network)
    assert weights.manifest is not None


def test_what_is_no_weights_is_named(network: Network, tmp_path: Path) -> None:
    write_sealed(tmp_path / "step-1.safetensors", "checkpoint", "{}", network.state_dict())
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "torn.pt").write_bytes(b"PK\x03\x04nonsense")
    (tmp_path / "torn.safetensors").write_bytes(b"nonsense")
    torch.save(network, tmp_path / "object.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "words.pt")
    expected = {
        "step-1.safetensors": "is a checkpoint",
        "notes.txt": "unknown kind, '.txt'",
        "torn.pt": "cannot be read as a state dict",
        "torn.safetensors": "not a whole safetensors file",
        "object.pt": "save the tensors alone",
        "list.pt": "holds a list, not a state dict",
        "words.pt": "epoch holds a value of type int",
        "none.pt": "does not exist",
        "": "is a folder; give a file in it",
    }
    for name, words in expected.items():
        assert words in refusal(tmp_path / name), name
    assert "is no folder with model.safetensors" in refusal(f"hf:{tmp_path}")
    assert "USER/NAME" in refusal("hf:a b")


def test_a_folder_is_opened_only_where_it_is_written_as_a_path(
    save_net: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some" / "net").mkdir(parents=True)
    save_net(tmp_path / "some" / "net" / "model.safetensors", SMALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("./some/net", "../" + tmp_path.name + "/some/net", "~/some/net", str(tmp_path / "some" / "net")):
        assert open_weights(f"hf:{name}").architecture == SMALL
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert refusal("hf:some/net") == "hf: needs huggingface_hub; pip install 'resnext[hub]'"
    assert refusal("some/net").endswith("or hf:./some/net")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_spoilt_weights_are_refused(network: Network, tmp_path: Path, value: float) -> None:
    spoilt = dict(network.state_dict())
    spoilt["stem.conv.weight"] = torch.full_like(spoilt["stem.conv.weight"], value)
    torch.save(spoilt, tmp_path / "spoilt.pt")
    assert "stem.conv.weight holds values that are not finite" in refusal(tmp_path / "spoilt.pt")


def test_a_tensor_larger_than_its_file_is_refused_before_it_is_copied(network: Network, tmp_path: Path) -> None:
    torch.save({**network.state_dict(), "bomb": torch.zeros(1).expand(2**40)}, tmp_path / "bomb.pt")
    assert "would take 4,398,0" in refusal(tmp_path / "bomb.pt")


def test_a_file_that_unpacks_to_more_than_it_has_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"bomb": torch.zeros(2**20)}, tmp_path / "flat.pt")
    with ZipFile(tmp_path / "flat.pt") as flat, ZipFile(tmp_path / "bomb.pt", "w", ZIP_DEFLATED) as bomb:
        for name in flat.namelist():
            bomb.writestr(name, flat.read(name))
    assert (tmp_path / "bomb.pt").stat().st_size < 2**15
    torch.load(tmp_path / "bomb.pt", weights_only=True)
    assert re.search(r"would take 4,19\d,\d+ bytes once unpacked", refusal(tmp_path / "bomb.pt"))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (3, torch.zeros(1), "a key is of type int"),
        ("extra", torch.zeros(2, device="meta"), "extra is a meta tensor"),
        ("extra", torch.eye(2).to_sparse(), "extra is a sparse or a nested tensor"),
        ("head.bias", torch.zeros(3, dtype=torch.int64), "head.bias is a tensor of int64"),
        ("head.bias", torch.zeros(3, dtype=torch.complex64), "head.bias is a tensor of complex64"),
        ("stem.norm.num_batches_tracked", torch.zeros((), dtype=torch.complex64), "is a tensor of complex64"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*sparse tensor.*:UserWarning")
def test_a_tensor_that_cannot_be_weights_is_named(
    network: Network, tmp_path: Path, name: Any, value: Any, words: str
) -> None:
    torch.save({**network.state_dict(), name: value}, tmp_path / "odd.pt")
    assert words in refusal(tmp_path / "odd.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantised_and_a_nested_tensor_are_named(network: Network, tmp_path: Path) -> None:
    odd = {
        "a quantised tensor": torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
        "a sparse or a nested tensor": torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)]),
    }
    for words, tensor in odd.items():
        torch.save({**network.state_dict(), "head.bias": tensor}, tmp_path / "odd.pt")
        assert f"head.bias is {words}" in refusal(tmp_path / "odd.pt")


def test_containers_in_containers_are_opened_four_deep_and_no_deeper(network: Network, tmp_path: Path) -> None:
    held: dict[str, Any] = dict(network.state_dict())
    for _ in range(4):
        held = {"state_dict": held}
    torch.save(held, tmp_path / "deep.pt")
    assert_same(open_weights(str(tmp_path / "deep.pt")), network)
    torch.save({"model": held}, tmp_path / "deeper.pt")
    assert "in more than 4 containers" in refusal(tmp_path / "deeper.pt")
    held["state_dict"] = held
    torch.save(held, tmp_path / "endless.pt")
    assert "in more than 4 containers" in refusal(tmp_path / "endless.pt")
