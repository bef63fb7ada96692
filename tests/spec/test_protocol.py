from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.spec.preprocessing import Preprocessing
from resnext.spec.protocol import DENSE_SCALES, Crops, ScoringProtocol
from resnext.spec.value import SpecError

PREPROCESSING = Preprocessing(image_size=224, resize_size=256)

scales = st.lists(st.integers(32, 4_096), min_size=1, max_size=6).map(tuple)
crops = st.sampled_from(["single", "ten"]).map(lambda name: (name, ()))


@given(choice=st.one_of(crops, scales.map(lambda sides: ("dense", sides))), image_size=st.integers(1, 2_048))
def test_it_goes_through_toml_and_json_unchanged(choice: tuple[Crops, tuple[int, ...]], image_size: int) -> None:
    preprocessing = Preprocessing(image_size=image_size, resize_size=image_size + 32)
    protocol = ScoringProtocol(preprocessing=preprocessing, crops=choice[0], scales=choice[1])
    assert ScoringProtocol.from_toml(protocol.to_toml()) == protocol
    assert ScoringProtocol.from_json(protocol.to_json()) == protocol


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "single crop 224, shorter side 256"),
        ({"preprocessing": Preprocessing(image_size=320, resize_size=320)}, "single crop 320, shorter side 320"),
        ({"crops": "ten"}, "ten crops of 224, shorter side 256"),
        ({"crops": "dense", "scales": DENSE_SCALES}, "dense, shorter side 224, 256, 384, 480, 640"),
        ({"crops": "dense", "scales": (300,)}, "dense, shorter side 300"),
    ],
)
def test_its_words_name_what_changes_a_score(fields: dict[str, Any], words: str) -> None:
    assert ScoringProtocol(**{"preprocessing": PREPROCESSING, **fields}).words() == words


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"crops": "dense"}, ["scales = ()", "dense needs the shorter sides"]),
        ({"crops": "dense", "scales": (224, 31)}, ["scales.1 = 31", "greater than or equal to 32"]),
        ({"crops": "dense", "scales": (5_000,)}, ["scales.0 = 5000", "less than or equal to 4096"]),
        ({"crops": "dense", "scales": (224.5,)}, ["scales.0 = 224.5", "integer"]),
        ({"scales": (224,)}, ["scales = (224,)", "only crops = 'dense' has scales", "'single'"]),
        ({"crops": "ten", "scales": (224, 256)}, ["scales = (224, 256)", "'ten'"]),
        ({"crops": "five"}, ["crops = 'five'", "'single', 'ten' or 'dense'"]),
        ({"preprocessing": {"image_size": 320, "resize_size": 256}}, ["resize_size = 256", "image_size = 320"]),
        ({"crop": "ten"}, ["unknown field 'crop'", "preprocessing, crops, scales"]),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed(fields: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        ScoringProtocol(**{"preprocessing": PREPROCESSING, **fields})
    assert all(part in str(caught.value) for part in said), caught.value


@pytest.mark.parametrize(
    "text",
    [
        "crops = 'ten'\nscales = [224]\n",
        "crops = 'dense'\n",
        "crops = 'dense'\nscales = [true]\n",
        "crops = 'dense'\nscales = ['224']\n",
        "crops = 'dense'\nscales = 224\n",
    ],
)
def test_what_is_wrong_in_a_file_is_refused_in_one_line_that_names_the_scales(text: str) -> None:
    written = f"{text}[preprocessing]\nimage_size = 224\nresize_size = 256\n"
    with pytest.raises(SpecError, match=r"^scales[^\n]*$"):
        ScoringProtocol.from_toml(written)


def test_a_protocol_needs_to_know_how_images_are_prepared() -> None:
    with pytest.raises(SpecError, match=r"^preprocessing is missing$"):
        ScoringProtocol.from_json('{"crops": "ten"}')


@given(sides=scales)
def test_the_views_of_an_image_are_one_ten_or_as_many_as_scales(sides: tuple[int, ...]) -> None:
    single, ten = (ScoringProtocol(preprocessing=PREPROCESSING, crops=name) for name in ("single", "ten"))
    dense = ScoringProtocol(preprocessing=PREPROCESSING, crops="dense", scales=sides)
    assert (single.num_views, ten.num_views, dense.num_views) == (1, 10, len(sides))


def test_protocols_that_may_score_differently_have_other_words_and_other_digests() -> None:
    fields: list[dict[str, Any]] = [
        {},
        {"preprocessing": PREPROCESSING.replace(image_size=223)},
        {"preprocessing": PREPROCESSING.replace(resize_size=257)},
        {"crops": "ten"},
        {"crops": "dense", "scales": (224,)},
        {"crops": "dense", "scales": (224, 256)},
    ]
    protocols = [ScoringProtocol(**{"preprocessing": PREPROCESSING, **changed}) for changed in fields]
    assert len({protocol.words() for protocol in protocols}) == len(protocols)
    assert len({protocol.digest() for protocol in protocols}) == len(protocols)


@pytest.mark.parametrize(
    ("size", "scales"),
    [(224, DENSE_SCALES), (448, (448, 512, 768, 960, 1280)), (32, (32, 37, 55, 69, 91)), (16, (32, 34, 46))],
)
def test_dense_scales_are_in_proportion_to_the_crop_and_never_below_32(size: int, scales: tuple[int, ...]) -> None:
    assert ScoringProtocol.dense(Preprocessing(image_size=size, resize_size=size)).scales == scales
