import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from resnext.spec.architecture import Architecture, architecture
from resnext.spec.value import SpecError

IMAGENET_BOTTLENECKS = {
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
IMAGENET_BASICS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}

NAMES = [
    ("resnet18", "basic", "imagenet", (2, 2, 2, 2), 1, 64),
    ("resnet34", "basic", "imagenet", (3, 4, 6, 3), 1, 64),
    ("resnet50", "bottleneck", "imagenet", (3, 4, 6, 3), 1, 64),
    ("resnet101", "bottleneck", "imagenet", (3, 4, 23, 3), 1, 64),
    ("resnet152", "bottleneck", "imagenet", (3, 8, 36, 3), 1, 64),
    ("resnet200", "bottleneck", "imagenet", (3, 24, 36, 3), 1, 64),
    ("resnet101_1x100d", "bottleneck", "imagenet", (3, 4, 23, 3), 1, 100),
    ("resnet50_1x128d", "bottleneck", "imagenet", (3, 4, 6, 3), 1, 128),
    ("resnext26_32x4d", "bottleneck", "imagenet", (2, 2, 2, 2), 32, 4),
    ("resnext50_32x4d", "bottleneck", "imagenet", (3, 4, 6, 3), 32, 4),
    ("resnext101_64x4d", "bottleneck", "imagenet", (3, 4, 23, 3), 64, 4),
    ("resnet29", "bottleneck", "cifar", (3, 3, 3), 1, 64),
    ("resnext29_8x64d", "bottleneck", "cifar", (3, 3, 3), 8, 64),
    ("resnext29_16x64d", "bottleneck", "cifar", (3, 3, 3), 16, 64),
]

ILLEGAL = [
    ({"cardinality": 32, "block": "basic"}, ["cardinality = 32", "basic block allows only 1", "bottleneck"]),
    ({"cardinality": 0}, ["cardinality = 0", "greater than or equal to 1"]),
    ({"cardinality": 65_537}, ["cardinality = 65537", "less than or equal to 65536"]),
    ({"base_width": 4.5}, ["base_width = 4.5", "valid integer"]),
    ({"base_width": -4}, ["base_width = -4", "greater than or equal to 1"]),
    ({"base_channels": 0}, ["base_channels = 0", "greater than or equal to 1"]),
    ({"stem": "vgg"}, ["stem = 'vgg'", "'imagenet' or 'cifar'"]),
    ({"shortcut": "D"}, ["shortcut = 'D'", "'A', 'B', 'C' or 'none'"]),
    ({"block": "dense"}, ["block = 'dense'", "'bottleneck' or 'basic'"]),
    ({"num_classes": 0}, ["num_classes = 0", "greater than or equal to 1"]),
    ({"input_channels": 0}, ["input_channels = 0", "greater than or equal to 1"]),
    ({"stage_depths": ()}, ["stage_depths = ()", "at least 1 item"]),
    ({"stage_depths": (3, 0)}, ["stage_depths.1 = 0", "greater than or equal to 1"]),
    ({"depths": (3,)}, ["unknown field 'depths'", "stage_depths, cardinality, base_width"]),
]

ILLEGAL_NAMES = [
    ("resnet51", ["depth = 51", "18, 26, 34, 50, 101, 152, 200", "9n+2"]),
    ("resnet2", ["depth = 2", "9n+2"]),
    ("resnet9011", ["stage_depths.0 = 1001", "less than or equal to 1000"]),
    ("resnext50_32x4.5d", ["base_width = 4.5", "whole number"]),
    ("resnext50_32x0d", ["base_width = 0", "greater than or equal to 1"]),
    ("resnext50_0x4d", ["cardinality = 0", "greater than or equal to 1"]),
    ("resnext18_32x4d", ["cardinality = 32", "basic block allows only 1"]),
    ("resnext50", ["name = 'resnext50'", "resnext50_32x4d"]),
    ("resnet50_32x4d", ["name = 'resnet50_32x4d'", "resnext50_32x4d"]),
    ("densenet121", ["name = 'densenet121'", "resnext<depth>_<C>x<d>d"]),
    ("resnext50_32x4d ", ["name = 'resnext50_32x4d '"]),
    ("", ["name = ''"]),
]

widths = st.integers(1, 65_536)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    block = draw(st.sampled_from(["bottleneck", "basic"]))
    return Architecture(
        stage_depths=tuple(draw(st.lists(st.integers(1, 1_000), min_size=1, max_size=8))),
        cardinality=1 if block == "basic" else draw(widths),
        base_width=draw(widths),
        base_channels=draw(widths),
        block=block,
        stem=draw(st.sampled_from(["imagenet", "cifar"])),
        shortcut=draw(st.sampled_from(["A", "B", "C", "none"])),
        input_channels=draw(widths),
        num_classes=draw(widths),
    )


@st.composite
def legal_names(draw: st.DrawFn) -> str:
    cifar_depths = st.integers(1, 1_000).map(lambda n: 9 * n + 2)
    depth = draw(st.one_of(st.sampled_from([*IMAGENET_BASICS, *IMAGENET_BOTTLENECKS]), cifar_depths))
    cardinality = 1 if depth in IMAGENET_BASICS else draw(st.one_of(st.just(1), widths))
    width = draw(st.one_of(st.just(64), widths))
    if (cardinality, width) == (1, 64):
        return f"resnet{depth}"
    return f"{'resnet' if cardinality == 1 else 'resnext'}{depth}_{cardinality}x{width}d"


def assert_says(error: BaseException, fragments: list[str]) -> None:
    missing = [fragment for fragment in fragments if fragment not in str(error)]
    assert not missing, f"{missing} not in {error}"


@pytest.mark.parametrize(("name", "block", "stem", "stage_depths", "cardinality", "width"), NAMES)
def test_name_gives_the_geometry_and_prints_back(
    *, name: str, block: str, stem: str, stage_depths: tuple[int, ...], cardinality: int, width: int
) -> None:
    value = architecture(name)
    assert value.name == name
    assert (value.block, value.stem, value.stage_depths) == (block, stem, stage_depths)
    assert (value.cardinality, value.base_width, value.base_channels) == (cardinality, width, 64)
    assert (value.shortcut, value.input_channels) == ("B", 3)
    assert value.num_classes == (10 if stem == "cifar" else 1000)


@given(name=legal_names())
def test_any_legal_name_prints_back(name: str) -> None:
    value = architecture(name)
    assert value.name == name
    assert architecture(value.name) == value


def test_wide_resnet_is_an_alias_that_prints_its_canonical_name() -> None:
    assert architecture("wide_resnet50_2") == architecture("resnet50_1x128d")
    assert architecture("wide_resnet50_2").name == "resnet50_1x128d"
    assert architecture("wide_resnet101_2").base_width == 128


def test_resnext_with_one_path_of_64_is_resnet() -> None:
    assert architecture("resnext50_1x64d") == architecture("resnet50")


def test_fields_beside_the_name_win() -> None:
    value = architecture("resnext29_8x64d", num_classes=100, shortcut="A", base_channels=32)
    assert (value.num_classes, value.shortcut, value.base_channels) == (100, "A", 32)
    assert value.name == "resnext29_8x64d"


@pytest.mark.parametrize(("depth", "per_stage"), [(101, 11), (200, 22)])
def test_a_depth_of_both_families_means_imagenet_unless_the_stem_says_cifar(depth: int, per_stage: int) -> None:
    imagenet = architecture(f"resnet{depth}")
    assert (imagenet.stem, imagenet.stage_depths) == ("imagenet", IMAGENET_BOTTLENECKS[depth])
    assert imagenet.num_classes == 1000
    cifar = architecture(f"resnet{depth}", stem="cifar")
    assert (cifar.stem, cifar.stage_depths, cifar.num_classes) == ("cifar", (per_stage,) * 3, 10)
    assert cifar.depth == depth


@given(value=architectures())
def test_toml_and_json_round_trip(value: Architecture) -> None:
    assert Architecture.from_toml(value.to_toml()) == value
    assert Architecture.from_json(value.to_json()) == value


@given(value=architectures())
def test_equal_content_means_equal_digest_and_hash(value: Architecture) -> None:
    same = Architecture(**dict(reversed(value.model_dump().items())))
    assert same is not value
    assert same == value
    assert (same.digest(), hash(same)) == (value.digest(), hash(value))


def test_json_is_canonical() -> None:
    text = architecture("resnext29_8x64d").to_json()
    keys = list(json.loads(text))
    assert keys == sorted(keys)
    assert " " not in text


def test_every_field_is_in_the_digest() -> None:
    value = architecture("resnet50")
    changes: dict[str, Any] = {
        "stage_depths": (3, 4, 6, 4),
        "cardinality": 2,
        "base_width": 65,
        "base_channels": 65,
        "block": "basic",
        "stem": "cifar",
        "shortcut": "C",
        "input_channels": 1,
        "num_classes": 7,
    }
    assert set(changes) == set(Architecture.model_fields)
    digests = {value.replace(**{field: change}).digest() for field, change in changes.items()}
    assert len(digests | {value.digest()}) == len(changes) + 1


def test_a_value_is_frozen() -> None:
    value = architecture("resnet50")
    with pytest.raises(ValidationError, match="frozen"):
        value.cardinality = 2  # type: ignore[misc]
    assert value.cardinality == 1


def test_replace_validates_the_copy() -> None:
    value = architecture("resnet18")
    assert value.replace(num_classes=5).num_classes == 5
    assert value.num_classes == 1000
    with pytest.raises(SpecError, match="basic block"):
        value.replace(cardinality=2)


@pytest.mark.parametrize(("fields", "fragments"), ILLEGAL)
def test_illegal_field_is_named_with_its_value_and_what_is_allowed(
    fields: dict[str, Any], fragments: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        Architecture(**{"stage_depths": (1,), **fields})
    assert_says(caught.value, fragments)


@pytest.mark.parametrize(("name", "fragments"), ILLEGAL_NAMES)
def test_illegal_name_is_named_with_what_is_allowed(name: str, fragments: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        architecture(name)
    assert_says(caught.value, fragments)


def test_every_illegal_field_is_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        architecture("resnet50", num_classes=0, stem="vgg")
    assert_says(caught.value, ["num_classes = 0", "stem = 'vgg'"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stage_depths = [1]\nwidth = 3\n", "unknown field 'width'"),
        ("cardinality = 3\n", "stage_depths is missing"),
        ("stage_depths = [\n", "not valid TOML"),
        ("stage_depths = [1]\nbase_width = 4.5\n", "base_width = 4.5"),
    ],
)
def test_bad_toml_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Architecture.from_toml(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"stage_depths": [1], "width": 3}', "unknown field 'width'"),
        ("{}", "stage_depths is missing"),
        ("[1]", "JSON object"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_bad_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Architecture.from_json(text)
