"""`resnext describe`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from resnext.artefact.manifest import Manifest
    from resnext.spec.architecture import Architecture
    from resnext.spec.complexity import Complexity, EqualTemplate
    from resnext.spec.recipe import Recipe

_CARDINALITIES = (1, 2, 4, 8, 32)


def describe(
    subject: Annotated[
        str,
        typer.Argument(
            help="A network's name, a recipe (name or .toml), or weights: a file, hf:REPO, torchvision:WEIGHTS."
        ),
    ],
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Pixels a side; the subject's own, or 224 (CIFAR stem: 32), if left out.")
    ] = None,
    like: Annotated[str | None, typer.Option(help="A network to compare the cost with, such as resnet50.")] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="Classes of a network given by name.")] = None,
    data: Annotated[str | None, typer.Option(help="Data for a recipe that adapts to it, such as quick.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Show a network: its layers, cost and template.

    And how cardinality C and width d trade at equal complexity, as in Table 2 of the paper.
    """
    from resnext.cli.console import results
    from resnext.spec.architecture import architecture
    from resnext.spec.complexity import complexity

    network, size, manifest = _find(subject, num_classes, data)
    cost = complexity(network, image_size or size)
    other = complexity(architecture(like, num_classes=network.num_classes), cost.image_size) if like else None
    if as_json:
        print(json.dumps(_as_json(network, cost, manifest, (like, other))))
        return
    console = results()
    _print_layers(console, cost)
    _print_stages(console, network)
    if network.block == "bottleneck":
        _print_widths(console, network)
    _print_totals(console, network, cost)
    if like and other:
        _print_comparison(console, cost, (architecture(like).name, other))
    if manifest:
        _print_manifest(console, manifest)


def _find(
    subject: str, num_classes: int | None, data: str | None
) -> "tuple[Architecture, int | None, Manifest | None]":
    """Find the network, the image size and the manifest behind a name, a recipe or an artefact."""
    from resnext.artefact.address import names_weights
    from resnext.spec.architecture import architecture
    from resnext.spec.recipe import AUTO, read_recipe, recipe_names

    if names_weights(subject):
        from resnext.artefact.weights import open_weights

        weights = open_weights(subject)
        seen = weights.preprocessing
        return weights.architecture, None if seen is None else seen.image_size, weights.known()
    if subject.endswith(".toml") or subject in recipe_names():
        recipe = _resolved(read_recipe(subject), data)
        return recipe.network(), None if recipe.image.size == AUTO else recipe.image.size, None
    return architecture(subject, **({"num_classes": num_classes} if num_classes else {})), None, None


def _resolved(recipe: "Recipe", data: str | None) -> "Recipe":
    from resnext.spec.recipe import AUTO

    if data is not None:
        from resnext.data.open import open_data
        from resnext.training.machine import Machine
        from resnext.training.task import adapt

        return adapt(recipe, open_data(data), Machine())[0]
    if recipe.model == AUTO:
        raise ValueError(f"recipe {recipe.name} leaves its network to the data; name some, for example --data digits")
    return recipe


def _print_layers(console: "Console", cost: "Complexity") -> None:
    from resnext.cli.console import table, thousands

    layers = table("Layers", "name", "kernel", "channels", "groups", "output", "parameters", "MACs")
    for layer in cost.layers:
        layers.add_row(
            layer.name,
            f"{layer.kernel_size}x{layer.kernel_size}" + (f"/{layer.stride}" if layer.stride > 1 else ""),
            f"{layer.in_channels} -> {layer.out_channels}",
            str(layer.groups),
            f"{layer.output_size[0]}x{layer.output_size[1]}",
            thousands(layer.params),
            thousands(layer.macs),
        )
    console.print(layers)


def _print_stages(console: "Console", network: "Architecture") -> None:
    from resnext.cli.console import table
    from resnext.spec.plan import plan

    stages = table("\nTemplate of each stage (Table 1)", "stage and template", "blocks")
    for number, blocks in enumerate(plan(network).stages, start=1):
        template = ", ".join(
            f"{conv.kernel_size}x{conv.kernel_size} {conv.out_channels}" + (f" C={conv.groups}" * (conv.groups > 1))
            for conv in blocks[0].convs
        )
        stages.add_row(f"stage{number}: {template}", str(len(blocks)))
    console.print(stages)


def _widths(network: "Architecture") -> "list[EqualTemplate]":
    from resnext.spec.complexity import equal_template

    return [equal_template(cardinality, network) for cardinality in sorted({*_CARDINALITIES, network.cardinality})]


def _print_widths(console: "Console", network: "Architecture") -> None:
    from resnext.cli.console import table, thousands

    widths = table("\nC against d at equal complexity (Table 2)", "C", "d", "C * d", "weights of the template", "")
    for row in _widths(network):
        cardinality, width = row.cardinality, row.base_width
        mark = "this one" if (cardinality, width) == (network.cardinality, network.base_width) else ""
        widths.add_row(str(cardinality), str(width), str(cardinality * width), thousands(row.weights), mark)
    console.print(widths)


def _print_totals(console: "Console", network: "Architecture", cost: "Complexity") -> None:
    from resnext.cli.console import thousands

    height, width = cost.image_size
    console.print(
        f"\n{network.name}: {thousands(cost.params)} parameters; {thousands(cost.macs)} multiply-accumulates and"
        f" {thousands(cost.activations)} activations for an image of {height}x{width}; {network.num_classes} classes"
    )


def _print_comparison(console: "Console", cost: "Complexity", like: "tuple[str, Complexity]") -> None:
    name, reference = like
    changes = (
        f"{cost.params / reference.params - 1:+.2%} parameters",
        f"{cost.macs / reference.macs - 1:+.2%} multiply-accumulates",
        f"{cost.activations / reference.activations - 1:+.2%} activations",
    )
    console.print(f"Against {name} at the same image size: {', '.join(changes)}")


def _print_manifest(console: "Console", manifest: "Manifest") -> None:
    from resnext.report.words import percent

    console.print(f"\nclasses: {', '.join(manifest.class_names)}")
    for measured in manifest.measurements:
        console.print(
            f"{measured.split}: top-1 error {percent(measured.top1_error_percent)} % on {measured.num_images:,}"
            f" images ({measured.protocol})"
        )
    made = manifest.provenance
    if made is None:
        return
    console.print(
        f"trained by recipe {made.recipe} ({made.recipe_digest[:12]}) on {made.data}, seed {made.seed}, epoch"
        f" {made.epoch}, {made.created}",
        markup=False,
    )


def _as_json(
    network: "Architecture",
    cost: "Complexity",
    manifest: "Manifest | None",
    like: "tuple[str | None, Complexity | None]",
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": network.name,
        "architecture": network.model_dump(),
        **{"params": cost.params, "macs": cost.macs, "activations": cost.activations, "image_size": cost.image_size},
        "layers": [asdict(layer) for layer in cost.layers],
        "widths_of_equal_complexity": [asdict(row) for row in _widths(network)]
        if network.block == "bottleneck"
        else None,
    }
    if like[1] is not None:
        described["like"] = {"name": like[0], "params": like[1].params, "macs": like[1].macs}
    if manifest is not None:
        described["manifest"] = manifest.model_dump()
    return described
