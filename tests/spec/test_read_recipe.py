from pathlib import Path

import pytest

from resnext.spec.recipe import read_recipe, recipe_names
from resnext.spec.value import SpecError


def written(folder: Path, text: str | bytes) -> str:
    path = folder / "mine.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_every_packaged_recipe_reads_under_its_own_name() -> None:
    assert "quick" in recipe_names()
    assert [read_recipe(name).name for name in recipe_names()] == recipe_names()


def test_overrides_are_put_over_the_nested_fields_of_the_file() -> None:
    overrides = {"epochs": 2, "image": {"size": 48}, "architecture": {"base_channels": 16}}
    recipe, plain = read_recipe("quick", overrides), read_recipe("quick")
    assert (recipe.epochs, recipe.image.size, recipe.architecture) == (2, 48, {"base_channels": 16})
    assert recipe.image.crop_fraction == plain.image.crop_fraction
    assert recipe.optimiser == plain.optimiser


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", ["not valid TOML"]),
        ('name = "x"\nbogus = 1', ["unknown field 'bogus'"]),
        ('[image]\nsize = "large"', ["name is missing", "size", "= 'large'"]),
        (b"\xff\xfe", ["cannot be read"]),
    ],
)
def test_a_broken_file_is_refused_with_its_path(tmp_path: Path, text: str | bytes, said: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        read_recipe(path)
    assert all(part in str(caught.value) for part in [f"recipe {path}: ", *said]), caught.value


def test_a_missing_file_and_an_unknown_name_say_so(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.toml: cannot be read: .*No such file"):
        read_recipe(str(tmp_path / "none.toml"))
    with pytest.raises(SpecError, match=r"recipe fast: there is none of that name; there are .*quick.* \.toml file"):
        read_recipe("fast")
