"""The ladder of scales: which networks, images and lengths stand for the paper's, from a minute to a cluster.

A scale is a TOML file of this package: a packaged recipe with some changes, and the networks that take the paper's
place. Complexity is kept equal as in the paper, by `resnext.solve_width`.
"""

from importlib import resources
from typing import Annotated, Any

from pydantic import Field

from resnext.spec.architecture import Architecture, architecture
from resnext.spec.complexity import solve_width
from resnext.spec.recipe import Count, Recipe, read_recipe
from resnext.spec.value import Spec, SpecError

_PAPER_BASE = 64


class Scale(Spec):
    """What a study trains in place of the paper's networks: see the files in `resnext.study.scales`.

    `depths` are the layers of its networks and `deeper` those of deeper ones, at about twice the complexity of the last
    of `depths`; the width d of one path is that of the base channels, as in ResNet. `data` is what is trained on if the
    user names nothing, or, in capitals, what the user has to name.
    """

    name: str
    title: str
    data: str
    is_proxy: bool
    depths: Annotated[tuple[Count, ...], Field(min_length=1)]
    deeper: Annotated[tuple[Count, ...], Field(min_length=1)]
    base_channels: Count
    recipe: str
    changes: dict[str, Any] = Field(default_factory=dict)

    def network(self, depth: int, cardinality: int, base_width: int, **fields: Any) -> Architecture:
        """Return a network of the scale, with any other field of an architecture."""
        family = "resnet" if cardinality == 1 else "resnext"
        name = f"{family}{depth}_{cardinality}x{base_width}d"
        return architecture(name, base_channels=self.base_channels, **fields)

    def equal(self, depth: int, cardinality: int, **fields: Any) -> Architecture:
        """Return the network of so many paths whose complexity is that of one path (Table 2)."""
        like = self.network(depth, 1, self.base_channels)
        return self.network(depth, cardinality, solve_width(cardinality=cardinality, like=like), **fields)

    def width(self, paper_width: int) -> int:
        """Return a width of the paper's networks, which have 64 base channels, in proportion."""
        return max(1, round(paper_width * self.base_channels / _PAPER_BASE))

    def recipe_for(self, network: Architecture) -> Recipe:
        """Return the recipe of the scale for a network; what depends on the data is still to be chosen."""
        plain = architecture(network.name)
        differs = [name for name in Architecture.model_fields if getattr(plain, name) != getattr(network, name)]
        departures = {name: getattr(network, name) for name in differs}
        return read_recipe(self.recipe, {**self.changes, "model": network.name, "architecture": departures})


def scale_names() -> tuple[str, ...]:
    """Return the names of the scales, from the cheapest to the dearest."""
    return ("digits", "cifar-small", "cifar", "imagenet")


def read_scale(name: str) -> Scale:
    """Return a scale by its name. Raises `SpecError` where there is none, with those that there are."""
    if name not in scale_names():
        raise SpecError(f"scale = {name!r}: there is none of that name; there are {', '.join(scale_names())}")
    text = (resources.files("resnext.study") / "scales" / f"{name}.toml").read_text(encoding="utf-8")
    return Scale.from_toml(f'name = "{name}"\n{text}')
