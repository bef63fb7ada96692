"""The story of a ledger: what was asked, what came of it, and what the paper says, laid side by side."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, median

from resnext.evaluation.estimate import estimate
from resnext.report.study_story import EpochMean, Line, PublishedFigure, StudyStory, StudyTable
from resnext.spec.complexity import complexity
from resnext.spec.departures import departures
from resnext.study.calculated import CALCULATED
from resnext.study.claims import Claim, find, others
from resnext.study.design import BUNDLED, OWN, Answered, Setting, protocol_of
from resnext.study.ledger import Asked, Ledger, Outcome, Pages, key_of
from resnext.study.scale import read_scale
from resnext.study.verdict import judge

_QUANTITIES = {
    "top1_error_percent": "top-1 error, %, after the last epoch",
    "train_top1_error_percent": "of training images, as they were shown in the last epoch",
}


def tell(ledger: Ledger) -> StudyStory:
    """Tell all that a ledger holds. Raises `LedgerError` where it cannot be read."""
    pages = ledger.read()
    return StudyStory(
        tables=tuple(_table(asked, pages) for asked in pages.asked),
        calculated=tuple(calculate() for calculate in CALCULATED.values()),
        problems=pages.problems,
    )


def _table(asked: Asked, pages: Pages) -> StudyTable:
    study = asked.study
    ended = {setting.name: _ended(setting, asked, pages) for setting in study.settings}
    figures = {
        setting.name: {
            outcome.seed: figure for outcome in ended[setting.name] if (figure := outcome.figure(setting)) is not None
        }
        for setting in study.settings
    }
    judged = judge(study.contrasts, study.order, figures)
    made = [outcome for outcomes in ended.values() for outcome in outcomes]
    first, quantities = study.settings[0], {setting.quantity for setting in study.settings}
    return StudyTable(
        name=study.name,
        scale=study.scale,
        scale_title="" if study.scale == OWN else read_scale(study.scale).title,
        title=study.title,
        question=study.question,
        claim=study.claim,
        is_proxy=study.is_proxy,
        data=asked.data,
        quantity="; ".join(words for name, words in _QUANTITIES.items() if name in quantities),
        protocol=protocol_of(first.view, first.recipe).words(),
        num_seeds=asked.num_seeds,
        lines=tuple(_line(setting, asked, ended[setting.name]) for setting in study.settings),
        findings=judged.findings,
        verdict=judged.verdict if study.claim else None,
        page_p=judged.page_p,
        seeds_needed=judged.seeds_needed,
        departures=departures(first.recipe),
        facts=_facts(asked, made),
        sweep=study.sweep,
        rerun=_command(asked),
    )


def _ended(setting: Setting, asked: Asked, pages: Pages) -> list[Outcome]:
    """Return the runs of a setting that have ended, of whatever seeds there are."""
    wanted = _but_seed(key_of(setting.recipe, 0, setting.form, asked.data_digest))
    return [outcome for key, outcome in pages.outcomes.items() if _but_seed(key) == wanted]


def _but_seed(key: str) -> str:
    return key.rpartition("-")[0]


def _line(setting: Setting, asked: Asked, ended: Sequence[Outcome]) -> Line:
    network = setting.recipe.network()
    cost = complexity(network, setting.recipe.preprocessing().image_size)
    figures = [figure for outcome in ended if (figure := outcome.figure(setting)) is not None]
    whole = [outcome for outcome in ended if outcome.failure is None]
    is_plain = setting.quantity == "top1_error_percent" and setting.view == "single"
    best = [outcome.best_top1_error_percent for outcome in whole if outcome.best_top1_error_percent is not None]
    claim = _claim(setting.answers, asked.data)
    return Line(
        setting=setting.name,
        cardinality=network.cardinality,
        base_width=network.base_width,
        params=cost.params,
        macs=cost.macs,
        last=estimate(figures) if figures else None,
        best=estimate(best) if best and is_plain else None,
        num_failed=len(ended) - len(whole),
        paper=_published(claim) if claim else None,
        others=tuple(_published(other) for other in _others(setting, claim)),
        images_per_second=median(outcome.images_per_second for outcome in whole) if whole else None,
        seconds=fmean(outcome.wall_seconds for outcome in whole) if whole else None,
        curve=_curve(whole),
        rerun=f"{_command(asked)} --only {shlex.quote(setting.name)}",
    )


def _curve(outcomes: Sequence[Outcome]) -> tuple[EpochMean, ...]:
    epochs = zip(*(outcome.curve for outcome in outcomes), strict=True)
    return tuple(
        EpochMean(
            epoch=number,
            train=fmean(errors.train for errors in epoch),
            held_out=fmean(errors.held_out for errors in epoch),
        )
        for number, epoch in enumerate(epochs, start=1)
    )


def _claim(answers: Answered | None, data: str) -> Claim | None:
    """Return the published figure beside a setting, of CIFAR-100 where the study is of that; None where there is none.

    A ledger may ask for what this version no longer holds under that name.
    """
    if answers is None:
        return None
    of_cifar100 = answers.data == "cifar10" and data == "cifar100"
    try:
        return find(**{**answers.model_dump(), **({"data": data} if of_cifar100 else {})})
    except ValueError:
        return None


def _others(setting: Setting, claim: Claim | None) -> tuple[Claim, ...]:
    """Return what others report of the same: they report plain networks, tested on a single crop of 224 or 32."""
    is_plain = setting.view == "single" and setting.recipe.network().shortcut == "B"
    return others(claim.setting, claim.quantity, claim.data) if claim and is_plain else ()


def _published(claim: Claim) -> PublishedFigure:
    return PublishedFigure(value=claim.value, protocol=claim.protocol, source=claim.source, by=claim.by)


def _facts(asked: Asked, made: Sequence[Outcome]) -> dict[str, str]:
    """Return where and with what the runs were made, by the names under which it is listed."""
    if not made:
        return {"data": asked.data}
    hours = sum({outcome.key: outcome.wall_seconds for outcome in made}.values()) / 3600
    return {
        "data": f"{asked.data}, digest {asked.data_digest[:12]}",
        "errors": f"on {made[0].num_images:,} {made[0].split} images",
        "runs": f"{len({outcome.key for outcome in made})}, {hours:.1f} hours in all",
        "made on": _counted(_place(outcome) for outcome in made),
        "versions": _counted(f"torch {outcome.versions['torch']}" for outcome in made),
        "commits": _counted(outcome.commit[:12] if outcome.commit else "not from a checkout" for outcome in made),
    }


def _place(outcome: Outcome) -> str:
    compiled = ", compiled" if outcome.is_compiled else ""
    return f"{outcome.processor or outcome.device}, {outcome.num_cores} cores{compiled}"


def _counted(values: Iterable[str]) -> str:
    """List values, the most frequent first, and how often each occurs where they are several."""
    counts = Counter(values).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{value} ({number})" for value, number in counts)


def _command(asked: Asked) -> str:
    study = asked.study
    what = shlex.quote(f"{study.name}.toml") if study.scale == OWN else f"{study.name} --scale {study.scale}"
    data = "" if asked.data == BUNDLED else f" --data {_data_words(asked)}"
    return f"resnext study run {what} --seeds {asked.num_seeds}{data}"


def _data_words(asked: Asked) -> str:
    """Return how the data is named; the place where it was is another's own."""
    if asked.data.startswith("cifar"):
        return f"{asked.data}:ROOT"
    return "DATA" if asked.study.data == BUNDLED else asked.study.data
