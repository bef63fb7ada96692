"""The paper's experiments, each a function from a scale to a study.

Networks are compared at equal complexity, which `Scale.equal` solves for. Contrasts are written so that the paper says
they are below zero. The published figures stand in `resnext.study.paper`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from resnext.spec.architecture import Architecture, architecture
from resnext.spec.complexity import solve_width
from resnext.spec.plan import Form
from resnext.spec.value import SpecError
from resnext.study.design import Answered, Contrast, Setting, Study, View, difference, slope
from resnext.study.paper import CROP_224
from resnext.study.scale import Scale

CARDINALITIES = (1, 2, 4, 8, 32)
_DOUBLINGS = [math.log2(cardinality) for cardinality in CARDINALITIES]
_PAPER_DEPTHS = (50, 101)
_FORMS: tuple[Form, ...] = ("grouped", "concatenated", "aggregated")


def table3(scale: Scale) -> Study:
    """Cardinality against width at equal complexity (Table 3)."""
    settings, contrasts = [], []
    for depth in scale.depths:
        names = []
        for cardinality in CARDINALITIES:
            net = scale.equal(depth, cardinality)
            settings.append(
                _setting(scale, net, answers=Answered(table="Table 3", setting=_paper_net(depth, cardinality)))
            )
            names.append(settings[-1].name)
        contrasts.append(difference(names[-1], names[0], decides=False))
        contrasts.append(
            Contrast(name=f"slope for each doubling of C, {depth} layers", weights=slope(names, _DOUBLINGS))
        )
    return _study(
        scale,
        name="table3",
        title="Cardinality against width at equal complexity",
        question="Does error fall as C grows and d shrinks, complexity kept equal?",
        claim="It does, for networks of 50 and of 101 layers.",
        settings=settings,
        contrasts=contrasts,
        order=names if len(scale.depths) == 1 else (),
    )


def table4(scale: Scale) -> Study:
    """Deeper, wider, or more cardinality, at twice the complexity (Table 4)."""
    depth, paths = scale.depths[-1], CARDINALITIES[-1]
    base, narrow = scale.base_channels, scale.equal(depth, paths).base_width
    nets = {
        "resnet101": scale.network(depth, 1, base),
        "resnext101_32x4d": scale.network(depth, paths, narrow),
        "resnet200": scale.network(scale.deeper[0], 1, base),
        "resnet101_1x100d": scale.network(depth, 1, scale.width(100)),
        "resnext101_2x64d": scale.network(depth, 2, base),
        "resnext101_64x4d": scale.network(depth, 2 * paths, narrow),
    }
    settings = {
        name: _setting(scale, net, answers=Answered(table="Table 4", setting=name)) for name, net in nets.items()
    }
    most = settings["resnext101_64x4d"].name
    wider, deeper = (settings[name].name for name in ("resnet101_1x100d", "resnet200"))
    return _study(
        scale,
        name="table4",
        title="Deeper, wider, or more cardinality, at twice the complexity",
        question="At about twice the complexity, does more cardinality help more than more depth or more width?",
        claim="More paths err less than either, by 0.9 and 1.3 points; more width helps more than more depth.",
        settings=list(settings.values()),
        contrasts=[difference(most, wider), difference(most, deeper), difference(wider, deeper)],
    )


def shortcuts(scale: Scale) -> Study:
    """The networks without their shortcuts (section 5.1)."""
    depth = scale.depths[0]
    settings, contrasts, rises = [], [], []
    for cardinality in (1, CARDINALITIES[-1]):
        paper = _paper_net(depth, cardinality)
        kept = _setting(scale, scale.equal(depth, cardinality), answers=Answered(table="Table 3", setting=paper))
        cut = _setting(
            scale,
            scale.equal(depth, cardinality, shortcut="none"),
            suffix="without shortcuts",
            answers=Answered(table="Shortcuts", setting=paper, protocol="without shortcuts"),
        )
        settings += [kept, cut]
        contrasts.append(difference(kept.name, cut.name))
        rises.append({cut.name: 1.0, kept.name: -1.0})
    dense, many = rises
    contrasts.append(
        Contrast(
            name="the rise with many paths against that with one",
            weights={**many, **{name: -weight for name, weight in dense.items()}},
        )
    )
    return _study(
        scale,
        name="shortcuts",
        title="Without shortcuts",
        question="Do networks of either kind err more without their shortcuts?",
        claim="Both do, ResNet by 7.3 points, and ResNeXt, the stronger representation, by no more than 3.9.",
        settings=settings,
        contrasts=contrasts,
    )


def table7(scale: Scale) -> Study:
    """More paths of the same width on CIFAR (Table 7)."""
    depth = scale.depths[0]
    settings = [
        _setting(
            scale,
            scale.network(depth, paths, scale.base_channels),
            answers=Answered(table="Table 7", setting=f"resnext29_{paths}x64d", data="cifar10"),
        )
        for paths in (8, 16)
    ]
    return _study(
        scale,
        name="table7",
        title="More paths of the same width",
        question="Does the error fall from 8 to 16 paths of the same width?",
        claim="It does, a little.",
        settings=settings,
        contrasts=[difference(settings[1].name, settings[0].name)],
        is_proxy=scale.recipe != "paper-cifar" or bool(scale.changes),
    )


def forms(scale: Scale) -> Study:
    """The three forms of the block, trained alike (Fig. 3)."""
    net = scale.equal(scale.depths[0], CARDINALITIES[-1])
    settings = [_setting(scale, net, form=form, suffix="" if form == "grouped" else form) for form in _FORMS]
    grouped, *others = [setting.name for setting in settings]
    return _study(
        scale,
        name="forms",
        title="Three forms of one block",
        question="Do the forms (a), (b) and (c) learn the same? How fast each is, the table says.",
        claim="They are strictly equivalent.",
        settings=settings,
        contrasts=[difference(other, grouped, expects="same") for other in others],
    )


def grouping(scale: Scale) -> Study:
    """One dense path, the same width in groups, and the width that grouping pays for."""
    depth, paths, base = scale.depths[0], CARDINALITIES[-1], scale.base_channels
    dense = _setting(
        scale, scale.network(depth, 1, base), answers=Answered(table="Table 3", setting=_paper_net(depth, 1))
    )
    grouped = _setting(scale, scale.network(depth, paths, max(1, base // paths)))
    relaxed = _setting(
        scale, scale.equal(depth, paths), answers=Answered(table="Table 3", setting=_paper_net(depth, paths))
    )
    return _study(
        scale,
        name="grouping",
        title="What grouping costs and what the wider bottleneck buys back",
        question="What does grouping alone change, and what does the width that it pays for?",
        claim="It has no network of the same width in groups; the wider one errs least.",
        settings=[dense, grouped, relaxed],
        contrasts=[
            difference(relaxed.name, dense.name),
            difference(relaxed.name, grouped.name),
            difference(grouped.name, dense.name, expects=None, decides=False),
        ],
    )


def training_error(scale: Scale) -> Study:
    """Training error of a ResNet and of the ResNeXt of equal complexity (section 5.1)."""
    depth = scale.depths[-1]
    paths_of = (1, CARDINALITIES[-1])
    held_out = [
        _setting(
            scale,
            scale.equal(depth, paths),
            answers=Answered(table="Table 3", setting=_paper_net(_PAPER_DEPTHS[-1], paths)),
        )
        for paths in paths_of
    ]
    training = [
        _setting(
            scale,
            scale.equal(depth, paths),
            suffix="training images",
            quantity="train_top1_error_percent",
            answers=Answered(
                table="Training error",
                setting=_paper_net(_PAPER_DEPTHS[-1], paths),
                quantity="train_error_percent",
            ),
        )
        for paths in paths_of
    ]
    return _study(
        scale,
        name="training-error",
        title="Training error",
        question="Is the training error of the ResNeXt the lower one?",
        claim="It is, 16 % against 20 %: the gain is a stronger representation, not regularisation.",
        settings=[*training, *held_out],
        contrasts=[
            difference(training[1].name, training[0].name),
            difference(held_out[1].name, held_out[0].name, decides=False),
        ],
    )


def protocols(scale: Scale) -> Study:
    """One training, several ways of testing (Table 5)."""
    depth, paths = scale.depths[-1], CARDINALITIES[-1]
    nets = {
        "resnext101_64x4d": scale.network(depth, 2 * paths, scale.equal(depth, paths).base_width),
        "resnet200": scale.network(scale.deeper[0], 1, scale.base_channels),
    }
    views: dict[View, tuple[str, str | None]] = {
        "single": ("single crop", CROP_224),
        "larger": ("larger crop", "single crop 320"),
        "ten": ("ten crops", None),
    }
    settings: list[Setting] = []
    contrasts = []
    for paper, net in nets.items():
        by_view = {
            view: _setting(
                scale,
                net,
                view=view,
                suffix=words,
                answers=Answered(table="Table 5", setting=paper, protocol=protocol) if protocol else None,
            )
            for view, (words, protocol) in views.items()
        }
        settings += by_view.values()
        plain, larger, ten = (by_view[view].name for view in views)
        contrasts.append(difference(larger, plain))
        contrasts.append(difference(ten, plain, expects=None, decides=False))
    return _study(
        scale,
        name="protocols",
        title="One training, several ways of testing",
        question="Does a larger test image, or the mean of ten crops, lower the error of the same weights?",
        claim="At 320 pixels it is lower than at 224.",
        settings=settings,
        contrasts=contrasts,
    )


def _study(scale: Scale, *, is_proxy: bool | None = None, **fields: Any) -> Study:
    return Study(scale=scale.name, data=scale.data, is_proxy=scale.is_proxy if is_proxy is None else is_proxy, **fields)


def _setting(scale: Scale, network: Architecture, *, suffix: str = "", **fields: Any) -> Setting:
    """Return a setting that is called after its network, and by what else sets it apart."""
    return Setting(
        name=", ".join(filter(None, (network.name, suffix))),
        recipe=scale.recipe_for(network),
        **fields,
    )


def _paper_net(depth: int, cardinality: int) -> str:
    """Return the network of Table 3 for so many paths, of as many layers if it has them, else of 50."""
    depth = depth if depth in _PAPER_DEPTHS else _PAPER_DEPTHS[0]
    width = solve_width(cardinality=cardinality, like="resnet50")
    family = "resnet" if cardinality == 1 else "resnext"
    return architecture(f"{family}{depth}_{cardinality}x{width}d").name


EXPERIMENTS: Mapping[str, Callable[[Scale], Study]] = {
    "table3": table3,
    "table4": table4,
    "table7": table7,
    "shortcuts": shortcuts,
    "grouping": grouping,
    "forms": forms,
    "training-error": training_error,
    "protocols": protocols,
}


def study_of(name: str, scale: Scale) -> Study:
    """Return an experiment at a scale. Raises `SpecError` where there is none of the name, with those there are."""
    if name not in EXPERIMENTS:
        raise SpecError(
            f"experiment = {name!r}: there is none of that name; there are {', '.join(EXPERIMENTS)}, or give a .toml"
            " file of your own"
        )
    return EXPERIMENTS[name](scale)
