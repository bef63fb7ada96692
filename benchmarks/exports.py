"""Whether exports of a trained network answer as it does: python benchmarks/exports.py DATA.

Trains a small ResNeXt of four stages, which torchvision and timm have too, on the data for some epochs, exports it to
every format and to int8 from the shell, each compared on held-out images of the data, scores each file by `resnext
evaluate`, and loads the two state dicts and the ONNX model by their own libraries alone. Writes exports.json and
exports.md beside this file, in some five minutes for a thousand images.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

MODEL, IMAGE_SIZE, EPOCHS = "resnext26_8x4d", 64, 12
MAX_DROP = 1.0  # with some two hundred images to score on, one of them is half a point
EXPORTS: dict[str, tuple[str, ...]] = {
    "onnx": ("--to", "onnx"),
    "openvino": ("--to", "openvino"),
    "openvino, int8": ("--to", "openvino", "--precision", "int8", "--max-drop", str(MAX_DROP)),
    "torch": ("--to", "torch"),
    "torchvision": ("--to", "torchvision"),
    "timm": ("--to", "timm"),
}
SUFFIXES = {
    "onnx": ".onnx",
    "openvino": ".xml",
    "openvino, int8": ".int8.xml",
    "torch": ".pt2",
    "torchvision": ".torchvision.safetensors",
    "timm": ".timm.safetensors",
}

ALONE = {
    "onnx": """
import sys, onnxruntime, numpy as np
session = onnxruntime.InferenceSession(sys.argv[1])
session.run(None, {"pixels": np.zeros((3, 3, 64, 64), np.float32)})
""",
    "torchvision": """
import sys
from safetensors.torch import load_file
from torchvision.models.resnet import Bottleneck, ResNet
tensors = load_file(sys.argv[1])
net = ResNet(Bottleneck, [2, 2, 2, 2], len(tensors["fc.bias"]), groups=8, width_per_group=4)
net.load_state_dict(tensors, strict=True)
""",
    "timm": """
import sys, timm
from safetensors.torch import load_file
classes = len(load_file(sys.argv[1])["fc.bias"])
timm.create_model("resnet50", layers=[2, 2, 2, 2], cardinality=8, base_width=4, num_classes=classes,
                  checkpoint_path=sys.argv[1])
""",
}


def resnext(*arguments: object) -> str:
    """Run a command of resnext and return what it prints."""
    command = [sys.executable, "-m", "resnext", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stdout


def exported(name: str, artefact: Path, data: str) -> dict[str, Any]:
    """Export, and return the certificate, the score of the file, and whether its own library takes it alone."""
    path = artefact.with_name(f"export{SUFFIXES[name]}")
    resnext("export", artefact, *EXPORTS[name], "--out", path, "--data", data)
    script = ALONE.get(name)
    if script:
        alone = f"{script}\nassert 'resnext' not in sys.modules"
        subprocess.run([sys.executable, "-c", alone, str(path)], check=True)
    return {
        "certificate": json.loads(path.with_name(f"{path.name}.json").read_text()),
        "top1_error_percent": json.loads(resnext("evaluate", path, data, "--json"))["top1_error_percent"],
        "loads_alone": bool(script),
    }


def main(data: str) -> None:
    """Train, export, and write what was found."""
    with TemporaryDirectory() as made:
        run = Path(made) / "run"
        settings = (f"epochs={EPOCHS}", f"image.size={IMAGE_SIZE}")
        chosen = (word for setting in settings for word in ("--set", setting))
        resnext("train", data, "--model", MODEL, *chosen, "--out", run)
        artefact = run / "best.safetensors"
        error = json.loads(resnext("evaluate", artefact, data, "--json"))["top1_error_percent"]
        found = {name: exported(name, artefact, data) for name in EXPORTS}
    report(Path(data).name, error, found)


def report(data: str, error: float, found: dict[str, dict[str, Any]]) -> None:
    """Write the figures as JSON and as a page."""
    lines = [
        "# Exports of a trained network",
        "",
        f"{MODEL} at {IMAGE_SIZE}, trained for {EPOCHS} epochs on {data}: top-1 error {error:.2f} % on held-out"
        " images.",
        "",
        "| to | computed by | same class | difference of logits, of the largest | top-1 error % | opened alone |",
        "|---|---|---:|---:|---:|---|",
    ]
    for name, each in found.items():
        certificate, agreement = each["certificate"], each["certificate"]["agreement"]
        relative = agreement["largest_difference"] / agreement["largest_logit"]
        same = f"{agreement['num_agreeing']} of {agreement['num_images']}"
        alone = "yes" if each["loads_alone"] else "-"
        cells = (name, certificate["runtime"], same, f"{relative:.1e}", f"{each['top1_error_percent']:.2f}", alone)
        lines.append(f"| {' | '.join(cells)} |")
    cost = found["openvino, int8"]["certificate"]["int8"]
    lines += [
        "",
        f"int8: top-1 {cost['int8_top1_percent']:.2f} % against {cost['fp32_top1_percent']:.2f} % in fp32 on the images"
        f" of the gate, which lets it fall by {MAX_DROP} points; layers put back: {cost['num_put_back']} of"
        f" {cost['num_layers']}. Opened alone: by its library in a process without this package, torchvision's weights"
        " with strict=True.",
    ]
    here = Path(__file__).with_suffix("")
    written = {"model": MODEL, "image_size": IMAGE_SIZE, "epochs": EPOCHS, "data": data, "top1_error_percent": error}
    here.with_suffix(".json").write_text(json.dumps({**written, "exports": found}, indent=1) + "\n")
    here.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
