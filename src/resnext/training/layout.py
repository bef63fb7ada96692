"""How a batch is laid out over processes and parts, so that the recipe stays the same whatever the layout."""

from resnext.spec.recipe import chosen
from resnext.training.machine import Machine
from resnext.training.task import Task
from resnext.training.world import World


def check_layout(task: Task, machine: Machine, world: World) -> None:
    """Make sure that processes and micro-batches cut the batch evenly, and between groups of batch norm only.

    Raises `ValueError`, which says what to change, where they do not.
    """
    recipe = task.recipe
    size = min(chosen(recipe.batch_size, "batch_size"), len(task.data.split("train").labels))
    group, micro = recipe.batch_norm_images, machine.micro_batch_size
    if size % world.size:
        raise ValueError(
            f"batch_size = {size}: {world.size} processes cannot take equal parts of it; give a multiple of"
            f" {world.size}"
        )
    share = size // world.size
    is_cut = world.size > 1 or (micro is not None and micro < share)
    if is_cut and group is None:
        raise ValueError(
            "batch_norm_images is left out: batch norm takes its statistics from the whole batch, which can be cut"
            f" neither over processes nor into micro-batches; --set batch_norm_images={min(share, micro or share)} says"
            " how many images have their own"
        )
    if group is None:
        return
    if is_cut and share % group:
        who = "the process" if world.size == 1 else f"each of {world.size} processes"
        raise ValueError(
            f"batch_norm_images = {group}: {who} takes {share} of the {size} images of a batch, which is no multiple"
            " of it; use fewer processes, no micro-batches or a larger batch_size"
        )
    if is_cut and micro is not None and micro % group:
        raise ValueError(
            f"micro-batch of {micro} images: a multiple of batch_norm_images = {group} is needed, so that the groups"
            " stay whole"
        )
