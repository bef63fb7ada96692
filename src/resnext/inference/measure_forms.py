"""Which way to compute each grouped convolution is fastest here: measured layer by layer on the processor.

It depends on shape, hardware and library. Each variant is checked against float64 and timed as it would stand in the
network, so that a layout other than the network's pays for its two conversions. Precision changes answers and is not
chosen here: in each, variants compete with the default of the same precision.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from statistics import quantiles
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from resnext.inference.contest import Ratio, race, times_as_fast
from resnext.inference.engine import DTYPES, EngineName, FloatPrecision
from resnext.inference.engines import Ready
from resnext.inference.layer_forms import DEFAULT, MEMORY_FORMATS, Layout, Variant

# How far a variant may be from float64: the norm of the difference over the norm of the answer.
TOLERANCES: dict[FloatPrecision, float] = {"fp32": 1e-5, "bf16": 1e-2}
LEAST_GAIN = 1.03
NUM_ROUNDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """What decides how fast a convolution is; sizes are (height, width), `map_size` that of its input."""

    batch_size: int
    in_channels: int
    out_channels: int
    groups: int
    map_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]

    def __str__(self) -> str:
        kernel, stride, size = ("x".join(map(str, sides)) for sides in (self.kernel_size, self.stride, self.map_size))
        strided = f"/{stride}" if max(self.stride) > 1 else ""
        channels = f"{self.in_channels} -> {self.out_channels} in {self.groups} groups"
        return f"{kernel}{strided}, {channels}, {self.batch_size} of {size}"

    def variants(self, layouts: Sequence[Layout] = tuple(MEMORY_FORMATS)) -> tuple[Variant, ...]:
        """Return all forms in these layouts, the default first: groups as they are, merged by 2, 4, 8, ..., dense."""
        powers = [2**power for power in range(self.groups.bit_length()) if self.groups % 2**power == 0]
        merged = dict.fromkeys([*powers, self.groups])
        return tuple(Variant(number, layout) for number in merged for layout in layouts)


@dataclass(frozen=True, slots=True)
class GroupedLayer:
    """The grouped convolutions of a network that have one shape, by their names in it."""

    shape: LayerShape
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a variant takes, in quartiles over rounds, and how many times as fast as the default it is.

    A variant that is further from float64 than is tolerated is not timed.
    """

    variant: Variant
    relative_error: float
    latency_ms_p25: float | None = None
    latency_ms_p50: float | None = None
    latency_ms_p75: float | None = None
    gain: Ratio | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The variant that beats the default, and its gain in rounds of their own."""

    variant: Variant
    gain: Ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerForms:
    """What was measured of a layer; `chosen` is None where nothing beats the default by more than the noise."""

    layer: GroupedLayer
    precision: FloatPrecision
    timings: tuple[Timing, ...]
    chosen: Chosen | None


class Runner(Protocol):
    """Makes a layer ready to run on a map by some engine; what it returns computes once and gives the answer.

    `layouts` are those that make a difference to it, the default's among them.
    """

    @property
    def layouts(self) -> tuple[Layout, ...]: ...  # noqa: D102 - see the class

    def __call__(self, layer: nn.Module, maps: Tensor) -> Callable[[], Tensor]:
        """Prepare a layer for maps (batch, channels, height, width)."""
        ...


@dataclass(frozen=True, slots=True)
class InTorch:
    """Runs a layer in torch, as it is."""

    layouts: tuple[Layout, ...] = tuple(MEMORY_FORMATS)

    def __call__(self, layer: nn.Module, maps: Tensor) -> Callable[[], Tensor]:
        """Prepare a layer for maps (batch, channels, height, width)."""
        return lambda: cast(Tensor, layer(maps))


@dataclass(frozen=True, slots=True)
class OnEngine:
    """Runs a layer on an engine, which lays maps out as it likes."""

    engine: EngineName
    precision: FloatPrecision = "fp32"
    layouts: tuple[Layout, ...] = (DEFAULT.layout,)

    def __call__(self, layer: nn.Module, maps: Tensor) -> Callable[[], Tensor]:
        """Prepare a layer for maps (batch, channels, height, width). Raises `EngineError` as `Ready.engine` does."""
        with torch.inference_mode(False):
            given = maps.float().clone()
            made = Ready(layer.float(), given).engine(self.engine, self.precision, {})
        return lambda: made(given)


IN_TORCH = InTorch()


def runner(engine: EngineName, precision: FloatPrecision) -> Runner:
    """Return what runs layers on an engine."""
    return InTorch() if engine == "torch" else OnEngine(engine, precision)


@torch.inference_mode()
def grouped_layers(network: nn.Module, example: Tensor) -> tuple[GroupedLayer, ...]:
    """Find the grouped convolutions of a network by one pass over an example batch, one entry for each shape.

    Those of subclasses of `nn.Conv2d`, which cannot be packed, are passed over; one that runs at several sizes counts
    at the first. The network is not changed. Raises `ValueError` where it is not on the CPU.
    """
    if example.device.type != "cpu":
        raise ValueError(f"an example on {example.device}: forms are timed on the CPU; move network and example there")
    watched = deepcopy(network).eval()
    shapes: dict[str, LayerShape] = {}
    for name, module in watched.named_modules():
        if type(module) is nn.Conv2d and module.groups > 1:
            module.register_forward_pre_hook(_remember(name, shapes))
    watched(example)
    return tuple(
        GroupedLayer(shape, tuple(name for name, of_name in shapes.items() if of_name == shape))
        for shape in dict.fromkeys(shapes.values())
    )


@torch.inference_mode()
def measure_forms(
    network: nn.Module,
    layer: GroupedLayer,
    precision: FloatPrecision = "fp32",
    num_rounds: int = NUM_ROUNDS,
    run: Runner = IN_TORCH,
) -> LayerForms:
    """Time all variants of a layer in turn and choose the one, if any, that beats the default by more than the noise.

    The fastest of all meets the default once more in rounds of their own, because the best of many noisy figures looks
    better than it is. It is chosen where both times the whole 95 % interval of its gain lies above 1.03.
    Raises `ValueError` where the default itself is not equal to float64 within `TOLERANCES`.
    """
    conv = cast(nn.Conv2d, network.get_submodule(layer.names[0]))
    exact_maps = _random_maps(layer.shape)
    exact = deepcopy(conv).double()(exact_maps)
    rounded = deepcopy(conv).to(DTYPES[precision])
    maps = exact_maps.to(DTYPES[precision], memory_format=torch.channels_last)
    runs = {variant: run(variant.of(rounded), maps) for variant in layer.shape.variants(run.layouts)}
    errors = {variant: _relative_error(compute(), exact) for variant, compute in runs.items()}
    if not errors[DEFAULT] <= TOLERANCES[precision]:
        raise ValueError(
            f"{layer.names[0]} differs from float64 by {errors[DEFAULT]:.1e} in {precision}, more than"
            f" {TOLERANCES[precision]:.0e}; are its weights finite?"
        )
    equal = {variant: compute for variant, compute in runs.items() if errors[variant] <= TOLERANCES[precision]}
    times = race(equal, num_rounds)
    timings = tuple(_timing(variant, errors[variant], times) for variant in runs)
    return LayerForms(layer=layer, precision=precision, timings=timings, chosen=_choose(timings, equal, num_rounds))


def chosen_variants(measured: Iterable[LayerForms], precision: FloatPrecision = "fp32") -> dict[str, Variant]:
    """Return what `apply_forms` takes: the variants that were chosen for a precision, by the names of the layers."""
    return {
        name: forms.chosen.variant
        for forms in measured
        if forms.precision == precision and forms.chosen is not None
        for name in forms.layer.names
    }


def whole_gain(
    ready: Ready,
    forms: Mapping[str, Variant],
    engine: EngineName = "torch",
    precision: FloatPrecision = "fp32",
    num_rounds: int = NUM_ROUNDS,
) -> Ratio:
    """Return how many times as fast a whole network is on an engine with these forms as without.

    Raises `EngineError` as `Ready.engine` does.
    """
    plain, changed = (ready.engine(engine, precision, each) for each in ({}, forms))
    times = race({"plain": lambda: plain(ready.example), "changed": lambda: changed(ready.example)}, num_rounds)
    return times_as_fast(times["plain"], times["changed"])


def _choose(timings: Sequence[Timing], runs: Mapping[Variant, Callable[[], Tensor]], num_rounds: int) -> Chosen | None:
    gains = {timing.variant: timing.gain for timing in timings if timing.gain and timing.variant != DEFAULT}
    fastest = max(gains, key=lambda variant: gains[variant].median, default=None)
    if fastest is None or gains[fastest].low <= LEAST_GAIN:
        return None
    times = race({variant: runs[variant] for variant in (DEFAULT, fastest)}, num_rounds)
    gain = times_as_fast(times[DEFAULT], times[fastest])
    return Chosen(fastest, gain) if gain.low > LEAST_GAIN else None


def _timing(variant: Variant, relative_error: float, times: Mapping[Variant, Sequence[float]]) -> Timing:
    if variant not in times:
        return Timing(variant=variant, relative_error=relative_error)
    p25, p50, p75 = quantiles(times[variant], n=4)
    return Timing(
        variant=variant,
        relative_error=relative_error,
        latency_ms_p25=p25,
        latency_ms_p50=p50,
        latency_ms_p75=p75,
        gain=times_as_fast(times[DEFAULT], times[variant]),
    )


def _remember(name: str, shapes: dict[str, LayerShape]) -> Callable[[nn.Conv2d, tuple[Tensor, ...]], None]:
    """Return a hook that notes the shape at which a convolution first runs."""

    def note(conv: nn.Conv2d, inputs: tuple[Tensor, ...]) -> None:
        batch_size, _, *map_size = inputs[0].shape
        shape = LayerShape(
            batch_size=batch_size,
            in_channels=conv.in_channels,
            out_channels=conv.out_channels,
            groups=conv.groups,
            map_size=tuple(map_size),
            kernel_size=conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
        )
        shapes.setdefault(name, shape)

    return note


def _random_maps(shape: LayerShape) -> Tensor:
    size = (shape.batch_size, shape.in_channels, *shape.map_size)
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _relative_error(actual: Tensor, exact: Tensor) -> float:
    least = torch.finfo(exact.dtype).tiny
    return float((actual.double() - exact).norm() / exact.norm().clamp_min(least))
