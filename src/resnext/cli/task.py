"""How a task is shown before it begins: the data, what the recipe chose, and the network."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from resnext.training.task import Task

_MOST_PROBLEMS, _MOST_SHOWN = 20, 8
_FEW_IMAGES = 10_000


def print_task(console: "Console", task: "Task", where: str) -> None:
    """Print what is to be learnt from what, and where."""
    from resnext.spec.complexity import complexity
    from resnext.spec.departures import rate_departure

    data, recipe, choices = task.data, task.recipe, task.choices
    splits = ", ".join(f"{len(split.labels):,} {name}" for name, split in data.splits.items())
    console.print(f"{data.source}: {len(data.class_names)} classes, {splits}")
    for problem in data.problems[:_MOST_PROBLEMS]:
        console.print(f"  {problem}")
    if len(data.problems) > _MOST_PROBLEMS:
        console.print(f"  and {len(data.problems) - _MOST_PROBLEMS} more, all in events.jsonl")
    if choices:
        console.print(f"Recipe {recipe.name} chose, and --set changes:")
    for choice in choices:
        console.print(f"  {choice.field} = {_shown(choice.value)}: {choice.why}")
    _print_origin(console, task)
    cost = complexity(recipe.network(), recipe.preprocessing().image_size)
    console.print(
        f"{recipe.network().name}: {cost.params / 1e6:.2f} M parameters, {cost.macs / 1e6:.1f} M multiply-accumulates"
        f" an image; {task.horizon.num_steps:,} steps {where}"
    )
    is_own_rate = all(choice.field != "optimiser.learning_rate" for choice in choices)
    if is_own_rate and (departure := rate_departure(recipe)):
        console.print(f"  {departure}")


def _print_origin(console: "Console", task: "Task") -> None:
    """Say what training starts from; where that is nothing and images are few, how to do better."""
    start, num_images = task.start, len(task.data.split("train").labels)
    if start is not None:
        classes = "the same classes: its head stays" if start.keeps_head else "a new head for the classes of the data"
        console.print(f"Starting from {start.origin} ({start.architecture.name}, {start.digest[:12]}); {classes}")
    elif task.recipe.name == "quick" and num_images < _FEW_IMAGES and not task.data.is_handwriting:
        console.print(
            f"From {num_images:,} images, starting from trained weights usually does better: --from ARTEFACT, or --from"
            " torchvision:resnext50_32x4d, which fetches them"
        )


def _shown(value: Any) -> str:
    if isinstance(value, dict) and len(value) > _MOST_SHOWN:
        least, most = min(value, key=value.__getitem__), max(value, key=value.__getitem__)
        return f"{len(value)} values from {least} {value[least]} to {most} {value[most]}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)
