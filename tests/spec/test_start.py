from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnext.spec.architecture import Architecture, architecture
from resnext.spec.facts import Facts, Start
from resnext.spec.preprocessing import Preprocessing
from resnext.spec.recipe import read_recipe
from resnext.spec.resolve import resolve
from resnext.spec.value import SpecError

SEEN = Preprocessing(
    image_size=96, resize_size=110, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1)
)
AUTO_COLOURS = {"image": {"mean": "auto", "std": "auto"}}

ARCHITECTURES = st.builds(
    Architecture,
    stage_depths=st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple),
    cardinality=st.integers(1, 8),
    base_width=st.integers(1, 64),
    base_channels=st.integers(1, 64),
    stem=st.sampled_from(["imagenet", "cifar"]),
    shortcut=st.sampled_from(["A", "B", "C", "none"]),
    num_classes=st.integers(1, 9),
) | st.sampled_from(["resnet18", "resnet34", "resnext50_32x4d"]).map(architecture)


def start(network: Architecture | None = None, **fields: Any) -> Start:
    own = network or architecture("resnext50_32x4d")
    return Start(**{"origin": "W", "digest": "d" * 64, "architecture": own, "preprocessing": SEEN, **fields})


def facts(given: Start | None = None, **fields: Any) -> Facts:
    counts = {"num_images": 300, "num_classes": 4, "shorter_side": 500, "num_cores": 2}
    return Facts(**{**counts, "is_handwriting": False, "has_gpu": False, "start": given, **fields})


@given(ARCHITECTURES, st.booleans())
def test_the_network_is_that_of_the_weights_whatever_it_is(network: Architecture, has_gpu: bool) -> None:
    resolved, choices = resolve(read_recipe("quick"), facts(start(network), has_gpu=has_gpu))
    assert resolved.network() == network.replace(num_classes=4)
    assert "model" in {choice.field for choice in choices}


def test_colours_and_interpolation_are_those_of_the_weights_before_those_of_the_data() -> None:
    known = facts(start(), colour_mean=(0.1, 0.1, 0.1), colour_std=(0.3, 0.3, 0.3))
    seen = resolve(read_recipe("quick", AUTO_COLOURS), known)[0].preprocessing()
    assert (seen.mean, seen.std, seen.interpolation) == (SEEN.mean, SEEN.std, "bilinear")
    unknown = facts(start(preprocessing=None), colour_mean=(0.1, 0.1, 0.1), colour_std=(0.3, 0.3, 0.3))
    seen = resolve(read_recipe("quick", AUTO_COLOURS), unknown)[0].preprocessing()
    assert (seen.mean, seen.interpolation) == ((0.1, 0.1, 0.1), "bicubic")


@pytest.mark.parametrize(
    ("side", "has_gpu", "size"),
    [(500, True, 96), (20, True, 96), (500, False, 64), (40, False, 64), (300, True, 96)],
)
def test_the_size_is_that_of_the_weights_where_the_machine_can_afford_it(side: int, has_gpu: bool, size: int) -> None:
    resolved, _ = resolve(read_recipe("quick"), facts(start(), shorter_side=side, has_gpu=has_gpu))
    assert resolved.image.size == size


def test_a_small_network_keeps_its_small_images() -> None:
    small = start(architecture("resnext29_8x16d"), preprocessing=Preprocessing(image_size=32, resize_size=32))
    assert resolve(read_recipe("quick"), facts(small))[0].image.size == 32


def test_a_new_head_learns_alone_at_first() -> None:
    tuned, _ = resolve(read_recipe("quick", {"epochs": 40}), facts(start()))
    plain, choices = resolve(read_recipe("quick", {"epochs": 40}), facts())
    assert (tuned.fine_tuning.frozen_epochs, tuned.fine_tuning.weights) == (4, "d" * 64)
    assert tuned.optimiser.learning_rate == plain.optimiser.learning_rate
    assert (plain.fine_tuning.frozen_epochs, plain.fine_tuning.weights) == (0, None)
    assert not [choice for choice in choices if choice.field.startswith("fine_tuning")]
    kept, _ = resolve(read_recipe("quick"), facts(start(keeps_head=True)))
    assert kept.fine_tuning.frozen_epochs == 0


@pytest.mark.parametrize(("num_epochs", "frozen"), [(1, 0), (2, 1), (3, 1), (15, 2), (100, 10)])
def test_an_epoch_is_left_for_the_rest(num_epochs: int, frozen: int) -> None:
    resolved, _ = resolve(read_recipe("quick", {"epochs": num_epochs}), facts(start()))
    assert resolved.fine_tuning.frozen_epochs == frozen


def test_the_weights_are_part_of_the_digest() -> None:
    digests = {resolve(read_recipe("quick"), facts(start(digest=c * 64)))[0].digest() for c in "ab"}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("overrides", "given", "words"),
    [
        (
            {"model": "resnet50"},
            start(),
            r"model = resnet50: the weights of W are of resnext50_32x4d \(cardinality 32, n",
        ),
        ({"architecture": {"stem": "cifar"}}, start(), "stem imagenet, not cifar"),
        ({}, start(architecture("resnet18", input_channels=1)), "input_channels = 1: images are read as RGB"),
        ({"fine_tuning": {"weights": "e" * 64}}, start(), "other weights than those of W"),
        ({"fine_tuning": {"weights": "e" * 64}}, None, "give them with --from"),
        ({"fine_tuning": {"frozen_epochs": 2}}, None, "random weights are not worth freezing"),
    ],
)
def test_what_does_not_fit_the_weights_is_refused(overrides: dict[str, Any], given: Start | None, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        resolve(read_recipe("quick", overrides), facts(given))
