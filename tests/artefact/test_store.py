import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from torch import Tensor

from resnext.artefact.manifest import Manifest, Measurement
from resnext.artefact.sealed import write_sealed
from resnext.artefact.store import ArtefactError, load_artefact, save_artefact
from resnext.model.forms import build, convert
from resnext.model.network import Network
from resnext.spec.architecture import Architecture
from resnext.spec.plan import Form
from resnext.spec.preprocessing import Preprocessing

SMALL = Architecture(stage_depths=(1, 1), cardinality=2, base_width=2, base_channels=4, stem="cifar", num_classes=3)


@pytest.fixture(scope="module")
def network(network_of: Callable[[Architecture], Network]) -> Network:
    return network_of(SMALL)


@pytest.fixture(scope="module")
def manifest(manifest_for: Callable[[Architecture], Manifest]) -> Manifest:
    """Make a manifest with names and numbers that are not written in the same way everywhere."""
    return manifest_for(SMALL).replace(
        preprocessing=Preprocessing(image_size=32, resize_size=36, mean=(0.1, 0.2, 1 / 3)),
        class_names=("chat", "chien", "\N{HONEYBEE} bee\n"),
        measurements=(Measurement(split="test", protocol="once", num_images=7, top1_error_percent=100 / 7, loss=0.1),),
    )


@pytest.fixture
def path(tmp_path: Path, network: Network, manifest: Manifest) -> Path:
    """Write an artefact."""
    save_artefact(tmp_path / "net.safetensors", network, manifest)
    return tmp_path / "net.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, network: Network, manifest: Manifest) -> Path:
    """Write an artefact that is only read, so that it need be written only once."""
    path = tmp_path_factory.mktemp("artefact") / "net.safetensors"
    save_artefact(path, network, manifest)
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "net.safetensors"


def refusal(path: Path) -> str:
    """Return the one sentence with which a file is refused; it names the file."""
    with pytest.raises(ArtefactError) as caught:
        load_artefact(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ") and message.isprintable()
    return message


def forged(path: Path, words: str, tensors: dict[str, Tensor]) -> Path:
    """Write a file with any words and tensors under a digest that is right."""
    write_sealed(path, "manifest", words, tensors)
    return path


def is_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return list(first) == list(second) and all(
        tensor.dtype == second[name].dtype and torch.equal(tensor, second[name]) for name, tensor in first.items()
    )


def is_same_file(first: Path, second: Path) -> bool:
    """Compare all but the order of the header's fields, which the library shuffles."""
    sizes = {int.from_bytes(path.read_bytes()[:8], "little") for path in (first, second)}
    weights = {path.read_bytes()[8 + max(sizes) :] for path in (first, second)}
    headers = [json.loads(path.read_bytes()[8 : 8 + max(sizes)]) for path in (first, second)]
    return len(sizes) == len(weights) == 1 and headers[0] == headers[1]


def test_a_network_and_its_manifest_come_back_bit_for_bit(path: Path, network: Network, manifest: Manifest) -> None:
    loaded, told = load_artefact(path)
    assert told == manifest
    assert loaded.architecture == SMALL
    assert is_same(loaded.state_dict(), network.state_dict())
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(images), network(images))


def test_a_loaded_network_is_in_evaluation_mode_on_the_cpu_and_can_be_trained_on(path: Path) -> None:
    loaded, _ = load_artefact(path)
    assert not any(module.training for module in loaded.modules())
    assert {tensor.device.type for tensor in loaded.state_dict().values()} == {"cpu"}
    loaded.train()(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


@pytest.mark.parametrize("form", ["aggregated", "concatenated", "grouped"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_stored_grouped_in_single_precision_whatever_the_network_has(
    tmp_path: Path, whole: Path, network: Network, form: Form, dtype: torch.dtype, manifest: Manifest
) -> None:
    other = convert(network, form).to(dtype)
    save_artefact(tmp_path / "other.safetensors", other, manifest)
    assert is_same_file(tmp_path / "other.safetensors", whole)
    assert other.form == form
    assert {parameter.dtype for parameter in other.parameters()} == {dtype}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_stored_without_further_loss(
    tmp_path: Path, network: Network, dtype: torch.dtype, manifest: Manifest
) -> None:
    half = convert(network, "grouped").to(dtype)
    save_artefact(tmp_path / "half.safetensors", half, manifest)
    loaded, _ = load_artefact(tmp_path / "half.safetensors")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert is_same(loaded.to(dtype).state_dict(), half.state_dict())


def test_the_memory_format_does_not_reach_the_file(
    tmp_path: Path, whole: Path, network: Network, manifest: Manifest
) -> None:
    other = convert(network, "grouped").to(memory_format=torch.channels_last)
    save_artefact(tmp_path / "other.safetensors", other, manifest)
    assert is_same_file(tmp_path / "other.safetensors", whole)


def test_anyone_can_read_the_weights(whole: Path, network: Network) -> None:
    assert is_same(dict(sorted(load_file(whole).items())), dict(sorted(network.state_dict().items())))


@given(keep=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(scratch: Path, whole: Path, keep: float) -> None:
    content = whole.read_bytes()
    scratch.write_bytes(content[: int(keep * len(content))])
    assert "is not a whole safetensors file" in refusal(scratch)


@given(more=st.binary(min_size=1, max_size=20))
def test_a_file_with_something_behind_it_is_refused(scratch: Path, whole: Path, more: bytes) -> None:
    scratch.write_bytes(whole.read_bytes() + more)
    assert refusal(scratch)


@settings(max_examples=150)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), is_header=st.booleans())
def test_a_flipped_bit_anywhere_is_refused(scratch: Path, whole: Path, place: float, bit: int, is_header: bool) -> None:
    content = whole.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    position = int(place * header) if is_header else header + int(place * (len(content) - header))
    damaged = bytearray(content)
    damaged[position] ^= 1 << bit
    scratch.write_bytes(damaged)
    assert refusal(scratch)


@pytest.mark.parametrize("part", [b"resnext.manifest", b"resnext.sha256", b"base_width", b"chien", b"loss", b"F32"])
def test_a_change_of_the_header_is_refused(scratch: Path, whole: Path, part: bytes) -> None:
    content = whole.read_bytes()
    assert part in content
    scratch.write_bytes(content.replace(part, part[:-1] + b"X", 1))
    assert refusal(scratch)


def test_a_changed_weight_is_refused_as_altered(scratch: Path, whole: Path) -> None:
    damaged = bytearray(whole.read_bytes())
    damaged[-1] ^= 1
    scratch.write_bytes(damaged)
    assert "was altered after it was written: its SHA-256 does not match" in refusal(scratch)


@given(junk=st.binary(max_size=300))
def test_what_is_no_safetensors_file_is_refused(scratch: Path, junk: bytes) -> None:
    scratch.write_bytes(junk)
    assert "is not a whole safetensors file" in refusal(scratch)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"resnext.manifest": "{}"}, {"resnext.sha256": "0"}])
def test_weights_of_others_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(save({"weight": torch.zeros(3)}, metadata=metadata))
    assert "holds tensors but no resnext manifest" in refusal(foreign)


def test_a_pickle_and_a_folder_and_a_missing_file_are_refused(tmp_path: Path, network: Network) -> None:
    torch.save(network.state_dict(), tmp_path / "net.pt")
    assert "is not a whole safetensors file" in refusal(tmp_path / "net.pt")
    assert "does not exist or is not a file" in refusal(tmp_path)
    assert "does not exist or is not a file" in refusal(tmp_path / "none.safetensors")


@pytest.mark.parametrize("words", ["", "[]", "null", "{", "{}", "[" * 100_000, '{"format": 2}'])
def test_a_manifest_that_cannot_be_read_is_refused_even_under_a_right_digest(tmp_path: Path, words: str) -> None:
    path = forged(tmp_path / "net.safetensors", words, {"weight": torch.zeros(3)})
    with pytest.raises(ArtefactError, match="holds a manifest that this version cannot read"):
        load_artefact(path)


@pytest.mark.parametrize(
    "changes", [{"base_width": 4}, {"cardinality": 1}, {"stage_depths": (1, 2)}, {"block": "basic", "cardinality": 1}]
)
def test_a_manifest_of_another_architecture_than_the_weights_is_refused(
    tmp_path: Path, network: Network, changes: dict[str, object], manifest: Manifest
) -> None:
    words = manifest.replace(architecture=SMALL.replace(**changes)).to_json()
    assert "does not hold the weights of the " in refusal(forged(tmp_path / "a", words, network.state_dict()))


@pytest.mark.parametrize("change", ["missing", "extra", "dtype", "shape"])
def test_weights_that_are_not_quite_the_architectures_are_refused(
    tmp_path: Path, network: Network, change: str, manifest: Manifest
) -> None:
    tensors = dict(network.state_dict())
    match change:
        case "missing":
            del tensors["head.bias"]
        case "extra":
            tensors["head.more"] = torch.zeros(1)
        case "dtype":
            tensors["head.bias"] = tensors["head.bias"].double()
        case "shape":
            tensors["head.bias"] = tensors["head.bias"][None]
    path = forged(tmp_path / "a", manifest.to_json(), tensors)
    assert "does not hold the weights of the " in refusal(path)


def test_an_artefact_is_replaced_by_the_new_one_and_nothing_else_is_left(path: Path, manifest: Manifest) -> None:
    new = build(SMALL, generator=torch.Generator().manual_seed(1))
    save_artefact(path, new, manifest)
    assert is_same(load_artefact(path)[0].state_dict(), new.state_dict())
    assert list(path.parent.iterdir()) == [path]


def full_disk(_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted(_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("failure", [full_disk, interrupted])
@pytest.mark.parametrize("exists", [True, False])
def test_a_failure_while_writing_leaves_what_was_there(
    path: Path, monkeypatch: pytest.MonkeyPatch, failure: Callable[[object], None], exists: bool, manifest: Manifest
) -> None:
    before = path.read_bytes()
    target = path if exists else path.with_name("new.safetensors")
    monkeypatch.setattr(os, "fsync", failure)
    with pytest.raises((OSError, KeyboardInterrupt)):
        save_artefact(target, build(SMALL), manifest)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_loaded_network_does_not_change_when_its_file_is_overwritten(path: Path) -> None:
    loaded, _ = load_artefact(path)
    before = {name: tensor.clone() for name, tensor in loaded.state_dict().items()}
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert is_same(loaded.state_dict(), before)
