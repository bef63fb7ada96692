"""Which form of each grouped convolution of ResNeXt-50 32x4d is fastest here: python benchmarks/layer_forms.py.

Times every form in both layouts and each precision that the processor has, at batch 1 and 16, in torch, and in OpenVINO
and ONNX Runtime where they are installed; then the whole network with what was chosen. Races the default against
itself too, to see how often noise alone is taken for a gain. Writes layer_forms.json and layer_forms.md beside this
file.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from resnext.inference.contest import Ratio, race, times_as_fast
from resnext.inference.engine import EngineName, precisions_of
from resnext.inference.engines import Ready
from resnext.inference.layer_forms import DEFAULT, Variant
from resnext.inference.measure_forms import (
    IN_TORCH,
    LEAST_GAIN,
    NUM_ROUNDS,
    TOLERANCES,
    GroupedLayer,
    LayerForms,
    chosen_variants,
    grouped_layers,
    measure_forms,
    runner,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AtBatch:
    """What was measured at one batch size."""

    batch_size: int
    engines: Mapping[EngineName, list[LayerForms]]
    whole_network: Mapping[EngineName, dict[str, Ratio]]
    num_contests_with_itself: int
    num_false_alarms: int


ENGINES: tuple[EngineName, ...] = ("torch", "openvino", "onnxruntime")


def measured(network: Network, layers: Sequence[GroupedLayer], engine: EngineName) -> Iterator[LayerForms]:
    """Measure every layer by an engine, in each precision that it has here."""
    for precision in precisions_of(engine):
        for layer in layers:
            yield measure_forms(network, layer, precision, NUM_ROUNDS, runner(engine, precision))
            print(f"{engine}, {precision}: {layer.shape}", flush=True)


def gains(ready: Ready, engine: EngineName, every: Sequence[LayerForms]) -> dict[str, Ratio]:
    """Time the whole network on an engine with what was chosen, in each precision in which something was."""
    return {
        precision: whole_gain(ready, forms, engine, precision)
        for precision in precisions_of(engine)
        if (forms := chosen_variants(every, precision))
    }


@torch.inference_mode()
def num_false_alarms(network: Network, layers: Sequence[GroupedLayer]) -> int:
    """Race the default against a copy of itself, and count how often the copy would pass for faster."""
    num_alarms = 0
    for layer in layers:
        conv = network.get_submodule(layer.names[0])
        maps = torch.randn(layer.shape.batch_size, layer.shape.in_channels, *layer.shape.map_size)
        maps = maps.contiguous(memory_format=torch.channels_last)
        for _ in range(AGAINST_ITSELF):
            runs = {number: IN_TORCH(DEFAULT.of(conv), maps) for number in range(2)}  # type: ignore[arg-type]
            times = race(runs, NUM_ROUNDS)
            num_alarms += times_as_fast(times[0], times[1]).low > LEAST_GAIN
    return num_alarms


def at_batch(network: Network, batch_size: int) -> AtBatch:
    """Measure everything at one batch size."""
    example = torch.rand(batch_size, 3, IMAGE_SIZE, IMAGE_SIZE)
    layers = grouped_layers(network, example)
    engines = {engine: list(measured(network, layers, engine)) for engine in ENGINES if find_spec(engine)}
    ready = Ready(network, example)
    return AtBatch(
        batch_size=batch_size,
        engines=engines,
        whole_network={engine: gains(ready, engine, every) for engine, every in engines.items()},
        num_contests_with_itself=AGAINST_ITSELF * len(layers),
        num_false_alarms=num_false_alarms(network, layers),
    )


def table(title: str, measured: Sequence[LayerForms]) -> str:
    """Lay out how many times as fast as the default each form is: a row a shape."""
    groups = measured[0].layer.shape.groups
    timed = {timing.variant for timing in measured[0].timings}
    packed = [variant for variant in measured[0].layer.shape.variants() if variant.layout == "channels_last"]
    columns = [variant for variant in (Variant(layout="contiguous"), *packed[1:]) if variant in timed]
    names = [variant.form(groups) if variant.merged_groups > 1 else f"grouped, {variant.layout}" for variant in columns]
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
            gain = batch.whole_network[engine].get(precision)
            found = f"with what was chosen: {in_words(gain)}" if gain else "stays as it is: nothing was chosen"
            yield f"The whole network in {engine}, {precision}, {at}, {found}.\n"
    yield f"The default against itself, {at}: {batch.num_false_alarms} of {batch.num_contests_with_itself} won.\n"


def main() -> None:
    """Measure, print and write."""
    network = build(NETWORK, generator=torch.Generator().manual_seed(0)).eval()
    batches = [at_batch(network, batch_size) for batch_size in BATCH_SIZES]
    place: dict[str, str | int] = {
        "num_threads": torch.get_num_threads(),
        "processor": processor(torch.device("cpu")),
        **versions(),
        **{package: version(package) for package in ENGINES[1:] if find_spec(package)},
    }
    head = (
        f"{NETWORK} at {IMAGE_SIZE}: how many times as fast as the default (grouped, channels_last, the same engine and"
        f" precision), with the 95 % interval of the median of {NUM_ROUNDS} interleaved rounds; chosen where it lies"
        f" above {LEAST_GAIN} twice. In torch a variant pays for its change of layout; OpenVINO and ONNX Runtime lay"
        f" maps out as they like. {place}.\n"
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
