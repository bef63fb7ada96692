from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.artefact.manifest import Manifest
from resnext.spec.architecture import architecture
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.value import SpecError

PROVENANCE: dict[str, Any] = {
    "recipe": "quick",
    "recipe_digest": "0" * 64,
    "recipe_toml": 'name = "quick"\n',
    "data": "digits",
    "data_digest": "1" * 64,
    "seed": 0,
    "epoch": 3,
    "command": "resnext train",
    "device": "cpu",
    "versions": {"torch": "2.11"},
    "created": "2025-01-01T00:00:00+00:00",
    "wall_seconds": 1.5,
}
MEASUREMENT: dict[str, Any] = {
    "split": "test",
    "protocol": "central crop",
    "num_images": 7,
    "top1_error_percent": 100 / 7,
    "loss": 0.1,
}
FIELDS: dict[str, Any] = {
    "architecture": architecture("resnext29_8x64d", num_classes=2),
    "preprocessing": Preprocessing(image_size=32, resize_size=32),
    "class_names": ("cat", "dog"),
    "provenance": PROVENANCE,
}


@given(
    class_names=st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))),
    errors=st.lists(st.floats(0, 100), max_size=3),
    commit=st.none() | st.text("0123456789abcdef", min_size=40, max_size=40),
)
def test_it_goes_through_json_unchanged(class_names: tuple[str, str], errors: list[float], commit: str | None) -> None:
    measurements = tuple({**MEASUREMENT, "top1_error_percent": error} for error in errors)
    provenance = {**PROVENANCE, "commit": commit}
    manifest = Manifest(
        **{**FIELDS, "class_names": class_names, "measurements": measurements, "provenance": provenance}
    )
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("class_names", [(), ("cat",), ("cat", "dog", "ant")])
def test_there_is_a_name_for_every_class(class_names: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as caught:
        Manifest(**{**FIELDS, "class_names": class_names})
    assert str(caught.value) == f"class_names = {len(class_names)} names: the network has 2 classes"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"format": 2}, ["format = 2", "should be 1"]),
        ({"weights": 1}, ["unknown field 'weights'"]),
        ({"provenance": {}}, ["provenance", "recipe_digest is missing"]),
        ({"measurements": ({**MEASUREMENT, "num_images": 0},)}, ["num_images = 0", "greater than or equal to 1"]),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed(fields: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        Manifest(**{**FIELDS, **fields})
    assert all(part in str(caught.value) for part in said), caught.value


def test_what_need_not_be_known_may_be_absent() -> None:
    manifest = Manifest(**{**FIELDS, "measurements": (MEASUREMENT,)})
    assert manifest.provenance is not None
    assert manifest.provenance.commit is None
    assert manifest.measurements[0].top5_error_percent is None
    assert manifest.format == 1
