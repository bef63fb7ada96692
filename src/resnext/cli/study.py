"""`resnext study`: run, report, list."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnext.cli.options import DeviceOption, DownloadOption, QuarantineOption, StrictOption, ThreadsOption

if TYPE_CHECKING:
    from resnext.cli.interrupt import StopRequest
    from resnext.study.design import Study
    from resnext.study.runner import Outlook, Runner

study = typer.Typer(
    name="study",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Rerun the paper's experiments, or a sweep of your own, and report what came of them.",
)

OutOption = Annotated[Path, typer.Option(help="The folder of the ledger, its runs and the report.")]
_DEFAULT_OUT = Path("runs/study")
_DEFAULT_SCALE = "digits"


@study.command()
def run(
    name: Annotated[str, typer.Argument(help="An experiment, see `resnext study list`, or the .toml file of a sweep.")],
    scale: Annotated[
        str | None, typer.Option(help="digits, cifar-small, cifar or imagenet. Default: digits; a sweep has none.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each setting, with the seeds 0, 1, ...")] = 3,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begin nothing that would take longer, such as 90min or 8h.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="The images, named as for `resnext train`.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="SETTING", help="Of all settings, only this.")] = None,
    out: OutOption = _DEFAULT_OUT,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Compile each network first, with torch.compile.")
    ] = False,
    download: DownloadOption = False,
    strict: StrictOption = False,
    quarantine: QuarantineOption = None,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Train nothing: forecast what it would take.")] = False,
) -> None:
    """Train what an experiment still needs, the runs that tell most soonest first.

    A run that is in the ledger is not made again, whichever study made it. Ctrl-C and SIGTERM keep what was learnt, and
    the same command goes on. Several of these commands may share a ledger.
    """
    from resnext.cli.console import messages
    from resnext.cli.interrupt import stop_request
    from resnext.cli.progress import follow
    from resnext.data.open import open_data
    from resnext.study.calculated import CALCULATED
    from resnext.study.ledger import Ledger
    from resnext.study.runner import Runner
    from resnext.training.machine import Machine

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("a study makes each run in one process; start it without torchrun, once on each machine")
    if name in CALCULATED:
        _print_calculated(name)
        return
    wanted = _study(name, scale)
    with stop_request() as stop:
        runner = Runner(
            study=wanted,
            data=open_data(_named(wanted, data), download=download, strict=strict, quarantine=quarantine),
            ledger=Ledger(out),
            num_seeds=seeds,
            only=only or (),
            machine=Machine(device=device, num_threads=threads, compiles=compile_),
            budget_seconds=_seconds(budget),
            watch=lambda run: follow(run, stop, messages(), runner.deadline),
        )
        _carry_out(runner, stop, budget, is_dry=is_dry)


@study.command()
def report(out: OutOption = _DEFAULT_OUT) -> None:
    """Write report.html and report.md: ours beside the paper's, with a verdict."""
    from resnext.artefact.sealed import write_atomically
    from resnext.cli.console import messages, results
    from resnext.report.study_page import study_page
    from resnext.report.study_text import study_markdown
    from resnext.study.ledger import Ledger
    from resnext.study.report import tell

    ledger = Ledger(out)
    if not ledger.path.exists():
        raise ValueError(f"{ledger.path} is not there; `resnext study run table3 --out {out}` begins one")
    story = tell(ledger)
    for problem in story.problems:
        messages().print(f"  {problem}")
    for file_name, text in (("report.html", study_page(story)), ("report.md", study_markdown(story))):
        write_atomically(out / file_name, text.encode())
        results().print(f"{out / file_name}")


@study.command("list")
def list_() -> None:
    """List the experiments and the scales."""
    from resnext.cli.console import results, table
    from resnext.study.calculated import CALCULATED
    from resnext.study.experiments import EXPERIMENTS
    from resnext.study.scale import read_scale, scale_names

    experiments = table("Experiments", "name", "question")
    for name, make in EXPERIMENTS.items():
        experiments.add_row(name, make(read_scale(_DEFAULT_SCALE)).question)
    for name, calculate in CALCULATED.items():
        experiments.add_row(name, f"{calculate().title}, by calculation")
    scales = table("\nScales", "name", "what is trained", "--data")
    for name in scale_names():
        scale = read_scale(name)
        scales.add_row(name, f"{scale.title}{', a proxy' if scale.is_proxy else ''}", scale.data)
    for each in (experiments, scales):
        for column in each.columns:
            column.justify = "left"
        results().print(each)


def _study(name: str, scale: str | None) -> "Study":
    from resnext.study.experiments import study_of
    from resnext.study.scale import read_scale
    from resnext.study.sweep import read_sweep

    if name.endswith(".toml"):
        if scale is not None:
            raise ValueError(f"--scale {scale}: a sweep has no scale, its file says what is trained; leave it out")
        return read_sweep(Path(name))
    return study_of(name, read_scale(scale or _DEFAULT_SCALE))


def _named(wanted: "Study", data: str | None) -> str:
    from resnext.study.design import BUNDLED

    if data is None and wanted.data != BUNDLED:
        raise ValueError(
            f"--data is left out: {wanted.name} is trained on {wanted.data}; give it, such as --data {wanted.data}"
        )
    return data or wanted.data


def _seconds(budget: str | None) -> float | None:
    from resnext.training.checkpoint import Interval

    if budget is None:
        return None
    try:
        seconds = Interval.parse(budget).seconds
    except ValueError:
        seconds = None
    if seconds is None:
        raise ValueError(f"--budget {budget}: give a time, such as 90min or 8h")
    return seconds


def _carry_out(runner: "Runner", stop: "StopRequest", budget: str | None, *, is_dry: bool) -> None:
    """Say what is still to be made and make it, in sight of the user."""
    from resnext.cli.console import messages
    from resnext.report.words import duration

    console = messages()
    for problem in runner.ledger.read().problems:
        console.print(f"  {problem}")
    with console.status("Forecasting"):
        outlook = runner.outlook()
    _print_outlook(runner, outlook)
    if outlook.pending and outlook.num_affordable == 0:
        cheapest = duration(min(outlook.forecast_seconds))
        raise ValueError(f"--budget {budget}: the cheapest run still to be made takes about {cheapest}")
    if is_dry:
        return
    is_waiting = False
    for turn in runner:
        if stop.is_set():
            break
        if turn.trial is None and not is_waiting:
            console.print("Waiting for other processes, which make all that is left")
        elif turn.trial is not None:
            left = f"about {duration(turn.forecast_seconds)} for this and all others"
            console.print(f"run {turn.number} of {turn.num_trials}: {turn.trial.name}; {left}")
        is_waiting = turn.trial is None
    if num_left := runner.num_left():
        console.print(f"{num_left} of {len(runner.trials)} runs are still to be made; the same command goes on.")
    for sentence in runner.passed_over.values():
        console.print(f"  left out, {sentence}")
    if stop.is_set():
        raise typer.Exit(stop.status)
    if runner.passed_over:
        raise typer.Exit(1)


def _print_outlook(runner: "Runner", outlook: "Outlook") -> None:
    from resnext.cli.console import messages, results, table, thousands
    from resnext.report.words import duration
    from resnext.spec.complexity import complexity

    wanted = runner.wanted
    settings = table(f"{wanted.title}", "setting", "parameters", "MACs", "runs to make", "each about")
    listed: set[tuple[str, str]] = set()
    for setting in wanted.settings:
        network, size = setting.recipe.network(), setting.recipe.preprocessing().image_size
        cost, made = complexity(network, size), (setting.recipe.digest(), setting.form)
        own = [
            seconds
            for trial, seconds in zip(outlook.pending, outlook.forecast_seconds, strict=True)
            if (trial.recipe.digest(), trial.form) == made
        ]
        number = "the same" if made in listed else str(len(own))
        listed.add(made)
        each = duration(sum(own) / len(own)) if own else "-"
        settings.add_row(setting.name, thousands(cost.params), thousands(cost.macs), number, each)
    results().print(settings)
    left = f"; the others take about {duration(sum(outlook.forecast_seconds))}" if outlook.pending else ""
    if left and runner.budget_seconds is not None:
        left += f"; the budget is enough for {outlook.num_affordable}"
    messages().print(f"{wanted.question} {outlook.num_done} of {len(runner.trials)} runs are done{left}.")
    if wanted.is_proxy:
        messages().print("A proxy: it tests the paper's trend on other networks or images, not its figures.")


def _print_calculated(name: str) -> None:
    from resnext.cli.console import results, table
    from resnext.study.calculated import CALCULATED

    found = CALCULATED[name]()
    shown = table(found.title, "setting", *(f"{quantity} | paper" for quantity in found.quantities))
    for setting, values in found.rows:
        shown.add_row(
            setting, *(f"{ours:,.0f} | {'-' if paper is None else f'{paper:,.0f}'}" for ours, paper in values)
        )
    results().print(shown)
    results().print("Every published number is the calculated one." if found.is_equal else "Some numbers differ.")
