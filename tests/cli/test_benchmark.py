import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import resnext
from resnext.inference import contest
from resnext.inference.chosen_forms import recall_forms
from resnext.inference.contest import Ratio
from resnext.inference.engine import EngineName
from resnext.inference.engines import Ready, installed
from resnext.inference.remembered import Memory, key_of

Cli = Callable[..., Any]

NETWORK = "resnext11_2x2d"
LAYERS = [f"stages.{stage}.0.transform.conv" for stage in range(3)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, plain: dict[str, str], tmp_path: Path) -> None:
    monkeypatch.setattr(contest, "_SAMPLE_MS", 0.01)
    monkeypatch.setitem(plain, "XDG_CACHE_HOME", str(tmp_path))  # where forms are remembered


@pytest.fixture
def only_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})


@pytest.fixture
def restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def measured(cli: Cli, *arguments: str | Path) -> dict[str, Any]:
    shown = cli("benchmark", *arguments, "--forms", "--json")
    assert (shown.status, shown.err) == (0, "")
    return json.loads(shown.out)  # type: ignore[no-any-return]


@pytest.mark.usefixtures("only_fp32")
def test_every_shape_has_a_table_of_forms_and_layouts(cli: Cli) -> None:
    shown = cli("benchmark", NETWORK, "--forms")
    assert (shown.status, shown.err) == (0, "")
    assert all(name in shown.out for name in LAYERS)
    assert "fp32: 3x3/2x2, 8 -> 8 in 2 groups, 1 of 32x32" in shown.out
    rows = [line.split()[:2] for line in shown.out.splitlines() if line.startswith(("grouped", "dense"))]
    assert rows == [[form, layout] for form in ("grouped", "dense") for layout in ("channels_last", "contiguous")] * 3
    assert shown.out.count(" default\n") == 3
    assert "bf16: left out, torch does not compute in it on this processor" in shown.out


@pytest.mark.usefixtures("only_fp32")
def test_where_nothing_is_faster_it_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnext.inference.measure_forms.LEAST_GAIN", 1e9)
    said = cli("benchmark", NETWORK, "--forms").out.splitlines()[-2]
    assert said.startswith(
        "fp32: nothing beats the default, grouped in channels_last, by more than the noise on any of"
    )
    assert said.endswith("3 layers of 3 shapes; they stay as they are")


@pytest.mark.usefixtures("only_fp32")
def test_what_is_chosen_is_named_and_raced_in_the_whole_network(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnext.inference.measure_forms.LEAST_GAIN", 0.0)
    lines = cli("benchmark", NETWORK, "--forms").out.splitlines()
    assert sum(line.endswith(" chosen") for line in lines) == 3
    assert sum("is chosen for 1 of 3 layers" in line for line in lines) == 3
    assert lines[-3].startswith("fp32: the whole network with what is chosen, on torch: ")


@pytest.mark.usefixtures("only_fp32")
@pytest.mark.parametrize(
    ("engine", "pays"), [("torch", False), ("torch", True), ("onnxruntime", True), ("openvino", True)]
)
def test_forms_that_pay_are_used_from_then_on_at_that_batch_and_size_and_answers_stay_equal(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: EngineName, pays: bool
) -> None:
    if engine not in installed(torch.device("cpu")):
        pytest.skip(f"{engine}, an extra, is not installed")
    monkeypatch.setattr("resnext.inference.measure_forms.LEAST_GAIN", 0.0)
    gain = Ratio(1.1, 1.05, 1.2) if pays else Ratio(1.02, 0.98, 1.05)
    monkeypatch.setattr("resnext.cli.layer_forms.whole_gain", lambda *_: gain)
    lines = cli("benchmark", NETWORK, "--forms", "--engine", engine, "--batch-size", "2").out.splitlines()
    assert (": remembered on this machine for " in lines[-2]) is pays
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    network = resnext.build(NETWORK).eval()
    for num_images, remembers in ((2, pays), (3, False)):
        images = torch.randn(num_images, 3, 32, 32)
        ready = Ready(network, images)
        forms = recall_forms(ready.network, images, engine, "fp32")
        assert [*forms] == (LAYERS if remembers else [])
        with torch.inference_mode():
            torch.testing.assert_close(ready.engine(engine)(images), network(images), rtol=0, atol=1e-4)


@pytest.mark.parametrize("damaged", ["[1]", '{"KEY": {"stages.0.0.transform.conv": [7, "channels_last"]}}', "{"])
def test_a_damaged_memory_of_forms_holds_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damaged: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images = torch.randn(1, 3, 32, 32)
    ready = Ready(resnext.build(NETWORK), images)
    key = key_of(ready.network, images, "torch", "fp32")
    Memory("forms").path().parent.mkdir()
    Memory("forms").path().write_text(damaged.replace("KEY", key))
    assert recall_forms(ready.network, images, "torch", "fp32") == {}


def test_everything_is_there_as_json(cli: Cli) -> None:
    found = measured(cli, NETWORK, "--batch-size", "2", "--image-size", "16")
    assert (found["subject"], found["batch_size"], found["image_size"]) == (NETWORK, 2, 16)
    assert found["versions"]["torch"] == torch.__version__
    precisions = [precision for precision in ("fp32", "bf16") if precision not in found["left_out"]]
    assert [(layer["layer"]["names"][0], layer["precision"]) for layer in found["layers"]] == [
        (name, precision) for name in LAYERS for precision in precisions
    ]
    for layer in found["layers"]:
        assert layer["layer"]["shape"]["batch_size"] == 2
        assert len(layer["timings"]) == 4
        assert all(timing["latency_ms_p50"] > 0 for timing in layer["timings"])


@pytest.mark.usefixtures("restored_threads")
def test_threads_may_be_given(cli: Cli) -> None:
    found = measured(cli, "resnet11_1x4d", "--threads", "2")  # nothing to time, which would wait for cores
    assert (found["num_threads"], found["layers"]) == (2, [])


@pytest.mark.usefixtures("only_fp32")
def test_an_artefact_is_measured_at_its_own_image_size(cli: Cli, artefact: Path) -> None:
    found = measured(cli, artefact)
    assert found["image_size"] == 16
    assert [layer["layer"]["names"][0] for layer in found["layers"]] == LAYERS


def test_a_network_without_groups_has_nothing_to_choose(cli: Cli) -> None:
    shown = cli("benchmark", "resnet11_1x4d", "--forms")
    assert (shown.status, shown.out) == (0, "resnet11_1x4d has no grouped convolutions; there is nothing to choose\n")


def test_a_file_that_cannot_be_a_row_is_refused_before_anything_is_measured(
    cli: Cli, artefact: Path, tmp_path: Path
) -> None:
    made = resnext.export(artefact, "torch", tmp_path / "model.pt2").path
    missing = tmp_path / "none.pt2"
    for arguments, said in (
        ((NETWORK, made), f"{made} holds {NETWORK} with 3 classes, not the subject's network, {NETWORK} with 10;"),
        ((artefact, artefact), "only what resnext export made (.onnx, .xml, .pt2) may follow the subject"),
        ((artefact, missing), f"no exported network at {missing}"),
        ((missing,), f"no exported network at {missing}"),
        ((made, "--forms"), "--forms times the layers of a name or of weights"),
    ):
        shown = cli("benchmark", *arguments)
        assert (shown.status, shown.out) == (2, "")
        assert said in shown.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((NETWORK, "--forms", "--compiled"), "--compiled, --no-memory and --picture"),
        ((NETWORK, "--forms", "--no-memory"), "--compiled, --no-memory and --picture"),
        ((NETWORK, "--forms", "--picture", "speed.png"), "--compiled, --no-memory and --picture"),
        ((NETWORK, "--picture", "speed.jpg"), "the name of a picture ends in .png or .svg"),
        ((NETWORK, "--picture", "nowhere/speed.png"), "there is no folder nowhere"),
        (("alexnet", "--forms"), "alexnet"),
        (("none.safetensors", "--forms"), "none.safetensors"),
        ((NETWORK, "--engine", "torch"), "--engine says what computes the --forms"),
        ((NETWORK, "--forms", "--batch-size", "0"), "--batch-size"),
        ((NETWORK, "--forms", "--threads", "0"), "--threads"),
    ],
)
def test_what_cannot_be_measured_is_said_with_status_2(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    shown = cli("benchmark", *arguments)
    assert (shown.status, shown.out) == (2, "")
    assert said in shown.err
    assert "Traceback" not in shown.err
