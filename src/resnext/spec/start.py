"""How a recipe agrees with the weights that training starts from, and what it chooses where it says "auto"."""

from collections.abc import Iterator

from resnext.spec.architecture import Architecture
from resnext.spec.facts import Choice, Start
from resnext.spec.recipe import AUTO, Recipe, chosen
from resnext.spec.value import SpecError

_FROZEN_PART = 0.1


def check_start(recipe: Recipe, start: Start | None) -> None:
    """Raise `SpecError` where a recipe and what training is to start from do not agree."""
    fine_tuning = recipe.fine_tuning
    wanted, given = fine_tuning.weights, None if start is None else start.digest
    if wanted is not None and start is None:
        raise SpecError(
            f"fine_tuning.weights = {wanted[:12]}...: this recipe starts from trained weights; give them with --from"
        )
    if wanted is not None and start is not None and wanted != given:
        raise SpecError(
            f"fine_tuning.weights = {wanted[:12]}...: this recipe starts from other weights than those of"
            f" {start.origin}, {start.digest[:12]}..."
        )
    if start is None and fine_tuning.frozen_epochs not in (AUTO, 0):
        raise SpecError(
            f"fine_tuning.frozen_epochs = {fine_tuning.frozen_epochs}: random weights are not worth freezing; give"
            " trained ones with --from, or leave the field out"
        )


def taken_from(start: Start, recipe: Recipe) -> Iterator[Choice]:
    """Yield what is left to choose and is that of the weights: colours, interpolation, and the network."""
    seen = start.preprocessing
    for field in ("mean", "std", "interpolation") if seen is not None else ():
        if getattr(recipe.image, field) == AUTO:
            yield Choice(f"image.{field}", getattr(seen, field), "as the weights saw images")
    if recipe.model != AUTO:
        return
    name, departures = start.model()
    yield Choice("model", name, f"that of {start.origin}")
    for field, value in departures.items():
        if field not in recipe.architecture:
            yield Choice(f"architecture.{field}", value, "that of the weights")


def tuned_for(start: Start, recipe: Recipe) -> Iterator[Choice]:
    """Yield what is left to choose of how the weights are changed."""
    num_epochs = chosen(recipe.epochs, "epochs")
    if recipe.fine_tuning.frozen_epochs == AUTO:
        frozen = min(max(1, round(_FROZEN_PART * num_epochs)), num_epochs - 1)
        yield (
            Choice("fine_tuning.frozen_epochs", 0, "the head is that of the weights")
            if start.keeps_head
            else Choice("fine_tuning.frozen_epochs", frozen, "the new head learns first, the rest stays as it came")
        )


def started_from(start: Start | None, recipe: Recipe) -> Recipe:
    """Name the weights in a recipe that is resolved otherwise, and fill in what only weights would have chosen.

    Raises `SpecError` where the recipe's network is not that of the weights.
    """
    if start is not None:
        _check_same_network(start, recipe.network())
    image, tuning = recipe.image, recipe.fine_tuning
    return recipe.replace(
        image=image.replace(interpolation="bicubic" if image.interpolation == AUTO else image.interpolation),
        fine_tuning=tuning.replace(
            weights=None if start is None else start.digest,
            frozen_epochs=0 if tuning.frozen_epochs == AUTO else tuning.frozen_epochs,
        ),
    )


def _check_same_network(start: Start, wanted: Architecture) -> None:
    held = start.architecture.replace(num_classes=wanted.num_classes)
    fields = [field for field in Architecture.model_fields if getattr(wanted, field) != getattr(held, field)]
    if fields:
        differs = ", ".join(f"{field} {getattr(held, field)}, not {getattr(wanted, field)}" for field in fields)
        raise SpecError(
            f"model = {wanted.name}: the weights of {start.origin} are of {held.name} ({differs}); leave the model out,"
            " or give weights of the one that you want"
        )
