"""What a recipe that says "auto" chooses, field by field: from counts alone, never from a clock."""

from collections.abc import Callable, Iterator

from resnext.spec.balance import balancing_weights
from resnext.spec.facts import Choice, Facts
from resnext.spec.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from resnext.spec.recipe import AUTO, SAME, Recipe, chosen
from resnext.spec.start import taken_from, tuned_for
from resnext.spec.value import SpecError

MAX_IMAGE_SIZE = 224
CIFAR_IMAGE_SIZE = 32

_MAX_SMALL_SIZE = 48
_CPU_IMAGE_SIZE = 64
_MANY_CORES = 8
_LARGE_SET = 10_000
_RATE_PER_IMAGE = 0.1 / 128
_REFERENCE_IMAGES, _EPOCHS_EXPONENT = 1_500, 0.28
_SMALL_EPOCHS, _LARGE_EPOCHS = 22, 55
_MIN_STEPS_PER_EPOCH = 20

_TRAIN_SIZE_FRACTION, _TRAIN_SIZE_STEP, _MIN_TRAIN_SIZE = 0.8, 16, 32
_ENOUGH_HELD_OUT = 50
_WARMUP_FRACTION, _MAX_WARMUP_EPOCHS = 0.1, 5
_AVERAGE_FRACTION, _MAX_AVERAGE_DECAY = 0.04, 0.9999

# How strong what makes images hard to tell is in runs that are long enough to learn from it, and in shorter ones.
_STRENGTHS = {
    "augmentation.policy": (15, "trivial", "none"),
    "augmentation.erasing": (30, 0.1, 0.0),
    "mixing.mixup": (30, 0.2, 0.0),
    "mixing.cutmix": (60, 1.0, 0.0),
}


def _image_size(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.image.size != AUTO:
        return
    affordable = _affordable_size(facts)
    if facts.start is None:
        yield affordable
        return
    size = facts.start.image_size(affordable.value, has_gpu=facts.has_gpu)
    yield affordable if size == affordable.value else Choice("image.size", size, f"as {facts.start.origin} needs it")


def _affordable_size(facts: Facts) -> Choice:
    side = facts.shorter_side
    if side < CIFAR_IMAGE_SIZE // 2:
        return Choice("image.size", CIFAR_IMAGE_SIZE // 2, f"the images are tiny, {side} pixels on the shorter side")
    if side <= _MAX_SMALL_SIZE:
        return Choice("image.size", CIFAR_IMAGE_SIZE, f"the images have about {side} pixels on the shorter side")
    if facts.has_gpu:
        size = min(MAX_IMAGE_SIZE, side // 32 * 32)
        return Choice("image.size", size, f"the images have about {side} pixels on the shorter side")
    largest = _CPU_IMAGE_SIZE if facts.num_cores < _MANY_CORES else 2 * _CPU_IMAGE_SIZE
    why = f"of about {side} pixels on the shorter side, what {_cores(facts)} can train on in minutes"
    return Choice("image.size", min(largest, side // 32 * 32), why)


def _of_the_weights(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if facts.start is not None:
        yield from taken_from(facts.start, recipe)


def _train_size(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.image.train_size != AUTO:
        return
    if _is_small(recipe):
        yield Choice("image.train_size", SAME, "small images lose too much where they are made smaller")
        return
    size = chosen(recipe.image.size, "image.size")
    wanted = round(_TRAIN_SIZE_FRACTION * size / _TRAIN_SIZE_STEP) * _TRAIN_SIZE_STEP
    why = f"smaller than the {size} of the test, as random crops show objects larger, and quicker"
    yield Choice("image.train_size", max(_MIN_TRAIN_SIZE, wanted), why)


def _colours(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    figures = (
        ("image.mean", recipe.image.mean, facts.colour_mean, IMAGENET_MEAN),
        ("image.std", recipe.image.std, facts.colour_std, IMAGENET_STD),
    )
    for name, wanted, declared, imagenet in figures:
        if wanted == AUTO:
            why = "ImageNet's, as the data declares none of its own" if declared is None else "declared by the data"
            yield Choice(name, imagenet if declared is None else declared, why)


def _model(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.model != AUTO:
        return
    if recipe.architecture.get("block") == "basic":
        yield Choice("model", "resnet18", "the smallest net of basic blocks")
        return
    is_small = _is_small(recipe)
    kind = "a CIFAR net for small images" if is_small else "an ImageNet net for larger images"
    if facts.has_gpu:
        model = "resnext29_8x16d" if is_small else "resnext50_32x4d"
        yield Choice("model", model, f"{kind}, of a size for one GPU")
        return
    yield Choice("model", "resnext20_8x4d" if is_small else "resnext26_8x4d", f"{kind}, of a size for a CPU")
    if "base_channels" not in recipe.architecture:
        channels = 32 if facts.num_cores < _MANY_CORES else 64
        yield Choice("architecture.base_channels", channels, f"the paper's are 64; for {_cores(facts)}")


def _batch_size(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.batch_size != AUTO:
        return
    largest = 128 if facts.num_images >= _LARGE_SET else 64
    size = largest
    while size > 8 and facts.num_images // size < _MIN_STEPS_PER_EPOCH:
        size //= 2
    yield Choice(
        "batch_size", size, f"{max(1, facts.num_images // size)} steps an epoch from {facts.num_images} images"
    )


def _learning_rate(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.optimiser.learning_rate != AUTO or recipe.batch_size == AUTO:
        return
    rate = recipe.batch_size * _RATE_PER_IMAGE
    yield Choice("optimiser.learning_rate", rate, "0.1 for 128 images a step, in proportion")


def _epochs(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.epochs != AUTO:
        return
    scale = (_REFERENCE_IMAGES / facts.num_images) ** _EPOCHS_EXPONENT
    reference = _SMALL_EPOCHS if _is_small(recipe) else _LARGE_EPOCHS
    epochs = min(100, max(8, round(reference * scale)))
    yield Choice("epochs", epochs, f"{epochs * facts.num_images:,} images seen in all; fewer images, more epochs")


def _fine_tuning(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if facts.start is not None:
        yield from tuned_for(facts.start, recipe)


def _crop(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.augmentation.crop != AUTO:
        return
    train_size = recipe.image.size if recipe.image.train_size == SAME else recipe.image.train_size
    if facts.shorter_side == train_size:
        yield Choice("augmentation.crop", "shift", "the images already have the network's size")
    else:
        yield Choice("augmentation.crop", "random_resized", "the images are resized in any case")


def _min_area(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.augmentation.min_area != AUTO:
        return
    if facts.is_handwriting:
        yield Choice("augmentation.min_area", 0.7, "handwriting fills its frame")
    else:
        yield Choice("augmentation.min_area", 0.65, "assumed: photographs show more than their subject")


def _rotation(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.augmentation.max_rotation_degrees != AUTO:
        return
    if facts.is_handwriting:
        yield Choice("augmentation.max_rotation_degrees", 15, "handwriting slants")
    else:
        yield Choice("augmentation.max_rotation_degrees", 0, "assumed: photographs are upright")


def _flip(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.augmentation.flip != AUTO:
        return
    if facts.is_handwriting:
        yield Choice("augmentation.flip", False, "handwriting has a left and a right")
    else:
        yield Choice("augmentation.flip", True, "assumed: a mirrored photograph keeps its class; else set false")


def _strengths(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    epochs = chosen(recipe.epochs, "epochs")
    fields = recipe.model_dump()
    for name, (num_epochs, strong, weak) in _STRENGTHS.items():
        table, _, leaf = name.partition(".")
        if fields[table][leaf] != AUTO:
            continue
        if epochs >= num_epochs:
            yield Choice(name, strong, f"from {num_epochs} epochs on there is time to learn from it")
        else:
            yield Choice(name, weak, f"{strong} would need {num_epochs} epochs or more to be of use")


def _warmup(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.schedule.warmup_epochs != AUTO:
        return
    epochs = chosen(recipe.epochs, "epochs")
    warmup = min(_MAX_WARMUP_EPOCHS, round(_WARMUP_FRACTION * epochs, 1))
    yield Choice("schedule.warmup_epochs", warmup, f"a tenth of the run, at most {_MAX_WARMUP_EPOCHS} epochs")


def _average(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.average_decay != AUTO:
        return
    epochs, batch_size = chosen(recipe.epochs, "epochs"), chosen(recipe.batch_size, "batch_size")
    num_steps = epochs * max(1, facts.num_images // batch_size)
    decay = min(_MAX_AVERAGE_DECAY, max(0.0, round(1 - 1 / (_AVERAGE_FRACTION * num_steps), 4)))
    yield Choice("average_decay", decay, f"over about {_AVERAGE_FRACTION:.0%} of {num_steps:,} steps")


def _class_weights(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.class_weights != AUTO:
        return
    if not facts.class_counts:
        raise SpecError("class_weights = 'auto': the images of each class are not counted here; give weights by name")
    yield Choice("class_weights", balancing_weights(facts.class_counts), "every class counts alike in all")


def _selection(recipe: Recipe, facts: Facts) -> Iterator[Choice]:
    if recipe.selection != AUTO:
        return
    if facts.num_held_out < _ENOUGH_HELD_OUT:
        yield Choice("selection", "last", f"{facts.num_held_out} held-out images cannot tell one epoch from another")
    else:
        yield Choice("selection", "lowest_error", f"on {facts.num_held_out:,} held-out images")


CHOOSERS: tuple[Callable[[Recipe, Facts], Iterator[Choice]], ...] = (
    _image_size,
    _train_size,
    _of_the_weights,
    _colours,
    _model,
    _batch_size,
    _learning_rate,
    _epochs,
    _fine_tuning,
    _crop,
    _min_area,
    _rotation,
    _flip,
    _strengths,
    _warmup,
    _average,
    _selection,
    _class_weights,
)


def _is_small(recipe: Recipe) -> bool:
    return recipe.image.size != AUTO and recipe.image.size <= _MAX_SMALL_SIZE


def _cores(facts: Facts) -> str:
    return "one core" if facts.num_cores == 1 else f"{facts.num_cores} cores"
