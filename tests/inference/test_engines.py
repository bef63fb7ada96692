import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

import resnext
from resnext.inference.engine import EngineError, EngineName, Precision, precisions_here
from resnext.inference.engines import ENGINES, Ready, installed
from resnext.inference.onnxruntime_engine import OnnxRuntimeEngine
from resnext.inference.openvino_engine import OpenVINOEngine, openvino_model
from resnext.inference.torch_engine import CompiledEngine

SIZE = 32
NEEDS = {"onnxruntime": ("onnxscript", "onnxruntime"), "openvino": ("openvino",)}
PRECISIONS: tuple[tuple[Precision, float], ...] = (("fp32", 1e-5), ("bf16", 0.03))


def timm_network(name: str) -> nn.Module:
    timm = pytest.importorskip("timm", reason="timm, a peer, is not installed")
    made: nn.Module = timm.create_model(name, num_classes=5)
    return made


def torchvision_network() -> nn.Module:
    made: nn.Module = ResNet(Bottleneck, [1, 1, 1, 1], num_classes=5, groups=4, width_per_group=4)
    return made


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "grouped": lambda: resnext.build("resnext11_2x8d"),
    "aggregated": lambda: resnext.build("resnext11_2x8d", form="aggregated"),
    "torchvision": torchvision_network,
    "timm": lambda: timm_network("resnet10t"),
    "a function in between": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), Doubled(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
}


class Doubled(nn.Module):
    """Adds a convolution to its own normalisation, so that neither can be folded into the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        made = self.conv(x)
        return made + self.norm(made)  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=NETWORKS)
def ready(request: pytest.FixtureRequest, randomised: Callable[..., None]) -> Ready:
    network = NETWORKS[request.param]()
    randomised(network)
    return Ready(network, torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))


def images(count: int, size: int = SIZE) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))


def assert_near(given: Tensor, expected: Tensor, relative: float) -> None:
    assert given.dtype == torch.float32
    torch.testing.assert_close(given, expected, rtol=0, atol=relative * float(expected.abs().max()))


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "compiled"])
@pytest.mark.parametrize(("precision", "relative"), PRECISIONS)
def test_engines_give_the_networks_logits_whatever_the_batch_and_the_size(
    ready: Ready, name: EngineName, precision: Precision, relative: float
) -> None:
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")
    if precision == "bf16" and (name == "onnxruntime" or "bf16" not in precisions_here()):
        with pytest.raises(EngineError, match=r"^precision = 'bf16': .*; use "):
            ready.engine(name, precision)
        return
    engine = ready.engine(name, precision)
    assert (engine.name, engine.precision) == (name, precision)
    for given in (images(2), images(1), images(5), images(3, 48)):
        with torch.inference_mode():
            assert_near(engine(given), ready.network(given), relative)


def test_a_compiled_network_gives_the_same_logits_and_fills_up_a_smaller_batch(
    randomised: Callable[..., None],
) -> None:
    network = NETWORKS["grouped"]().eval()
    randomised(network)
    engine = resnext.accelerate(network, images(4), engine="compiled")
    for given in (images(4), images(1)):
        assert_near(engine(given), network(given).detach(), 1e-5)


def test_a_compiled_network_does_not_copy_a_batch_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = CompiledEngine(nn.Flatten(), 4)
    given: list[Tensor] = []

    def note(pixels: Tensor) -> Tensor:
        given.append(pixels)
        return pixels

    monkeypatch.setattr(engine, "_network", note)
    laid_out = images(4).to(memory_format=torch.channels_last)
    engine(laid_out)
    engine(laid_out[:3])
    assert given[0].data_ptr() == laid_out.data_ptr()
    assert len(given[1]) == 4


def test_a_network_is_left_as_it_was(randomised: Callable[..., None]) -> None:
    network = NETWORKS["grouped"]().train()
    randomised(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    resnext.accelerate(network, images(2), engine="torch")
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_every_normalisation_of_our_networks_is_folded_away() -> None:
    kinds = {type(module) for module in Ready(NETWORKS["grouped"](), images(1)).network.modules()}
    assert nn.BatchNorm2d not in kinds


def test_a_normalisation_that_is_not_all_that_reads_its_convolution_is_not_folded(
    randomised: Callable[..., None],
) -> None:
    network = NETWORKS["a function in between"]()
    randomised(network)
    assert nn.BatchNorm2d in {type(module) for module in Ready(network, images(1)).network.modules()}


class Branching(nn.Module):
    """Does what its input's values say, which no program of fixed operators can."""

    def forward(self, x: Tensor) -> Tensor:
        """Return one of two."""
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


def test_a_module_that_cannot_be_followed_is_told_so_and_auto_does_without_a_program() -> None:
    with pytest.raises(ValueError, match=r"^Branching cannot be exported \(.*; use engine 'torch'$"):
        resnext.accelerate(Branching(), images(2), engine="openvino")
    assert resnext.accelerate(Branching(), images(2)).name == "torch"


@pytest.mark.parametrize(
    ("engine", "precision", "said"),
    [
        ("tensorrt", "fp32", "engine = 'tensorrt': allowed are auto, torch, compiled, onnxruntime, openvino"),
        ("torch", "fp16", "precision = 'fp16': allowed are fp32, bf16, int8"),
        ("auto", "fp16", "precision = 'fp16': allowed are fp32, bf16, int8"),
        ("torch", "int8", "precision = 'int8': a network is quantised first, by resnext export "),
        ("openvino", "int8", "precision = 'int8': a network is quantised first, by resnext export "),
        ("auto", "int8", "precision = 'int8': a network is quantised first, by resnext export "),
    ],
)
def test_what_cannot_be_had_is_one_sentence(engine: str, precision: str, said: str) -> None:
    with pytest.raises(EngineError) as raised:
        resnext.accelerate(NETWORKS["grouped"](), images(1), engine=engine, precision=precision)  # type: ignore[arg-type]
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("package", "name", "line"),
    [
        ("openvino", "openvino", "pip install 'resnext[openvino]'"),
        ("onnxruntime", "onnxruntime", "pip install 'resnext[onnx]'"),
        ("onnxscript", "onnxruntime", "pip install 'resnext[onnx]'"),
    ],
)
def test_a_missing_extra_is_one_sentence_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, package: str, name: EngineName, line: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineError) as raised:
        resnext.accelerate(NETWORKS["grouped"](), images(1), engine=name)
    assert str(raised.value).startswith(package) and str(raised.value).endswith(line)
    assert "\n" not in str(raised.value)


def test_auto_makes_do_with_torch_where_no_extra_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnext.inference.engines.find_spec", lambda package: None)
    assert installed(torch.device("cpu")) == ("torch",)


@pytest.mark.parametrize("damaged", [b"", b"\x08\x09 not ONNX"])
def test_a_damaged_onnx_model_is_one_sentence(damaged: bytes) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime, an extra, is not installed")
    with pytest.raises(EngineError, match=r"^ONNX Runtime cannot open the model \([^\n]*\)$"):
        OnnxRuntimeEngine(damaged)


@pytest.mark.parametrize("shape", [(3, 32, 32), (0, 3, 32, 32)])
def test_an_example_that_is_no_batch_of_images_is_one_sentence(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match=rf"^example of shape {re.escape(str(shape))}: a batch of images "):
        resnext.accelerate(NETWORKS["grouped"](), torch.zeros(shape))


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
@pytest.mark.parametrize("shape", [(2, 3, 9, 9), (2, 1, 8, 8)])
def test_images_of_a_shape_that_a_model_does_not_take_are_one_sentence(
    name: EngineName, shape: tuple[int, ...]
) -> None:
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package, reason=f"{package}, an extra, is not installed")
    fixed = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    engine = resnext.accelerate(fixed, images(2, 8), engine=name)
    with pytest.raises(EngineError, match=rf"^images of shape {re.escape(str(shape))}: this (model|network) [^\n]*$"):
        engine(torch.zeros(shape))
    assert engine(images(2, 8)).shape == (2, 2)


def test_openvino_made_for_one_image_takes_others_and_refuses_what_does_not_fit() -> None:
    pytest.importorskip("openvino", reason="openvino, an extra, is not installed")
    network = NETWORKS["grouped"]().eval()
    engine = resnext.accelerate(network, images(1), engine="openvino")
    for given in (images(1), images(1, 48), images(3), images(1), images(2, 40)):
        with torch.inference_mode():
            assert_near(engine(given), network(given), 1e-5)
    fixed = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    engine = resnext.accelerate(fixed, images(1, 8), engine="openvino")
    for size in (9, 8, 9):  # also as the first, and after an answer that could be given again
        if size == 8:
            assert_near(engine(images(1, 8)), fixed(images(1, 8)).detach(), 1e-5)
        else:
            with pytest.raises(EngineError, match=r"^images of shape \(1, 3, 9, 9\): this model takes [^\n]*$"):
                engine(images(1, 9))


def test_throughput_asks_openvino_for_streams_and_latency_for_one() -> None:
    pytest.importorskip("openvino", reason="openvino, an extra, is not installed")
    model = openvino_model(Ready(NETWORKS["grouped"](), images(1)).program)
    for batch_size, hint in ((1, "LATENCY"), (8, "THROUGHPUT")):
        compiled = OpenVINOEngine(model, batch_size)._compiled
        assert str(compiled.get_property("PERFORMANCE_HINT")).endswith(hint)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_threads_that_share_openvino_get_their_own_answers(batch_size: int) -> None:
    pytest.importorskip("openvino", reason="openvino, an extra, is not installed")
    ready = Ready(resnext.build("resnext11_2x2d"), images(batch_size))
    engine = ready.engine("openvino")
    batches = [images(batch_size) + number for number in range(8)]
    with torch.inference_mode():
        expected = [ready.network(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for given, wanted in zip(pool.map(engine, batches), expected, strict=True):
                assert_near(given, wanted, 1e-4)
