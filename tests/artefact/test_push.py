import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.data.config import resolve_data_config

import resnext
from resnext.artefact.card import model_card
from resnext.artefact.hub_config import config, read_config
from resnext.artefact.manifest import Manifest
from resnext.artefact.push import push
from resnext.artefact.store import ArtefactError, load_artefact, save_artefact
from resnext.model.network import Network
from resnext.spec.architecture import Architecture, architecture

SMALL = Architecture(stage_depths=(1, 1), cardinality=2, base_width=2, base_channels=4, stem="cifar", num_classes=3)
THEIRS = {
    "bottleneck": Architecture(stage_depths=(1, 1, 1, 1), cardinality=4, base_width=2, num_classes=3),
    "basic": Architecture(stage_depths=(1, 1, 1, 1), block="basic", num_classes=3),
}

Save = Callable[[Path, Architecture], Network]


@pytest.mark.parametrize("target", ["{}/pushed", "hf:{}/pushed"])
def test_what_is_pushed_into_a_folder_comes_back_whole(save_net: Save, tmp_path: Path, target: str) -> None:
    save_net(tmp_path / "best.safetensors", SMALL)
    folder = push(tmp_path / "best.safetensors", target.format(tmp_path)).address
    assert sorted(path.name for path in Path(folder).iterdir()) == ["README.md", "config.json", "model.safetensors"]
    network, manifest = load_artefact(tmp_path / "best.safetensors")
    weights = resnext.open_weights(f"hf:{folder}")
    assert weights.manifest is not None and manifest.provenance is not None
    assert weights.manifest.replace(provenance=None) == manifest.replace(provenance=None)
    assert weights.manifest.provenance == manifest.provenance.replace(command=None, data="flowers")
    assert all(torch.equal(weights.tensors[name], tensor) for name, tensor in network.state_dict().items())
    classifier = resnext.load(f"hf:{folder}", device="cpu")
    assert classifier.class_names == manifest.class_names
    assert resnext.open_weights(str(tmp_path / "best.safetensors")).digest == weights.digest


@pytest.mark.parametrize("block", list(THEIRS))
@torch.no_grad()
def test_timm_loads_what_is_pushed(save_net: Save, tmp_path: Path, block: str) -> None:
    network = save_net(tmp_path / "best.safetensors", THEIRS[block])
    folder = push(tmp_path / "best.safetensors", tmp_path / "pushed").address
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(theirs(images), network(images))
    seen = resolve_data_config(model=theirs)
    assert (seen["input_size"], seen["interpolation"]) == ((3, 32, 32), "bilinear")
    assert (math.floor(32 / seen["crop_pct"]), seen["mean"]) == (37, [0.1, 0.2, 0.3])
    described: Any = theirs.pretrained_cfg
    assert described["label_names"] == ["class 0", "class 1", "class 2"]


@given(st.integers(1, 512), st.integers(0, 200))
def test_sizes_survive_timms_configuration(tmp_path_factory: pytest.TempPathFactory, size: int, margin: int) -> None:
    network = architecture("resnet18", num_classes=1)
    manifest = Manifest(
        architecture=network,
        preprocessing={"image_size": size, "resize_size": size + margin},
        class_names=("all",),
    )
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_text(json.dumps(config(manifest)))
    described = read_config(path)
    assert (described.preprocessing, described.class_names) == (manifest.preprocessing, ("all",))


def test_the_card_says_what_the_manifest_knows(manifest_for: Callable[[Architecture], Manifest]) -> None:
    manifest = manifest_for(SMALL)
    card = model_card(manifest, "someone/net", "apache-2.0")
    header, _, body = card.removeprefix("---\n").partition("---\n")
    lines = dict(line.split(": ", 1) for line in header.splitlines())
    assert (lines["library_name"], lines["license"]) == ("resnext", '"apache-2.0"')
    [entry] = json.loads(lines["model-index"])
    assert entry["results"][0]["metrics"] == [{"type": "accuracy", "name": "top-1", "value": 0.875}]
    for words in (
        "`class 0`, `class 1`, `class 2`",
        "| test | 40 | 12.50 |  | 0.2500 | single crop |",
        "temperature of 1.5000",
        'resnext.load("hf:someone/net")',
        "data `flowers/`",
    ):
        assert words in body
    assert "timm" not in body
    assert 'timm.create_model("hf-hub:someone/net"' in model_card(manifest_for(THEIRS["basic"]), "someone/net")


def test_the_card_of_a_folder_opens_the_folder_and_asks_no_hub(
    save_net: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_net(tmp_path / "best.safetensors", THEIRS["basic"])
    card = (Path(push(tmp_path / "best.safetensors", tmp_path / "net").address) / "README.md").read_text()
    assert "# net\n" in card
    [opened] = re.findall(r'resnext\.load\("(.*)"\)', card)
    [theirs] = re.findall(r'timm\.create_model\("(.*)", ', card)
    assert opened == "hf:./net"
    monkeypatch.chdir(tmp_path)
    assert resnext.load(opened, device="cpu").class_names[0] == "class 0"
    timm.create_model(theirs, pretrained=True)


@pytest.mark.parametrize(
    ("data", "shared", "slug"),
    [
        ("/home/ann/My Flowers/", "My Flowers", "my-flowers"),
        ("digits", "digits", "digits"),
        ("hf:ann/flowers", "hf:ann/flowers", "hf-ann-flowers"),
        ("hf:/home/ann/flowers", "hf:flowers", "hf-flowers"),
        ("wds:/home/ann/shards/{0..9}.tar", "wds:{0..9}.tar", "wds-0-9-tar"),
        ("C:\\Users\\ann\\flowers", "flowers", "flowers"),
        ("/", "", "unnamed"),
    ],
)
def test_what_is_pushed_tells_no_folder_and_no_command_line(
    network_of: Callable[[Architecture], Network],
    manifest_for: Callable[[Architecture], Manifest],
    tmp_path: Path,
    data: str,
    shared: str,
    slug: str,
) -> None:
    manifest = manifest_for(SMALL)
    assert manifest.provenance is not None
    made = manifest.provenance.replace(data=data, command=f"resnext train {data} --out secrets")
    save_artefact(tmp_path / "best.safetensors", network_of(SMALL), manifest.replace(provenance=made))
    folder = Path(push(tmp_path / "best.safetensors", tmp_path / "pushed").address)
    pushed = load_artefact(folder / "model.safetensors")[1].provenance
    assert pushed == made.replace(data=shared, command=None)
    [index] = re.findall(r"model-index: (.*)", (folder / "README.md").read_text())
    dataset = json.loads(index)[0]["results"][0]["dataset"]
    assert (dataset["name"], dataset["type"]) == (shared, slug)
    assert [path.name for path in folder.iterdir() if b"secrets" in path.read_bytes()] == []


@pytest.mark.parametrize("file", ["README.md", "config.json", "model.safetensors"])
def test_what_others_wrote_is_not_written_over(save_net: Save, tmp_path: Path, file: str) -> None:
    save_net(tmp_path / "best.safetensors", SMALL)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / file).write_text('{"name": "precious"}\n')
    with pytest.raises(ArtefactError, match=f"project holds what push did not write, .*: {file}; move that away"):
        push(tmp_path / "best.safetensors", tmp_path / "project")
    assert [path.name for path in (tmp_path / "project").iterdir()] == [file]
    assert (tmp_path / "project" / file).read_text() == '{"name": "precious"}\n'


def test_pushing_again_renews_what_push_wrote_and_keeps_an_edited_card(save_net: Save, tmp_path: Path) -> None:
    artefact, folder = tmp_path / "best.safetensors", tmp_path / "pushed"
    save_net(artefact, SMALL)
    push(artefact, folder)
    push(artefact, folder, license_name="apache-2.0")
    card = (folder / "README.md").read_text()
    assert 'license: "apache-2.0"' in card
    (folder / "README.md").write_text(card.replace("## Use", "My own words.\n\n## Use"))
    with pytest.raises(ArtefactError, match=r"edited since: README\.md"):
        push(artefact, folder)
    assert "My own words." in (folder / "README.md").read_text()


def test_the_card_of_weights_that_others_trained_claims_nothing() -> None:
    bare = Manifest(
        architecture=architecture("resnet18", num_classes=1),
        preprocessing={"image_size": 32, "resize_size": 32},
        class_names=("all",),
    )
    card = model_card(bare, "net")
    assert [word for word in ("license", "metrics", "Measured", "Made by", "temperature") if word in card] == []


def test_what_cannot_be_pushed_is_refused(save_net: Save, tmp_path: Path) -> None:
    artefact = tmp_path / "model.safetensors"
    save_net(artefact, SMALL)
    with pytest.raises(ArtefactError, match="would be written over by itself"):
        push(artefact, tmp_path)
    with pytest.raises(ArtefactError, match="whose"):
        push(artefact, "hf:net")
    with pytest.raises(ArtefactError, match="USER/NAME"):
        push(artefact, "hf:someone/some/net")
    with pytest.raises(ArtefactError, match="does not exist"):
        push(tmp_path / "none.safetensors", tmp_path / "pushed")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be a folder to write"):
        push(artefact, tmp_path / "file")
    assert not (tmp_path / "pushed").exists()


def test_an_artefact_under_other_names_is_still_sealed(
    network_of: Callable[[Architecture], Network], manifest_for: Callable[[Architecture], Manifest], tmp_path: Path
) -> None:
    network, path = network_of(SMALL), tmp_path / "net.safetensors"
    save_artefact(path, network, manifest_for(SMALL), "timm")
    assert torch.equal(load_artefact(path)[0].head.weight, network.head.weight)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match="altered"):
        load_artefact(path)
