"""A test for every line of the table of the paper's training (sections 4 and 5.3, and the authors' code).

How colours, crops and padding are carried out is tested where they live: tests/data/test_augment.py, test_colour.py and
test_network_input.py.
"""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
import torch
from torch import Tensor

from resnext.model.forms import build
from resnext.model.initialise import Constant, Normal, Uniform, distributions
from resnext.model.network import Network
from resnext.spec.architecture import Architecture, architecture
from resnext.spec.facts import Facts
from resnext.spec.override import parse_overrides
from resnext.spec.plan import plan
from resnext.spec.recipe import Optimiser, Recipe, chosen, read_recipe, recipe_names
from resnext.spec.resolve import resolve
from resnext.training.optimiser import decay_of, make_optimiser
from resnext.training.schedule import Horizon, learning_rate

IMAGENET = Facts(
    num_images=1_281_167, num_classes=1_000, shorter_side=375, is_handwriting=False, num_cores=16, has_gpu=True
)
CIFAR_10 = Facts(
    num_images=50_000,
    num_classes=10,
    shorter_side=32,
    is_handwriting=False,
    num_cores=16,
    has_gpu=True,
    colour_mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
    colour_std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
)
FACTS = {"imagenet": IMAGENET, "cifar": CIFAR_10}
SMALL = Architecture(stage_depths=(1, 2), cardinality=2, base_width=4, base_channels=8, num_classes=3)


def paper(which: str, *overrides: str) -> Recipe:
    return resolve(read_recipe(f"paper-{which}", parse_overrides(overrides)), FACTS[which])[0]


def rates_by_epoch(recipe: Recipe, steps_per_epoch: int) -> str:
    """Write a line for every run of epochs in which all steps have one rate."""
    horizon = Horizon(chosen(recipe.epochs, "epochs"), steps_per_epoch)
    peak = chosen(recipe.optimiser.learning_rate, "optimiser.learning_rate")

    def rates(epoch: int) -> str:
        first, last = (epoch - 1) * steps_per_epoch + 1, epoch * steps_per_epoch
        return " .. ".join(f"{learning_rate(recipe.schedule, peak, horizon, step):.6g}" for step in (first, last))

    runs = [(found, list(epochs)) for found, epochs in groupby(range(1, horizon.num_epochs + 1), key=rates)]
    return "".join(f"{epochs[0]}-{epochs[-1]}: {found}\n" for found, epochs in runs)


@pytest.mark.parametrize("which", ["imagenet", "cifar"])
def test_momentum_is_09_with_nesterov_and_without_dampening(which: str) -> None:
    [group] = make_optimiser(Network(SMALL), paper(which).optimiser).param_groups
    assert (group["momentum"], group["nesterov"], group["dampening"]) == (0.9, True, 0)


@pytest.mark.parametrize("which", ["imagenet", "cifar"])
def test_steps_are_those_of_torch7s_nesterov_descent(which: str) -> None:
    recipe = paper(which).optimiser
    torch.manual_seed(0)
    network = Network(SMALL).double()
    optimiser = make_optimiser(network, recipe)
    weights = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    velocity: dict[str, Tensor] = {}
    for _ in range(3):
        for name, parameter in network.named_parameters():
            parameter.grad = torch.randn_like(parameter)
            slope = parameter.grad + recipe.weight_decay * weights[name]
            velocity[name] = 0.9 * velocity[name] + slope if name in velocity else slope
            weights[name] = weights[name] - 0.1 * (slope + 0.9 * velocity[name])
        optimiser.step()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.detach(), weights[name], rtol=1e-12, atol=1e-14)


def test_the_rate_is_01_for_256_images_on_imagenet_and_for_128_on_cifar() -> None:
    imagenet, cifar = paper("imagenet"), paper("cifar")
    assert (imagenet.optimiser.learning_rate, imagenet.batch_size) == (0.1, 256)
    assert (cifar.optimiser.learning_rate, cifar.batch_size) == (0.1, 128)


def test_batch_norm_takes_the_32_or_16_images_of_one_of_eight_devices() -> None:
    assert (paper("imagenet").batch_norm_images, paper("cifar").batch_norm_images) == (256 // 8, 128 // 8)


@pytest.mark.parametrize(("which", "decay"), [("imagenet", 1e-4), ("cifar", 5e-4)])
def test_every_parameter_decays_batch_norm_and_biases_too(which: str, decay: float) -> None:
    network = Network(SMALL)
    decays = decay_of(network, paper(which).optimiser)
    assert decays == {name: decay for name, _ in network.named_parameters()}
    assert {"head.bias", "stem.norm.weight", "stem.norm.bias"} <= set(decays)


def test_imagenet_has_100_epochs_and_the_rate_falls_three_times(golden: Callable[[str, str], None]) -> None:
    golden("schedule_paper_imagenet.txt", rates_by_epoch(paper("imagenet"), 1_281_167 // 256))


def test_cifar_has_300_epochs_and_the_rate_falls_where_the_text_says(golden: Callable[[str, str], None]) -> None:
    golden("schedule_paper_cifar_text.txt", rates_by_epoch(paper("cifar"), 50_000 // 128))


def test_cifar_rates_fall_where_the_code_says_under_its_milestones(golden: Callable[[str, str], None]) -> None:
    text = rates_by_epoch(paper("cifar", "schedule.milestones=[147,222]"), 50_000 // 128)
    golden("schedule_paper_cifar_code.txt", text)
    first_below = {share: next(epoch for epoch in range(1, 301) if epoch / 300 > share) for share in (0.49, 0.74)}
    assert text.splitlines()[1].startswith(f"{first_below[0.49]}-")
    assert text.splitlines()[2].startswith(f"{first_below[0.74]}-")


def test_imagenet_crops_jitters_lights_and_flips() -> None:
    augmentation = paper("imagenet").augmentation
    assert (augmentation.crop, augmentation.min_area, augmentation.aspect) == (
        "random_resized",
        0.08,
        "uniform_swapped",
    )
    assert (augmentation.brightness, augmentation.contrast, augmentation.saturation) == (0.4, 0.4, 0.4)
    assert (augmentation.lighting, augmentation.flip, augmentation.max_rotation_degrees) == (0.1, True, 0)


def test_cifar_flips_and_shifts_by_4_and_changes_no_colour() -> None:
    augmentation = paper("cifar").augmentation
    assert (augmentation.crop, augmentation.max_shift, augmentation.flip) == ("shift", 4, True)
    assert not any([augmentation.brightness, augmentation.contrast, augmentation.saturation, augmentation.lighting])
    assert augmentation.max_rotation_degrees == 0


def test_imagenet_is_scored_on_the_central_224_of_a_shorter_side_of_256() -> None:
    seen = paper("imagenet").preprocessing()
    assert (seen.resize_size, seen.image_size, seen.interpolation) == (256, 224, "bicubic")
    assert (seen.mean, seen.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_cifar_is_scored_on_whole_images_under_the_colours_of_its_set() -> None:
    seen = paper("cifar").preprocessing()
    assert (seen.resize_size, seen.image_size) == (32, 32)
    assert (seen.mean, seen.std) == (CIFAR_10.colour_mean, CIFAR_10.colour_std)


def test_no_label_is_smoothed_no_weight_averaged_and_no_rate_warmed_up() -> None:
    for recipe in (paper("imagenet"), paper("cifar")):
        assert (recipe.label_smoothing, recipe.average_decay, recipe.schedule.warmup_epochs) == (0.0, None, 0.0)


def test_weights_start_he_normal_over_all_groups_batch_norm_at_one_and_the_head_uniform() -> None:
    network = build("resnext29_8x64d")
    block = network.get_submodule("stages.0.0")
    grouped, last_norm = block.get_submodule("transform.conv"), block.get_submodule("expand.norm")
    assert distributions(grouped) == {"weight": Normal((2 / (3 * 3 * 512)) ** 0.5)}
    assert distributions(last_norm) == {"weight": Constant(1.0), "bias": Constant(0.0)}
    assert distributions(network.get_submodule("head")) == {"weight": Uniform(1 / 1024**0.5), "bias": Constant(0.0)}


def test_batch_norm_follows_every_convolution_and_relu_it_but_at_the_end_of_a_block() -> None:
    torch.manual_seed(0)
    block: Any = build(SMALL).get_submodule("stages.1.1")
    x = torch.randn(4, 64, 6, 6)
    y = x
    for name in ("reduce", "transform", "expand"):
        y = block.get_submodule(name).conv(y)
        y = (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
        y = y if name == "expand" else y.clamp(min=0)
    torch.testing.assert_close(block(x), (x + y).clamp(min=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("which", ["imagenet", "cifar"])
def test_shortcuts_project_where_the_shape_changes_and_are_the_identity_elsewhere(which: str) -> None:
    for stage in plan(paper(which).network()).stages:
        first, *others = (block.shortcut for block in stage)
        assert first == "projection" and set(others) == {"identity"}


def test_the_cifar_net_has_a_3x3_stem_and_three_stages_of_three_blocks_down_to_8_pixels() -> None:
    network = plan(paper("cifar").network())
    assert (network.stem.kernel_size, network.stem.out_channels, network.stem.stride) == (3, 64, 1)
    assert not network.has_pool
    assert [len(stage) for stage in network.stages] == [3, 3, 3]
    assert [stage[0].stride for stage in network.stages] == [1, 2, 2]
    assert paper("cifar").network().depth == 29


@pytest.mark.parametrize(("which", "base_width", "cardinality"), [("imagenet", 4, 32), ("cifar", 64, 8)])
def test_widths_are_those_of_the_rule_in_the_code(which: str, base_width: int, cardinality: int) -> None:
    for number, stage in enumerate(plan(paper(which).network()).stages):
        width = 64 * 2**number
        for block in stage:
            assert block.inner_channels == width * base_width // 64 * cardinality
            assert (block.cardinality, block.out_channels) == (cardinality, 4 * width)


@pytest.mark.parametrize("which", ["imagenet", "cifar"])
def test_the_network_is_the_papers_in_every_field_but_its_classes(which: str) -> None:
    recipe = paper(which)
    assert recipe.network() == architecture(recipe.model, num_classes=FACTS[which].num_classes)


def test_the_optimiser_of_either_recipe_differs_in_its_decay_alone() -> None:
    assert paper("imagenet").optimiser == Optimiser(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    assert paper("cifar").optimiser == paper("imagenet").optimiser.replace(weight_decay=5e-4)


def test_digests_of_all_packaged_recipes_are_pinned(golden: Callable[[str, str], None]) -> None:
    lines = [
        f"{name} on {data}: {resolve(read_recipe(name), facts)[0].digest()}\n"
        for name in recipe_names()
        for data, facts in FACTS.items()
    ]
    golden("recipe_digests.txt", "".join(lines))
