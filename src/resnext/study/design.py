"""What a study is: settings that are trained with the same seeds, and contrasts of them that answer its question."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from resnext.spec.plan import Form
from resnext.spec.protocol import ScoringProtocol
from resnext.spec.recipe import Recipe
from resnext.spec.value import Spec, SpecError

Quantity = Literal["top1_error_percent", "train_top1_error_percent"]
View = Literal["single", "larger", "ten"]

BUNDLED = "digits"  # the only data that a study has of its own
OWN = "own"  # the scale of users' own sweeps

_LARGER = 320 / 224  # the larger test images of Table 5, for the same network
_SHORTER_SIDE = 256 / 224  # of the images that the paper's crops are cut from


class Answered(Spec):
    """The published figure beside which a setting stands: see `resnext.study.claims.find`."""

    table: str
    setting: str
    quantity: str = "top1_error_percent"
    data: str | None = None
    protocol: str | None = None


class Setting(Spec):
    """One line of a study's table: what is trained, and which of its figures is compared.

    `view` is what of a held-out image is seen: a central crop, one of larger images in the proportion of 320 to 224, or
    ten crops, of an image whose shorter side is at least 256/224 of theirs. `answers` names the published figures
    beside it, None where there are none.
    """

    name: str
    recipe: Recipe
    form: Form = "grouped"
    quantity: Quantity = "top1_error_percent"
    view: View = "single"
    answers: Answered | None = None


class Contrast(Spec):
    """A sum of weighted figures, `weights` by the names of settings, that the paper says is below zero.

    Where `expects` is "same" it should not matter: within half a point of zero. Where it is None nobody has said. Only
    those that `decides` make the verdict.
    """

    name: str
    weights: Annotated[dict[str, float], Field(min_length=1)]
    expects: Literal["lower", "same"] | None = "lower"
    decides: bool = True


def difference(one: str, other: str, **fields: Any) -> Contrast:
    """Return the contrast of one setting less another, with any other field of a contrast."""
    return Contrast(name=f"{one} against {other}", weights={one: 1.0, other: -1.0}, **fields)


def slope(names: Sequence[str], places: Sequence[float]) -> dict[str, float]:
    """Return the weights that make the least-squares slope of the figures of settings on their places."""
    centre = fmean(places)
    total = sum((place - centre) ** 2 for place in places)
    return {name: (place - centre) / total for name, place in zip(names, places, strict=True)}


class Study(Spec):
    """A question, the settings that answer it at a scale, and how.

    `question` is what is asked, `claim` what the paper says, `data` how the data is named, in capitals what the user
    fills in. `order` names settings from the one that should err most to the one that should err least, where they
    have an order. A proxy asks the question of other networks, images or lengths than the paper's: it can show the
    paper's trend, not its figures. `sweep` is what the file of a user's own sweep says, None for the paper's.
    """

    name: str
    scale: str
    title: str
    question: str
    claim: str
    data: str
    is_proxy: bool
    settings: Annotated[tuple[Setting, ...], Field(min_length=1)]
    contrasts: tuple[Contrast, ...] = ()
    order: tuple[str, ...] = ()
    sweep: str | None = None

    @model_validator(mode="after")
    def _names_are_of_settings(self) -> Self:
        names = [setting.name for setting in self.settings]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise SpecError(f"settings: {twice!r} stands twice; every setting of a study has its own name")
        named = {*self.order, *(name for contrast in self.contrasts for name in contrast.weights)}
        if unknown := sorted(named - set(names)):
            raise SpecError(f"contrasts: no setting is called {unknown[0]!r}; there are {', '.join(names)}")
        return self

    def setting(self, name: str) -> Setting:
        """Return a setting by its name."""
        return next(setting for setting in self.settings if setting.name == name)

    def only(self, names: Sequence[str]) -> "Study":
        """Return the study of some settings, and the contrasts that they suffice for.

        Raises `SpecError` where there is none of a name.
        """
        known = [setting.name for setting in self.settings]
        for name in names:
            if name not in known:
                raise SpecError(f"no setting of {self.name} is called {name!r}; there are {', '.join(known)}")
        return self.replace(
            settings=[setting for setting in self.settings if setting.name in names],
            contrasts=[contrast for contrast in self.contrasts if set(contrast.weights) <= set(names)],
            order=[name for name in self.order if name in names],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run: a resolved recipe, a seed, and the form of the blocks; `views` are the further ones it is scored in."""

    recipe: Recipe
    seed: int
    form: Form = "grouped"
    views: frozenset[View] = frozenset()

    @property
    def name(self) -> str:
        """What messages call it."""
        form = "" if self.form == "grouped" else f", {self.form}"
        return f"{self.recipe.network().name}{form}, seed {self.seed}"


def trials(study: Study, num_seeds: int) -> tuple[Trial, ...]:
    """Return the runs of a study with resolved recipes, each once, those that tell most soonest first.

    The first contrast is completed for every seed before the next, each seed from its most weighty settings on; what no
    contrast needs comes last.
    """
    views: dict[tuple[str, Form, int], set[View]] = {}
    first: dict[tuple[str, Form, int], Setting] = {}
    for setting, seed in _in_order(study, num_seeds):
        key = (setting.recipe.digest(), setting.form, seed)
        first.setdefault(key, setting)
        views.setdefault(key, set()).update({setting.view} - {"single"})
    return tuple(
        Trial(recipe=setting.recipe, seed=key[2], form=setting.form, views=frozenset(views[key]))
        for key, setting in first.items()
    )


def _in_order(study: Study, num_seeds: int) -> Iterator[tuple[Setting, int]]:
    for contrast in study.contrasts:
        weighty = sorted(contrast.weights, key=lambda name: -abs(contrast.weights[name]))
        for seed in range(num_seeds):
            yield from ((study.setting(name), seed) for name in weighty)
    for seed in range(num_seeds):
        yield from ((setting, seed) for setting in study.settings)


def protocol_of(view: View, recipe: Recipe) -> ScoringProtocol:
    """Return how held-out images are scored in a view, for a resolved recipe."""
    own = recipe.preprocessing()
    if view == "larger":
        sizes = {name: round(_LARGER * getattr(own, name)) for name in ("image_size", "resize_size")}
        return ScoringProtocol(preprocessing=own.replace(**sizes))
    if view == "ten":
        # Where a recipe crops nothing, the corners would all be the same.
        shorter_side = max(own.resize_size, round(_SHORTER_SIDE * own.image_size))
        return ScoringProtocol(preprocessing=own.replace(resize_size=shorter_side), crops="ten")
    return ScoringProtocol(preprocessing=own)
