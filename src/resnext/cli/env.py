"""`resnext env`."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer


def env(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Show versions, devices and extras, as a report of a fault needs them.

    It names no person and no machine.
    """
    from resnext.cli.console import results
    from resnext.training.environment import environment
    from resnext.training.memory import in_words

    found = environment()
    if as_json:
        print(json.dumps(found))
        return
    console = results()
    for package, version in found["versions"].items():
        console.print(f"{package}: {version or 'missing'}")
    console.print(f"commit: {found['commit'] or 'not a checkout'}")
    machine = found["platform"]
    console.print(f"platform: {machine['system']}, {machine['machine']}, {machine['num_cores']} cores")
    console.print(f"memory: {in_words(found['memory_bytes'])}")
    for device, facts in found["devices"].items():
        shown = {**facts, "memory_bytes": in_words(facts["memory_bytes"])} if "memory_bytes" in facts else facts
        console.print(f"{device}: {', '.join(f'{name} {value}' for name, value in shown.items()) or 'available'}")
    for extra, packages in found["extras"].items():
        console.print(f"extra {extra}: {_extra(extra, packages)}")
    for name, value in found["variables"].items():
        console.print(f"{name}={value}")


def _extra(extra: str, packages: Mapping[str, Any]) -> str:
    """Say which packages of an extra are there, and how to get those that are not."""
    present = ", ".join(f"{package} {version}" for package, version in packages.items() if version)
    missing = ", ".join(package for package, version in packages.items() if not version)
    if not missing:
        return present
    return f"{present}{'; ' if present else ''}{missing} missing: pip install 'resnext[{extra}]'"
