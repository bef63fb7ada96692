"""Which form of each grouped convolution of ResNeXt-50 32x4d is fastest here: python benchmarks/layer_forms.py.

Times every form in both layouts and each precision that the processor has, at batch 1 and 16, in torch, and in OpenVINO
and ONNX Runtime where they are installed; then the whole network with what was chosen. Races the default against
itself too, to see how often noise alone is taken for a gain. Writes layer_forms.json and layer_forms.md beside this
file.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from resnext.inference.contest import Ratio, race, times_as_fast
from resnext.inference.engine import precisions_here
from resnext.inference.layer_forms import DEFAULT, Variant
from resnext.inference.measure_forms import (
    LEAST_GAIN,
    NUM_ROUNDS,
    TOLERANCES,
    GroupedLayer,
    LayerForms,
    Runner,
    chosen_variants,
    grouped_layers,
    in_torch,
    measure_forms,
    whole_gain,
)
from resnext.model.device import processor
from resnext.model.forms import build
from resnext.model.network import Network
from resnext.training.provenance import versions

NETWORK = "resnext50_32x4d"
IMAGE_SIZE = 224
BATCH_SIZES = (1, 16)
AGAINST_ITSELF = 10  # contests a layer


def in_openvino(layer: nn.Module, maps: Tensor) -> Callable[[], Tensor]:
    """Run a layer in OpenVINO, in single precision and for latency."""
    import openvino  # noqa: PLC0415 - may be missing

    with torch.inference_mode(False):
        model = openvino.convert_model(deepcopy(layer), example_input=maps.clone())
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.compile_model(model, "CPU", settings).create_infer_request()
    given = openvino.Tensor(maps.contiguous().numpy(), shared_memory=True)
    return lambda: torch.from_numpy(request.infer([given], share_outputs=True)[0])


def in_onnxruntime(layer: nn.Module, maps: Tensor) -> Callable[[], Tensor]:
    """Run a layer in ONNX Runtime."""
    import onnxruntime  # noqa: PLC0415 - may be missing

    with torch.inference_mode(False):
        program = torch.onnx.export(deepcopy(layer).eval(), (maps.clone(),), input_names=["maps"], verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {"maps": maps.contiguous().numpy()}
    return lambda: torch.from_numpy(session.run(None, given)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class AtBatch:
    """What was measured at one batch size."""

    batch_size: int
    engines: dict[str, list[LayerForms]]
    whole_network: dict[str, Ratio]
    num_contests_with_itself: int
    num_false_alarms: int


ENGINES: dict[str, Runner] = {"torch": in_torch, "openvino": in_openvino, "onnxruntime": in_onnxruntime}


def measured(network: Network, layers: Sequence[GroupedLayer], engine: str) -> Iterator[LayerForms]:
    """Measure every layer by an engine, in each precision that it has here."""
    for precision in precisions_here() if engine == "torch" else ("fp32",):
        for layer in layers:
            yield measure_forms(network, layer, precision, NUM_ROUNDS, ENGINES[engine])
            print(f"{engine}, {precision}: {layer.shape}", flush=True)


@torch.inference_mode()
def num_false_alarms(network: Network, layers: Sequence[GroupedLayer]) -> int:
    """Race the default against a copy of itself, and count how often the copy would pass for faster."""
    num_alarms = 0
    for layer in layers:
        conv = network.get_submodule(layer.names[0])
        maps = torch.randn(layer.shape.batch_size, layer.shape.in_channels, *layer.shape.map_size)
        maps = maps.contiguous(memory_format=torch.channels_last)
        for _ in range(AGAINST_ITSELF):
            runs = {number: in_torch(DEFAULT.of(conv), maps) for number in range(2)}  # type: ignore[arg-type]
            times = race(runs, NUM_ROUNDS)
            num_alarms += times_as_fast(times[0], times[1]).low > LEAST_GAIN
    return num_alarms


def at_batch(network: Network, batch_size: int) -> AtBatch:
    """Measure everything at one batch size."""
    example = torch.rand(batch_size, 3, IMAGE_SIZE, IMAGE_SIZE)
    layers = grouped_layers(network, example)
    engines = {engine: list(measured(network, layers, engine)) for engine in ENGINES if find_spec(engine)}
    return AtBatch(
        batch_size=batch_size,
        engines=engines,
        whole_network={
            precision: whole_gain(network, example, variants, precision)
            for precision in precisions_here()
            if (variants := chosen_variants(engines["torch"], precision))
        },
        num_contests_with_itself=AGAINST_ITSELF * len(layers),
        num_false_alarms=num_false_alarms(network, layers),
    )


def table(title: str, measured: Sequence[LayerForms]) -> str:
    """Lay out how many times as fast as the default each form is: a row a shape."""
    groups = measured[0].layer.shape.groups
    packed = [variant for variant in measured[0].layer.shape.variants() if variant.layout == "channels_last"]
    columns = [Variant(layout="contiguous"), *packed[1:]]
    names = ["grouped, contiguous", *(variant.form(groups) for variant in packed[1:])]
    lines = [
        f"**{title}**\n",
        f"| layer | number | default ms | {' | '.join(names)} | chosen |",
        f"|---|---:|---:|{'---:|' * len(columns)}---|",
    ]
    for forms in measured:
        timings = {timing.variant: timing for timing in forms.timings}
        cells = [in_words(timings[variant].gain) for variant in columns]
        chosen = f"{forms.chosen.variant.form(groups)}, {forms.chosen.variant.layout}" if forms.chosen else "default"
        row = (forms.layer.shape, len(forms.layer.names), f"{timings[DEFAULT].latency_ms_p50:.3f}", *cells, chosen)
        lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines) + "\n"


def in_words(gain: Ratio | None) -> str:
    """Write a gain with its interval."""
    return "not equal" if gain is None else f"{gain.median:.2f} ({gain.low:.2f} to {gain.high:.2f})"


def section(batch: AtBatch) -> Iterator[str]:
    """Write what was found at one batch size."""
    at = f"batch {batch.batch_size}"
    for engine, every in batch.engines.items():
        for precision in dict.fromkeys(forms.precision for forms in every):
            yield table(f"{engine}, {precision}, {at}", [forms for forms in every if forms.precision == precision])
    for chosen_in, gain in batch.whole_network.items():
        yield f"The whole network with what torch chose, {chosen_in}, {at}: {in_words(gain)}.\n"
    yield f"The default against itself, {at}: {batch.num_false_alarms} of {batch.num_contests_with_itself} won.\n"


def main() -> None:
    """Measure, print and write."""
    network = build(NETWORK, generator=torch.Generator().manual_seed(0)).eval()
    packages = [package for package in ENGINES if find_spec(package)]
    batches = [at_batch(network, batch_size) for batch_size in BATCH_SIZES]
    place = {
        "num_threads": torch.get_num_threads(),
        "processor": processor(torch.device("cpu")),
        **versions(),
        **{package: version(package) for package in packages},
    }
    head = (
        f"{NETWORK} at {IMAGE_SIZE}: how many times as fast as the default (grouped, channels_last, the same engine and"
        f" precision), with the 95 % interval of the median of {NUM_ROUNDS} interleaved rounds; chosen where it lies"
        f" above {LEAST_GAIN} twice. A variant pays for its change of layout; OpenVINO and ONNX Runtime lay maps out as"
        f" they like, and there the layouts differ in name only. {place}.\n"
    )
    rules = {"rounds": NUM_ROUNDS, "least_gain": LEAST_GAIN, "tolerances": TOLERANCES}
    written = {"network": NETWORK, "image_size": IMAGE_SIZE, **rules, **place}
    written["batches"] = [asdict(batch) for batch in batches]
    here, text = Path(__file__).parent, "\n".join([head, *(part for batch in batches for part in section(batch))])
    (here / "layer_forms.json").write_text(json.dumps(written, indent=2) + "\n")
    (here / "layer_forms.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
