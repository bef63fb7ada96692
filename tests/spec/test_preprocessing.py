from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.spec.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from resnext.spec.value import SpecError

colours = st.tuples(*[st.floats(-2, 2)] * 3)
deviations = st.tuples(*[st.floats(0, 2, exclude_min=True)] * 3)


@given(
    image_size=st.integers(1, 2_048), border=st.integers(0, 2_048), mean=colours, std=deviations, is_cubic=st.booleans()
)
def test_it_goes_through_toml_and_json_unchanged(
    image_size: int,
    border: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    is_cubic: bool,
) -> None:
    value = Preprocessing(
        image_size=image_size,
        resize_size=image_size + border,
        interpolation="bicubic" if is_cubic else "bilinear",
        mean=mean,
        std=std,
    )
    assert Preprocessing.from_toml(value.to_toml()) == value
    assert Preprocessing.from_json(value.to_json()) == value


def test_colours_are_normalised_as_for_imagenet_unless_said_otherwise() -> None:
    value = Preprocessing(image_size=224, resize_size=256)
    assert (value.mean, value.std) == (IMAGENET_MEAN, IMAGENET_STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"resize_size": 31}, ["resize_size = 31", "at least image_size = 32"]),
        ({"image_size": 0}, ["image_size = 0", "greater than or equal to 1"]),
        ({"resize_size": 4_097}, ["resize_size = 4097", "less than or equal to 4096"]),
        ({"interpolation": "nearest"}, ["interpolation = 'nearest'", "'bilinear' or 'bicubic'"]),
        ({"std": (0.2, 0.0, 0.2)}, ["std.1 = 0.0", "greater than 0"]),
        ({"mean": (0.5, 0.5)}, ["mean.2 is missing"]),
        ({"size": 32}, ["unknown field 'size'", "image_size, resize_size"]),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed(fields: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        Preprocessing(**{"image_size": 32, "resize_size": 32, **fields})
    assert all(part in str(caught.value) for part in said), caught.value
