import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnext.data.mixing import Mix, mixed, mixer, partners
from resnext.spec.recipe import Mixing

SEEDS, SIZES = st.integers(0, 10**6), st.integers(1, 64)
ALPHAS = st.floats(0.05, 4)


def drawn(mixing: Mixing, size: int, seed: int) -> Mix:
    draw = mixer(mixing, size)
    assert draw is not None
    return draw(np.random.default_rng(seed))


@given(alpha=ALPHAS, size=SIZES, seed=SEEDS)
def test_the_share_of_an_image_is_exactly_the_area_that_is_left_of_it(alpha: float, size: int, seed: int) -> None:
    mix = drawn(Mixing(cutmix=alpha), size, seed)
    own, partner = torch.zeros(1, 1, size, size), torch.ones(1, 1, size, size)
    result = mixed(torch.cat([own, partner]), mix, torch.tensor([1, 0]))
    assert int((result[0] == 0).sum()) == round(mix.weight * size**2)
    assert float(result[0].sum() + result[1].sum()) == size**2
    assert mix.weight == 1 - int(result[0].sum()) / size**2


@given(size=SIZES, seed=SEEDS)
def test_cutmix_is_bit_for_bit_one_image_inside_the_box_and_the_other_outside(size: int, seed: int) -> None:
    mix = drawn(Mixing(cutmix=1.0), size, seed)
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(seed))
    places = partners(4, None)
    result = mixed(images, mix, places)
    assert mix.box is not None
    left, top, width, height = mix.box
    inside = torch.zeros(size, size, dtype=torch.bool)
    inside[top : top + height, left : left + width] = True
    assert torch.equal(result, torch.where(inside, images[places], images))


@given(weight=st.floats(0, 1), seed=SEEDS)
def test_mixup_blends_two_images_in_their_shares(weight: float, seed: int) -> None:
    images = torch.randn(5, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    before = images.clone()
    result = mixed(images, Mix(weight), partners(5, None))
    expected = weight * images + (1 - weight) * images.roll(1, 0)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    assert torch.equal(images, before)
    assert torch.equal(mixed(images, Mix(1.0), partners(5, None)), images)


@given(num_images=st.integers(1, 40), group=st.integers(1, 12) | st.none())
def test_everyone_has_a_partner_of_the_same_group_and_is_one(num_images: int, group: int | None) -> None:
    places = partners(num_images, group).tolist()
    assert sorted(places) == list(range(num_images))
    size = group or num_images
    assert all(place // size == own // size for own, place in enumerate(places))
    alone = [index for index, place in enumerate(places) if index == place]
    assert len(alone) <= (num_images if size == 1 else 1)


@given(num_groups=st.integers(1, 6), group=st.integers(1, 8))
def test_partners_of_part_of_a_batch_are_those_in_the_whole(num_groups: int, group: int) -> None:
    whole = partners(num_groups * group, group)
    parts = [partners(group, group) + group * number for number in range(num_groups)]
    assert torch.equal(whole, torch.cat(parts))


@given(mixup=ALPHAS, cutmix=ALPHAS, seed=SEEDS)
def test_the_same_generator_draws_the_same_mix(mixup: float, cutmix: float, seed: int) -> None:
    mixing = Mixing(mixup=mixup, cutmix=cutmix)
    first = drawn(mixing, 32, seed)
    assert first == drawn(mixing, 32, seed)
    assert 0 <= first.weight <= 1


def test_with_both_ways_a_coin_decides() -> None:
    cuts = [drawn(Mixing(mixup=0.2, cutmix=1.0), 32, seed).box is not None for seed in range(1_000)]
    assert abs(sum(cuts) - 500) < 4 * np.sqrt(250)


@pytest.mark.parametrize(("mixing", "cuts"), [(Mixing(mixup=0.4), False), (Mixing(cutmix=0.4), True)])
def test_a_way_with_no_strength_is_never_taken(mixing: Mixing, cuts: bool) -> None:
    assert {drawn(mixing, 32, seed).box is not None for seed in range(50)} == {cuts}


def test_where_nothing_is_mixed_nothing_is_drawn() -> None:
    assert mixer(Mixing(), 32) is None


def test_weights_have_the_distribution_that_the_recipe_names() -> None:
    for alpha in (0.2, 1.0):
        weights = np.array([drawn(Mixing(mixup=alpha), 32, seed).weight for seed in range(3_000)])
        assert abs(weights.mean() - 0.5) < 0.03
        assert abs(weights.var() - 1 / (4 * (2 * alpha + 1))) < 0.01


def test_the_layout_is_kept() -> None:
    images = torch.randn(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    for mix in (Mix(0.3), Mix(0.75, (0, 0, 4, 4))):
        assert mixed(images, mix, partners(4, 2)).is_contiguous(memory_format=torch.channels_last)
