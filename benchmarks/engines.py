"""How fast single precision is on each engine: python benchmarks/engines.py [--network NAME] [--image-size PIXELS].

ResNeXt-50 32x4d at 224, one image at a time and 16: engine `auto` beside torchvision's network, eager and compiled with
frozen weights (batch normalisation folded, channels_last), beside OpenVINO and ONNX Runtime as one would use them by
hand, and beside the ceiling of this machine. All have the same weights and are checked for the same logits. Writes
engines.json and engines.md beside this file, or into --out, in about five minutes.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from resnext.inference.benchmark import Row, Speed, measure
from resnext.inference.choice import choose
from resnext.inference.contest import Ratio, times_as_fast
from resnext.inference.contestants import Contestant, Run, Workload, eager, peer, tuned
from resnext.inference.openvino_engine import openvino_module
from resnext.model.device import processor
from resnext.model.forms import build
from resnext.training.provenance import versions

NETWORK, IMAGE_SIZE = "resnext50_32x4d", 224
ROUNDS = {1: 21, 16: 11}  # by batch size
PACKAGES = ("torchvision", "onnxruntime", "openvino")
EAGER, FROZEN, BY_HAND, CEILING = "torchvision, eager", "Inductor, frozen", "the better by hand", "the ceiling"
GOALS: Mapping[str, Mapping[int, float]] = {
    EAGER: {1: 2.0, 16: 1.5},
    FROZEN: {1: 1.25, 16: 1.15},
    BY_HAND: {1: 0.97, 16: 0.97},
    CEILING: {1: 0.72, 16: 0.72},
}


def auto(workload: Workload) -> Run:
    """Make the network on the engine that is quickest here."""
    return partial(choose(workload.ready)[1], workload.example)


def openvino_model(workload: Workload, batch_size: int) -> Any:
    """Convert torchvision's network for images of one size."""
    shape = (batch_size, *workload.example.shape[1:])
    network = peer("torchvision", workload.network)
    return openvino_module().convert_model(network, example_input=torch.rand(shape), input=[shape])


def openvino_settings(hint: str) -> dict[str, Any]:
    """Ask for single precision, and for as many threads as torch has."""
    threads = torch.get_num_threads()
    return {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}


def openvino_latency(workload: Workload) -> Run:
    """Run the batch whole, as one request."""
    model = openvino_model(workload, len(workload.example))
    request = openvino_module().compile_model(model, "CPU", openvino_settings("LATENCY")).create_infer_request()
    images = workload.example.numpy()

    def run() -> Tensor:
        return torch.from_numpy(request.infer([images], share_inputs=True)[0])

    return run


def openvino_throughput(workload: Workload) -> Run:
    """Run single images through a queue of as many requests as OpenVINO likes."""
    queue = openvino_module().AsyncInferQueue(
        openvino_module().compile_model(openvino_model(workload, 1), "CPU", openvino_settings("THROUGHPUT"))
    )
    images = workload.example.numpy()
    logits = np.empty((len(images), workload.network.architecture.num_classes), dtype=np.float32)

    def keep(request: Any, number: int) -> None:
        logits[number] = request.get_output_tensor(0).data[0]

    queue.set_callback(keep)

    def run() -> Tensor:
        for number in range(len(images)):
            queue.start_async(images[number : number + 1], number, share_inputs=True)
        queue.wait_all()
        return torch.from_numpy(logits)

    return run


def onnxruntime_session(workload: Workload) -> Run:
    """Export torchvision's network to ONNX and run it in a session."""
    network = peer("torchvision", workload.network)
    program = torch.onnx.export(network, (workload.example,), input_names=["images"], dynamo=True, verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {"images": workload.example.numpy()}
    return lambda: torch.from_numpy(session.run(None, given)[0])


def contestants(batch_size: int) -> Iterator[Contestant]:
    """Name who takes part: the first is the reference, the last is ours."""
    ways: list[tuple[str, str, Callable[[Workload], Run]]] = [
        ("torchvision", "eager", partial(eager, "torchvision")),
        ("torchvision", "channels_last, folded", partial(tuned, "torchvision", "torch", "fp32")),
        ("torchvision", "Inductor, frozen", partial(tuned, "torchvision", "compiled", "fp32")),
        ("by hand", "ONNX Runtime", onnxruntime_session),
        ("by hand", "OpenVINO, latency", openvino_latency),
    ]
    if batch_size > 1:
        ways.append(("by hand", "OpenVINO, throughput", openvino_throughput))
    for framework, setting, make in [*ways, ("resnext", "auto", auto)]:
        yield Contestant(framework=framework, setting=setting, precision="fp32", make=make)


def ours_against(speed: Speed) -> dict[str, Ratio | float]:
    """Compare `auto` with what it has goals against, within rounds; what could not be had is not there."""
    rows = [row for row in speed.rows if row.figures]
    own = next(row for row in rows if row.framework == "resnext")
    assert own.figures is not None
    found: dict[str, Ratio | float] = {EAGER: own.figures.times_as_fast}
    if frozen := [row for row in rows if "Inductor" in row.setting]:
        found[FROZEN] = _ratio(frozen[0], own)
    if by_hand := [row for row in rows if row.framework == "by hand"]:
        found[BY_HAND] = _ratio(min(by_hand, key=_latency), own)
    assert own.figures.ceiling_fraction is not None
    return {**found, CEILING: own.figures.ceiling_fraction}


def _latency(row: Row) -> float:
    assert row.figures is not None
    return row.figures.latency_ms_p50


def _ratio(reference: Row, other: Row) -> Ratio:
    assert reference.figures is not None
    assert other.figures is not None
    return times_as_fast(reference.figures.rounds_ms, other.figures.rounds_ms)


def page(measured: Mapping[int, tuple[Speed, str]], place: Mapping[str, Any]) -> Iterator[str]:
    """Write tables of what was measured, and how it stands to the goals."""
    yield f"# Engines: {place['network']} at {place['image_size']}, fp32\n"
    for batch_size, (speed, chosen) in measured.items():
        yield f"## Batch {batch_size}\n"
        yield "| | ms an image, p50 | p95 | times as fast (95 %) | of the ceiling |\n|---|---:|---:|---:|---:|"
        yield from (_line(row) for row in speed.rows)
        [ceiling] = speed.ceilings
        limit = f"{ceiling.gflops_per_second:.0f} GFLOP/s ({ceiling.computed_by})"
        copied = f"a large copy: {speed.copy_gbytes_per_second:.1f} GB/s"
        yield f"\n{chosen[0].upper()}{chosen[1:]}. Ceiling: {limit}; {copied}. {speed.num_rounds} rounds.\n"
        yield "| `auto` against | found | goal |\n|---|---:|---:|"
        for name, ratio in ours_against(speed).items():
            yield f"| {name} | {_in_words(ratio)} | {GOALS[name].get(batch_size, '-')} |"
        yield ""
    libraries = ", ".join(f"{name} {number}" for name, number in place["versions"].items())
    yield f"{place['processor']}, {place['num_threads']} threads; {libraries}."


def _line(row: Row) -> str:
    if row.figures is None:
        return f"| {row.name} | {row.reason} | | | |"
    figures = row.figures
    times = f"{figures.latency_ms_p50:.1f} | {figures.latency_ms_p95:.1f} | {_in_words(figures.times_as_fast)}"
    assert figures.ceiling_fraction is not None
    return f"| {row.name} | {times} | {100 * figures.ceiling_fraction:.0f} % |"


def _in_words(ratio: Ratio | float) -> str:
    return f"{ratio:.2f}" if isinstance(ratio, float) else f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def at_batch(network: str, image_size: int, batch_size: int, num_rounds: int) -> tuple[Speed, str]:
    """Measure one batch size, and say what `auto` chose."""
    made = build(network, generator=torch.Generator().manual_seed(0)).eval()
    images = torch.rand(batch_size, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    workload = Workload(made, images)
    speed = measure(workload, tuple(contestants(batch_size)), num_rounds, with_memory=False, tell=_tell)
    return speed, choose(workload.ready)[0].words().removesuffix(", measured earlier")


def _tell(words: str) -> None:
    print(words, flush=True)


def main(network: str, image_size: int, rounds: Mapping[int, int], out: Path) -> None:
    """Measure, print and write."""
    with TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache  # no choice of an earlier run
        measured = {size: at_batch(network, image_size, size, number) for size, number in rounds.items()}
    place = {
        "network": network,
        "image_size": image_size,
        "num_threads": torch.get_num_threads(),
        "processor": processor(torch.device("cpu")),
        "versions": {**versions(), **{package: version(package) for package in PACKAGES}},
    }
    batches = [
        {"batch_size": size, "chosen": chosen, "against": _plain(ours_against(speed)), **asdict(speed)}
        for size, (speed, chosen) in measured.items()
    ]
    text = "\n".join(page(measured, place)) + "\n"
    (out / "engines.json").write_text(json.dumps({**place, "goals": GOALS, "batches": batches}, indent=1) + "\n")
    (out / "engines.md").write_text(text)
    print(text)


def _plain(ratios: Mapping[str, Ratio | float]) -> dict[str, Any]:
    return {name: ratio if isinstance(ratio, float) else asdict(ratio) for name, ratio in ratios.items()}


def _parsed() -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", default=NETWORK)
    parser.add_argument("--image-size", type=int, default=IMAGE_SIZE)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    return vars(parser.parse_args())


if __name__ == "__main__":
    main(rounds=ROUNDS, **_parsed())
