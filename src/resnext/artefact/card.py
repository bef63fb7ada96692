"""The model card of an artefact: what it is, how good it is and who made it, in the words of its manifest."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import PurePath

from resnext.artefact.address import is_folder
from resnext.artefact.hub_config import timm_template
from resnext.artefact.manifest import Manifest, Measurement
from resnext.spec.complexity import complexity

_MOST_CLASSES = 100


def model_card(manifest: Manifest, name: str, license_name: str | None = None) -> str:
    """Return a `README.md` as the hub shows it, for what `hf:` and a name open: a repository, or a folder's path.

    Its last line tells whether it was edited since, see `is_own_card`.
    """
    title = PurePath(name).name if is_folder(name) else name
    sections = (
        _header(manifest, title, license_name),
        _summary(manifest, title),
        _classes(manifest),
        _scores(manifest),
        _use(manifest, name),
        _maker(manifest),
    )
    words = "\n".join(line for section in sections for line in section).strip()
    return f"{words}\n\n{_seal(words)}\n"


def is_own_card(text: str) -> bool:
    """Tell whether a card is as `model_card` made it: neither somebody else's nor edited since."""
    words, _, seal = text.strip().rpartition("\n\n")
    return seal == _seal(words)


def _seal(words: str) -> str:
    return f"<!-- written by resnext push, SHA-256 {hashlib.sha256(words.encode()).hexdigest()} -->"


def _header(manifest: Manifest, name: str, license_name: str | None) -> Iterator[str]:
    """Yield YAML, in which every text is JSON."""
    yield "---"
    yield "library_name: resnext"
    if license_name is not None:
        yield f"license: {json.dumps(license_name)}"
    yield "pipeline_tag: image-classification"
    yield "tags: [image-classification, resnext]"
    if manifest.measurements:
        yield "metrics: [accuracy]"
        results = [_result(measured, manifest) for measured in manifest.measurements]
        yield f"model-index: {json.dumps([{'name': name, 'results': results}])}"
    yield "---"
    yield ""


def _result(measured: Measurement, manifest: Manifest) -> dict[str, object]:
    data = "unnamed" if manifest.provenance is None else manifest.provenance.data
    return {
        "task": {"type": "image-classification"},
        "dataset": {"name": data, "type": _slug(data), "split": measured.split},
        "metrics": [{"type": "accuracy", "name": "top-1", "value": round(1 - measured.top1_error_percent / 100, 6)}],
    }


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


def _summary(manifest: Manifest, name: str) -> Iterator[str]:
    network, seen = manifest.architecture, manifest.preprocessing
    cost = complexity(network, seen.image_size)
    yield f"# {name}"
    yield ""
    yield (
        f"An image classifier of {network.num_classes} classes: {network.name}, {cost.params / 1e6:.2f} M parameters,"
        f" {cost.macs / 1e6:.1f} M multiply-accumulates an image of {seen.image_size} pixels square."
    )
    yield ""


def _classes(manifest: Manifest) -> Iterator[str]:
    names = manifest.class_names
    rest = f" and {len(names) - _MOST_CLASSES} more" if len(names) > _MOST_CLASSES else ""
    yield "## Classes"
    yield ""
    yield ", ".join(f"`{name.replace('`', '')}`" for name in names[:_MOST_CLASSES]) + rest
    yield ""


def _scores(manifest: Manifest) -> Iterator[str]:
    if not manifest.measurements:
        return
    yield "## Measured"
    yield ""
    yield "| split | images | top-1 error % | top-5 error % | loss | protocol |"
    yield "|---|---:|---:|---:|---:|---|"
    for one in manifest.measurements:
        top5 = "" if one.top5_error_percent is None else f"{one.top5_error_percent:.2f}"
        figures = f"{one.num_images} | {one.top1_error_percent:.2f} | {top5} | {one.loss:.4f}"
        yield f"| {one.split} | {figures} | {one.protocol} |"
    yield ""
    if (fitted := manifest.calibration) is not None:
        yield (
            f"Logits are divided by a temperature of {fitted.temperature:.4f}, fitted on {fitted.num_images} images of"
            f" {fitted.split}, where it changes the expected calibration error from {fitted.ece_before_percent:.2f} %"
            f" to {fitted.ece_after_percent:.2f} %."
        )
        yield ""


def _use(manifest: Manifest, name: str) -> Iterator[str]:
    yield "## Use"
    yield ""
    yield "```python"
    yield "import resnext"
    yield ""
    yield f'classifier = resnext.load("hf:{name}")'
    yield 'classifier.predict("image.jpg")'
    yield "```"
    yield ""
    yield f"Fine-tune it on other classes: `resnext train DATA --from hf:{name}`."
    if timm_template(manifest.architecture) is not None:
        kind = "local-dir" if is_folder(name) else "hf-hub"
        yield f'timm reads it too: `timm.create_model("{kind}:{name}", pretrained=True)`.'
    yield ""


def _maker(manifest: Manifest) -> Iterator[str]:
    made = manifest.provenance
    if made is None:
        return
    yield "## Made by"
    yield ""
    yield f"- recipe `{made.recipe}`, digest `{made.recipe_digest}`"
    yield f"- data `{made.data}`, digest `{made.data_digest}`, seed {made.seed}, epoch {made.epoch}"
    yield f"- on {made.device} in {made.wall_seconds:.0f} seconds, {made.created}"
    yield f"- {', '.join(f'{name} {version}' for name, version in sorted(made.versions.items()))}"
    if made.commit is not None:
        yield f"- commit `{made.commit}`"
    yield ""
    yield "```toml"
    yield made.recipe_toml.rstrip()
    yield "```"
    yield ""
