import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import resnext
from resnext.artefact.store import save_artefact
from resnext.artefact.weights import open_network
from resnext.inference import contest
from resnext.inference.apart import Footprint
from resnext.inference.certificate import Format
from resnext.inference.contestants import contestants
from resnext.inference.export import Int8
from resnext.inference.samples import sample_images

Cli = Callable[..., Any]

NETWORK = "resnext11_2x2d"


@pytest.fixture(autouse=True)
def in_torch(monkeypatch: pytest.MonkeyPatch, plain: dict[str, str], tmp_path: Path) -> list[str]:
    """Leave out the engines that take seconds to make, and return the names of those that take part."""
    monkeypatch.setattr(contest, "_SAMPLE_MS", 0.01)
    entrants = [each for each in contestants() if each.engine in (None, "torch") and each.precision == "fp32"]
    monkeypatch.setattr("resnext.cli.speed_table.contestants", lambda *, compiled: entrants)
    monkeypatch.setattr("resnext.inference.ceiling.SIDE", 128)
    monkeypatch.setattr("resnext.inference.ceiling._COPIED_BYTES", 4096)
    for place in ("ceiling", "choice"):
        monkeypatch.setattr(f"resnext.inference.{place}.installed", lambda _: ("torch",))
    monkeypatch.setitem(plain, "XDG_CACHE_HOME", str(tmp_path))
    return [each.name for each in entrants]


def needed(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")


def test_without_forms_engines_and_peers_stand_in_one_table(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
    shown = cli("benchmark", NETWORK, "--no-memory", "--image-size", "16")
    assert (shown.status, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0] == f"{NETWORK}, 1 image of 16x16 at a time"
    rows = [line.split("  ")[0] for line in lines if line.startswith("resnext ")]
    assert rows == ["resnext eager", "resnext torch (auto)"]
    assert any(line.startswith("ceiling fp32: ") and "matrices multiplied by torch" in line for line in lines)
    peers = "torchvision eager fp32; torchvision channels_last, folded fp32"
    assert any(line.startswith(f"left out: {peers}: torchvision has no network like this {NETWORK}") for line in lines)
    assert "times as fast as resnext eager, within rounds; (auto): what engine auto takes" in lines
    assert lines[-1] == "bf16: left out, this processor has no instructions for it"


def test_the_table_is_json_and_a_picture_too(cli: Cli, artefact: Path, tmp_path: Path, in_torch: list[str]) -> None:
    shown = cli("benchmark", artefact, "--json", "--no-memory", "--batch-size", "3", "--picture", tmp_path / "a.svg")
    assert (shown.status, shown.err) == (0, "")
    found = json.loads(shown.out)
    assert (found["subject"], found["batch_size"], found["image_size"]) == (str(artefact), 3, 16)
    assert {"torch", "torchvision"} <= found["versions"].keys()
    rows = {f"{row['framework']} {row['setting']}": row for row in found["rows"]}
    assert list(rows) == in_torch
    assert rows["resnext torch"]["figures"]["images_per_second"] > 0
    assert rows["torchvision eager"]["figures"] is None
    drawn = (tmp_path / "a.svg").read_text()
    assert "resnext torch (auto), fp32" in drawn
    assert "torchvision" not in drawn


@pytest.mark.parametrize(("suffix", "to"), [(".pt2", "torch"), (".onnx", "onnx"), (".xml", "openvino")])
def test_exported_files_are_rows_with_the_logits_of_their_artefact(
    cli: Cli, artefact: Path, tmp_path: Path, in_torch: list[str], suffix: str, to: Format
) -> None:
    needed("onnxscript" if to == "onnx" else to, "onnxruntime" if to == "onnx" else to)
    made = resnext.export(artefact, to, tmp_path / f"model{suffix}").path
    shown = cli("benchmark", artefact, made, "--json", "--no-memory", "--batch-size", "2")
    assert (shown.status, shown.err) == (0, "")
    found = json.loads(shown.out)
    assert [f"{row['framework']} {row['setting']}" for row in found["rows"]] == [*in_torch, f"resnext {made}"]
    row = found["rows"][-1]
    assert (row["precision"], row["is_auto"], row["reason"]) == ("fp32", False, None)
    assert row["relative_error"] < 1e-4
    assert row["figures"]["ceiling_fraction"] > 0
    assert found["copy_gbytes_per_second"] > 0


def test_a_file_in_int8_has_a_row_without_a_ceiling_and_says_how_far_it_is_off(
    cli: Cli, artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed("openvino", "nncf")
    monkeypatch.chdir(tmp_path)
    resnext.export(artefact, "openvino", "small.xml", int8=Int8(list(sample_images())[:4], lambda _: 90.0))
    shown = cli("benchmark", artefact, "small.xml", "--no-memory", "--picture", "speed.svg")
    assert (shown.status, shown.err) == (0, "")
    lines = shown.out.splitlines()
    [row] = [line.split() for line in lines if line.startswith("resnext small.xml")]
    assert row[2] == "int8"
    assert row[-3:] == ["-", "-", "-"]
    assert any(line.startswith("small.xml: int8 moves logits by ") for line in lines)
    assert "resnext small.xml, int8" in Path("speed.svg").read_text()


def test_an_exported_file_alone_stands_beside_its_network_with_initial_weights(
    cli: Cli, artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model.pt2", "other.pt2"):
        resnext.export(artefact, "torch", name)
    shown = cli("benchmark", "model.pt2", "other.pt2", "--no-memory")
    assert (shown.status, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0] == "model.pt2, 1 image of 16x16 at a time"
    names = [line.split()[1] for line in lines if line.startswith("resnext ")]
    assert names == ["eager", "torch", "model.pt2", "other.pt2"]
    assert any(line.startswith("all but model.pt2, other.pt2: the same network with initial weights") for line in lines)
    assert any(line.startswith("ceiling of memory: ") for line in lines)


def test_a_file_of_other_weights_is_named_and_not_timed(cli: Cli, artefact: Path, tmp_path: Path) -> None:
    network, manifest = open_network(str(artefact))
    with torch.no_grad():
        network.head.bias.add_(1)
    save_artefact(tmp_path / "other.safetensors", network, manifest)
    made = resnext.export(tmp_path / "other.safetensors", "torch").path
    shown = cli("benchmark", artefact, made, "--no-memory")
    assert shown.status == 0
    assert f"left out: resnext {made} fp32: its logits differ from the module's by " in shown.out


def test_memory_stands_in_the_last_columns(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Footprint(making_bytes=2_000_000, running_bytes=1_000_000)
    monkeypatch.setattr("resnext.inference.benchmark.footprint", lambda *_: taken)
    lines = cli("benchmark", NETWORK, "--image-size", "16").out.splitlines()
    [row] = [line for line in lines if line.startswith("resnext eager")]
    assert row.split()[-2:] == ["1", "2"]
    assert any(line.startswith("MB: ") for line in lines)
