"""How fast the grouped 3x3 convolutions of ResNeXt run on a GPU, as they are, packed and dense.

    python benchmarks/gpu/grouped.py [--seconds 240] [--out FOLDER]

Forward, input gradient and weight gradient of every distinct shape of 32x4d, 64x4d and 32x8d at batch 256, bf16,
channels_last, through cuDNN: native; with groups merged on the diagonal of wider ones of 16, 32 or 64 channels; dense.
Each is given beside the least bytes that it must move over the bandwidth of a copy. Writes grouped.json and grouped.md.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from card import (
    Ceilings,
    Deadline,
    attempt,
    flush_buffer,
    in_words,
    kernel_ms,
    measured_ceilings,
    need_gpu,
    parsed,
    place,
    release,
    save,
    spread,
)
from resnext.model.packed import pack, unpack_weight
from resnext.spec.architecture import architecture
from resnext.spec.plan import POOL_STRIDE, plan

NETWORKS = ("resnext50_32x4d", "resnext101_64x4d", "resnext101_32x8d")  # depths 50 and 101 have the same shapes
IMAGE_SIZE, BATCH_SIZE = 224, 256
WIDTHS = (16, 32, 64)
PASSES = ("forward", "input gradient", "weight gradient")
DTYPE = torch.bfloat16
BYTES_A_NUMBER = 2

_KERNEL = 3
_MOST_CALLS, _LEAST_CALLS, _MOST_MS = 20, 5, 200.0  # of one row, after warm-up
_CHECKED_IMAGES = 2
_MOST_ERROR = 1e-2  # that of bf16, as in resnext.inference.measure_forms


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A grouped 3x3 convolution with as many channels out as in; `side` is that of its input, in pixels."""

    channels: int
    groups: int
    side: int
    stride: int

    @property
    def width(self) -> int:
        """Channels of a group."""
        return self.channels // self.groups

    @property
    def out_side(self) -> int:
        """The side of the output, padded by 1."""
        return -(-self.side // self.stride)

    def num_bytes(self, batch_size: int) -> int:
        """Return the least traffic of any of the passes: input, output (or their gradients) and weights, each once."""
        maps = batch_size * self.channels * (self.side**2 + self.out_side**2)
        return BYTES_A_NUMBER * (maps + _KERNEL**2 * self.channels * self.width)

    def flops(self, batch_size: int) -> int:
        """Return the useful operations of any of the passes, two for a multiplication with its addition."""
        return 2 * _KERNEL**2 * self.width * batch_size * self.channels * self.out_side**2

    def forms(self) -> dict[str, int]:
        """Return the forms by name, each with how many groups it merges in one."""
        packed = {f"packed to {width}": width // self.width for width in WIDTHS if self.width < width < self.channels}
        return {"native": 1, **packed, "dense": self.groups}


def shapes(name: str) -> list[Shape]:
    """Return the distinct shapes of the grouped convolutions of a network, in order."""
    network = plan(architecture(name))
    side = -(-IMAGE_SIZE // network.stem.stride)
    side = -(-side // POOL_STRIDE) if network.has_pool else side
    found = []
    for block in network.blocks:
        conv = block.conv("transform")
        found.append(Shape(channels=conv.in_channels, groups=conv.groups, side=side, stride=conv.stride))
        side = found[-1].out_side
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Maps:
    """Random maps of a shape: the layer's input and the gradient of its output."""

    given: Tensor
    gradient: Tensor


def random_maps(shape: Shape, batch_size: int, device: torch.device) -> Maps:
    """Draw maps afresh, channels_last."""

    def draw(side: int) -> Tensor:
        maps = torch.empty(
            (batch_size, shape.channels, side, side), dtype=DTYPE, device=device, memory_format=torch.channels_last
        )
        return maps.normal_()

    return Maps(draw(shape.side), draw(shape.out_side))


def layer(shape: Shape, device: torch.device) -> nn.Conv2d:
    """Make the convolution with random weights."""
    conv = nn.Conv2d(
        shape.channels, shape.channels, _KERNEL, stride=shape.stride, padding=1, groups=shape.groups, bias=False
    )
    return conv.requires_grad_(False).to(device, DTYPE)


def passes(conv: nn.Conv2d, maps: Maps) -> dict[str, Callable[[], Tensor]]:
    """Return what computes each pass once."""
    weight = conv.weight.contiguous(memory_format=torch.channels_last)
    stride, groups = list(conv.stride), conv.groups

    def backward(place: int) -> Tensor:
        mask = [number == place for number in range(3)]
        found = torch.ops.aten.convolution_backward(
            maps.gradient, maps.given, weight, None, stride, [1, 1], [1, 1], False, [0, 0], groups, mask
        )
        return found[place]  # type: ignore[no-any-return]

    return {
        "forward": lambda: F.conv2d(maps.given, weight, None, conv.stride, 1, 1, groups),
        "input gradient": lambda: backward(0),
        "weight gradient": lambda: backward(1),
    }


def timed(run: Callable[[], Tensor], flushed: Tensor) -> dict[str, Any]:
    """Time one pass, after the library has searched for its fastest way."""
    run()
    guessed_ms = median(kernel_ms(run, 3, flushed))
    num_calls = max(_LEAST_CALLS, min(_MOST_CALLS, int(_MOST_MS / guessed_ms)))
    return {**spread(kernel_ms(run, num_calls, flushed)), "num_calls": num_calls}


def error_of(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over the norm of what is expected."""
    wanted = expected.float()
    return float((found.float() - wanted).norm() / wanted.norm())


def error_of_native(conv: nn.Conv2d, maps: Maps, found: Tensor) -> float:
    """Compare the forward pass of the first images with float64 on the CPU."""
    given, weight = maps.given[:_CHECKED_IMAGES].cpu().double(), conv.weight.cpu().double()
    expected = F.conv2d(given, weight, None, conv.stride, 1, 1, conv.groups)
    return error_of(found[:_CHECKED_IMAGES].cpu().double(), expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where and under what ceilings shapes are measured."""

    device: torch.device
    batch_size: int
    deadline: Deadline
    ceilings: Ceilings | None
    flushed: Tensor

    def rows(self, shape: Shape) -> Iterator[dict[str, Any]]:
        """Yield a row for every form and pass of a shape."""
        try:
            maps, conv = random_maps(shape, self.batch_size, self.device), layer(shape, self.device)
        except RuntimeError as error:
            yield {"form": "all", "pass": "all", "note": str(error).partition("\n")[0]}
            return
        native: dict[str, Tensor] = {}
        for form, merged in shape.forms().items():
            packed = pack(conv, merged)
            for name, run in passes(packed, maps).items():

                def work(
                    name: str = name, run: Callable[[], Tensor] = run, packed: nn.Conv2d = packed
                ) -> dict[str, Any]:
                    found = run()
                    if name == "weight gradient":
                        found = unpack_weight(found, packed.groups, conv.groups // packed.groups)
                    row = {"error": error_of(found, native[name])} if name in native else {}
                    native.setdefault(name, found)
                    if packed.groups == conv.groups and name == "forward":
                        row["error"] = error_of_native(conv, maps, found)
                    return {**row, **self.figures(shape, timed(run, self.flushed))}

                yield {"form": form, "pass": name, **attempt(self.deadline, work)}

    def figures(self, shape: Shape, times: dict[str, Any]) -> dict[str, Any]:
        """Add to times what they come to, in bytes and operations a second and beside the ceilings."""
        per_second = 1000 / times["ms"]
        moved, computed = per_second * shape.num_bytes(self.batch_size), per_second * shape.flops(self.batch_size)
        figures = {**times, "gb_per_second": moved / 1e9, "tflops_per_second": computed / 1e12}
        if self.ceilings is not None:
            figures["fraction_of_copy"] = moved / self.ceilings.copy_bytes_per_second
            figures["fraction_of_product"] = computed / self.ceilings.product_flops_per_second
        return figures


def table(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """Lay out a network: a row for every shape and pass, a column for every form."""
    forms = ["native", *(f"packed to {width}" for width in WIDTHS), "dense"]
    lines = [
        f"**{name}**\n",
        f"| channels | groups | side | stride | pass | {' | '.join(forms)} | best |",
        f"|---:|---:|---:|---:|---|{'---:|' * len(forms)}---|",
    ]
    keys = dict.fromkeys((row["channels"], row["groups"], row["side"], row["stride"], row["pass"]) for row in rows)
    for key in keys:
        cells = {
            row["form"]: row
            for row in rows
            if (row["channels"], row["groups"], row["side"], row["stride"], row["pass"]) == key
        }
        shown = [cell(cells.get(form)) for form in forms]
        lines.append(f"| {' | '.join(map(str, (*key, *shown, best(cells))))} |")
    return "\n".join(lines) + "\n"


def cell(row: dict[str, Any] | None) -> str:
    """Write the time of a row in milliseconds and its fraction of the copy bandwidth."""
    if row is None:
        return ""
    if "ms" not in row:
        return str(row["note"]).partition(":")[0]
    is_equal = row.get("error", 0.0) <= _MOST_ERROR
    wrong = "" if is_equal else f" error {row['error']:.1g}"
    return f"{row['ms']:.3f} ({row.get('fraction_of_copy', float('nan')):.0%}){wrong}"


def best(cells: dict[str, dict[str, Any]]) -> str:
    """Name the quickest form, and how many times as fast as native it is."""
    times = {form: row["ms"] for form, row in cells.items() if "ms" in row and row.get("error", 0.0) <= _MOST_ERROR}
    if not times:
        return ""
    quickest = min(times, key=times.__getitem__)
    gain = f" {times['native'] / times[quickest]:.2f}x" if quickest != "native" and "native" in times else ""
    return f"{quickest}{gain}"


def write(out: Path, facts: dict[str, Any], ceilings: Ceilings | None) -> str:
    """Write what is known so far, and return its text."""
    rows = facts["rows"]
    head = (
        f"Grouped 3x3 convolutions at batch {facts['batch_size']}, bf16, channels_last, cuDNN with its own search:"
        " median milliseconds, and the least bytes they must move (input, output and grouped weights, once each) per"
        f" second as a part of the copy bandwidth. {in_words(facts, ceilings)}\n"
    )
    parts = [table(name, [row for row in rows if row["network"] == name]) for name in NETWORKS]
    text = "\n".join([head, *parts])
    save(out, "grouped", facts, text)
    return text


def main() -> None:
    """Measure, print and write."""
    options = parsed(__doc__, seconds=240).parse_args()
    deadline, device = Deadline.after(options.seconds), need_gpu()
    facts: dict[str, Any] = {**place(device), "batch_size": BATCH_SIZE, "rows": []}
    ceilings: Ceilings | None = None
    try:
        ceilings = measured_ceilings(device)
        facts["ceilings"] = asdict(ceilings)
    except Exception as error:
        facts["ceilings"] = {"note": str(error).partition("\n")[0]}
    bench = Bench(
        device=device, batch_size=BATCH_SIZE, deadline=deadline, ceilings=ceilings, flushed=flush_buffer(device)
    )
    for name in NETWORKS:
        for shape in shapes(name):
            release()
            facts["rows"] += [{"network": name, **asdict(shape), **row} for row in bench.rows(shape)]
            text = write(options.out, facts, ceilings)
            print(f"{name} {shape}: {deadline.seconds_left:.0f} s left", flush=True)
    print(text)


if __name__ == "__main__":
    main()
