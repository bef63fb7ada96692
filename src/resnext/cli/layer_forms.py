"""How the forms of grouped convolutions are measured and shown on the command line."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from resnext.cli.console import messages, results, table
from resnext.inference.chosen_forms import remember_forms
from resnext.inference.contest import Ratio
from resnext.inference.engine import DTYPES, EngineName, FloatPrecision, precisions_of
from resnext.inference.engines import Ready
from resnext.inference.layer_forms import DEFAULT
from resnext.inference.measure_forms import (
    NUM_ROUNDS,
    LayerForms,
    Timing,
    chosen_variants,
    grouped_layers,
    measure_forms,
    runner,
    whole_gain,
)
from resnext.model.device import processor
from resnext.model.network import Network
from resnext.training.provenance import versions

if TYPE_CHECKING:
    from rich.console import Console

_MOST_NAMED = 3


@dataclass(frozen=True)
class Case:
    """What is measured: a network under the name that the user gave it, a batch of its input, on an engine."""

    name: str
    network: Network
    example: Tensor
    engine: EngineName

    @property
    def precisions(self) -> tuple[FloatPrecision, ...]:
        """Those in which the engine computes here."""
        return precisions_of(self.engine)


def show_layer_forms(case: Case, *, as_json: bool) -> None:
    """Measure the grouped convolutions of a network, print what was found, and remember what pays."""
    measured = list(_measured(case))
    gains = _kept(case, measured)
    if as_json:
        print(json.dumps(_as_json(case, measured, gains)))
        return
    for forms in measured:
        _print_layer(results(), forms)
    _print_conclusion(results(), case, measured, gains)


def _measured(case: Case) -> Iterator[LayerForms]:
    """Measure each layer in each precision, showing on a terminal how many are done."""
    from rich.progress import track

    layers = grouped_layers(case.network, case.example)
    pairs = [(layer, precision) for layer in layers for precision in case.precisions]
    console = messages()
    # A display that moves often would take time from what is timed.
    shown = track(
        pairs,
        "Timing layers",
        console=console,
        transient=True,
        refresh_per_second=1,
        disable=not console.is_terminal,
    )
    for layer, precision in shown:
        yield measure_forms(case.network, layer, precision, NUM_ROUNDS, runner(case.engine, precision))


def _kept(case: Case, measured: Sequence[LayerForms]) -> dict[FloatPrecision, Ratio]:
    """Return how many times as fast the whole network is with what was chosen; remember that if it beats the noise."""
    ready, gains = Ready(case.network, case.example), {}
    for precision in case.precisions:
        forms = chosen_variants(measured, precision)
        if forms:
            gains[precision] = whole_gain(ready, forms, case.engine, precision)
        pays = precision in gains and gains[precision].low > 1
        remember_forms(ready.network, ready.example, case.engine, precision, forms if pays else {})
    return gains


def _print_layer(console: "Console", forms: LayerForms) -> None:
    names = forms.layer.names
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    title = f"\n{forms.precision}: {forms.layer.shape}\n{', '.join(names[:_MOST_NAMED])}{more}"
    rows = table(title, "form", "layout", "ms", "quartiles", "times as fast (95 %)", "")
    for timing in forms.timings:
        form = timing.variant.form(forms.layer.shape.groups)
        rows.add_row(form, timing.variant.layout, *_figures(timing), _mark(timing, forms))
    console.print(rows)


def _figures(timing: Timing) -> tuple[str, str, str]:
    if timing.gain is None:
        return "-", "-", "-"
    gain = timing.gain
    return (
        f"{timing.latency_ms_p50:.3f}",
        f"{timing.latency_ms_p25:.3f}-{timing.latency_ms_p75:.3f}",
        f"{gain.median:.2f} ({gain.low:.2f} to {gain.high:.2f})",
    )


def _mark(timing: Timing, forms: LayerForms) -> str:
    if timing.gain is None:
        return f"not equal: off by {timing.relative_error:.0e}"
    if forms.chosen and timing.variant == forms.chosen.variant:
        return "chosen"
    return "default" if timing.variant == DEFAULT else ""


def _print_conclusion(
    console: "Console", case: Case, measured: Sequence[LayerForms], gains: Mapping[FloatPrecision, Ratio]
) -> None:
    if not measured:
        console.print(f"{case.name} has no grouped convolutions; there is nothing to choose")
        return
    num_threads = torch.get_num_threads()
    threads = f"{num_threads} thread{'s' * (num_threads > 1)}"
    place = f"{case.engine} {_version(case.engine)}, {threads}, {processor(torch.device('cpu'))}"
    console.print(f"\nThe quickest call of each of {NUM_ROUNDS} rounds, in the median; {place}")
    for precision in DTYPES:
        of_precision = [forms for forms in measured if forms.precision == precision]
        if of_precision:
            _print_choice(console, case, of_precision, gains.get(precision))
        else:
            console.print(f"{precision}: left out, {case.engine} does not compute in it on this processor")


def _print_choice(console: "Console", case: Case, measured: Sequence[LayerForms], gain: Ratio | None) -> None:
    precision, num_layers = measured[0].precision, sum(len(forms.layer.names) for forms in measured)
    if gain is None:
        console.print(
            f"{precision}: nothing beats the default, grouped in channels_last, by more than the noise on any of"
            f" {num_layers} layers of {len(measured)} shapes; they stay as they are"
        )
        return
    for forms in measured:
        if forms.chosen is not None:
            variant, layer = forms.chosen.variant, forms.layer
            chosen = f"{variant.form(layer.shape.groups)} in {variant.layout}"
            console.print(
                f"{precision}: {chosen} is chosen for {len(layer.names)} of {num_layers} layers, {layer.shape}:"
                f" {_in_words(forms.chosen.gain)}"
            )
    console.print(f"{precision}: the whole network with what is chosen, on {case.engine}: {_in_words(gain)}")
    console.print(
        f"{precision}: remembered on this machine for {case.engine} at this batch and image size"
        if gain.low > 1
        else f"{precision}: not remembered, because the whole network gains nothing beyond the noise"
    )


def _in_words(gain: Ratio) -> str:
    return f"{gain.median:.2f} times as fast as the default ({gain.low:.2f} to {gain.high:.2f})"


def _version(engine: EngineName) -> str:
    return str(import_module(engine).__version__)


def _as_json(case: Case, measured: Sequence[LayerForms], gains: Mapping[FloatPrecision, Ratio]) -> dict[str, Any]:
    return {
        "subject": case.name,
        "engine": case.engine,
        "engine_version": _version(case.engine),
        "batch_size": case.example.shape[0],
        "image_size": case.example.shape[-1],
        "num_threads": torch.get_num_threads(),
        "num_rounds": NUM_ROUNDS,
        "processor": processor(torch.device("cpu")),
        "versions": versions(),
        "left_out": [precision for precision in DTYPES if precision not in case.precisions],
        "layers": [asdict(forms) for forms in measured],
        "whole_network": {precision: asdict(gain) for precision, gain in gains.items()},
    }
