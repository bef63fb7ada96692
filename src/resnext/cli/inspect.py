"""`resnext inspect`."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from resnext.cli.options import DataArgument, DownloadOption

if TYPE_CHECKING:
    from resnext.data.dataset import Data
    from resnext.data.findings import Kind
    from resnext.data.inspect import Inspection
    from resnext.data.look import Looked

_MOST_NAMED = 5
_MOST_CLASSES = 30
_PICTURE_SIDE = 240


def inspect(
    data: DataArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with the pictures.")] = None,
    quarantine: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a list of what is better left out; train and evaluate take it."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=0, help="Threads that look at images. Default: one a core.")
    ] = None,
    download: DownloadOption = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with status 1 where there are errors.")] = False,
) -> None:
    """Say what is wrong with images.

    Damaged and odd files, copies, leaks between splits, one image in two classes, classes out of balance. Each image
    is decoded once. Nothing is changed.
    """
    from resnext.data.inspect import conclude
    from resnext.data.look import look_at
    from resnext.data.open import open_data

    _check_place(html)
    _check_place(quarantine, is_new=True)
    opened = open_data(data, download=download, examines=False)
    inspection = conclude(data, opened, _watched(opened, look_at(opened, threads)))
    if as_json:
        print(json.dumps(inspection.as_json()))
    else:
        _print_inspection(inspection)
    _write(inspection, opened, html, quarantine)
    if strict and inspection.num_findings("error"):
        raise typer.Exit(1)


def _check_place(path: Path | None, *, is_new: bool = False) -> None:
    """Raise `ValueError` where a file could not be written, before an hour's work for it is done."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise ValueError(f"{path}: {path.parent} is no folder; make it, or give another place")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file")
    if is_new and path.exists():
        raise ValueError(f"{path} exists, and may have been edited; give another name, or remove it")


def _watched(data: "Data", looks: "Iterable[Looked]") -> "Iterator[Looked]":
    """Show on a terminal how many images have been looked at."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from resnext.cli.console import messages

    console = messages()
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        num_images = sum(len(dataset.labels) for dataset in data.splits.values())
        yield from progress.track(looks, total=num_images, description="Looking at images")


def _write(inspection: "Inspection", data: "Data", html: Path | None, quarantine: Path | None) -> None:
    from resnext.cli.console import messages, thousands

    if html:
        html.write_text(_page(inspection, data), encoding="utf-8", errors="backslashreplace")
        messages().print(f"Page with pictures: {html}")
    if quarantine:
        from resnext.data.quarantine import write_quarantine

        write_quarantine(quarantine, inspection.quarantine)
        messages().print(f"List of {thousands(len(inspection.quarantine))} images to leave out: {quarantine}")


def _page(inspection: "Inspection", data: "Data") -> str:
    from resnext.data.look import images_named
    from resnext.imaging.thumbnail import thumbnail
    from resnext.report.inspection_page import inspection_page, named_images

    facts = inspection.as_json()
    shown = images_named(data, named_images(facts))
    return inspection_page(facts, {name: thumbnail(image, _PICTURE_SIDE) for name, image in shown})


def _print_inspection(inspection: "Inspection") -> None:
    from resnext.cli.console import results, table, thousands
    from resnext.data.findings import Severity

    console = results()
    splits = ", ".join(f"{thousands(number)} {split}" for split, number in inspection.splits.items())
    console.print(f"{inspection.source}: {len(inspection.classes)} classes, {splits}{_sizes(inspection)}")
    _print_classes(inspection)
    if not inspection.findings:
        console.print("\nNothing found.")
        return
    counts = table("\nFindings", "kind", "severity", "number")
    for kind in inspection.kinds():
        found = inspection.of_kind(kind)
        counts.add_row(_words(kind), found[0].severity, thousands(len(found)))
    console.print(counts)
    for kind in inspection.kinds():
        _print_kind(inspection, kind)
    errors, warnings, notes = (inspection.num_findings(severity) for severity in get_args(Severity))
    console.print(
        f"\n{thousands(errors)} errors, {thousands(warnings)} warnings, {thousands(notes)} notes;"
        f" {thousands(len(inspection.quarantine))} images are better left out"
    )


def _print_classes(inspection: "Inspection") -> None:
    from resnext.cli.console import results, table, thousands

    classes = table("\nClasses", "class", *inspection.splits)
    for count in inspection.classes[:_MOST_CLASSES]:
        classes.add_row(count.name, *(thousands(number) for number in count.splits.values()))
    results().print(classes)
    if len(inspection.classes) > _MOST_CLASSES:
        results().print(f"and {len(inspection.classes) - _MOST_CLASSES} more classes; --json has all")


def _print_kind(inspection: "Inspection", kind: "Kind") -> None:
    from resnext.cli.console import results, thousands

    found = inspection.of_kind(kind)
    results().print(f"\n{_words(kind)}", style="bold")
    for finding in found[:_MOST_NAMED]:
        names = [image.name for image in finding.images]
        more = f", and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        named = ", ".join(names[:_MOST_NAMED]) + more
        results().print(f"  {named}: {finding.sentence}" if named else f"  {finding.sentence}")
    if len(found) > _MOST_NAMED:
        results().print(f"  and {thousands(len(found) - _MOST_NAMED)} more; --json has all")


def _sizes(inspection: "Inspection") -> str:
    """Say how large the images are: the smallest, the median and the largest by shorter side."""
    sides = sorted(min(size.width, size.height) for size in inspection.sizes for _ in range(size.num_images))
    if not sides:
        return ""
    least, middle, most = sides[0], sides[len(sides) // 2], sides[-1]
    return (
        f"; shorter sides of {least} to {most} pixels, half of {middle} or more" if least < most else f"; {most} pixels"
    )


def _words(kind: "Kind") -> str:
    return kind.replace("_", " ")
