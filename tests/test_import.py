import subprocess
import sys

import pytest

import resnext

HEAVY = ("torch", "pydantic", "numpy", "torchvision", "PIL", "sklearn", "rich.console")

FACE = {
    "Architecture",
    "architecture",
    "build",
    "complexity",
    "convert",
    "evaluate",
    "export_weights",
    "forecast",
    "load",
    "load_weights",
    "solve_width",
    "train",
}


def loaded_after(code: str) -> set[str]:
    """Run code in a new Python, and return which of the heavy packages it loaded."""
    report = f"import sys; print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=60, check=True
    )
    return set(eval(done.stderr.splitlines()[-1]))


def run_command(*arguments: str) -> str:
    """Return code that runs the command line and goes on where it would exit."""
    return f"""
import sys
sys.argv = {["resnext", *arguments]!r}
from resnext.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize(
    "code",
    ["import resnext", "import resnext; dir(resnext)", "import resnext.__main__", "import resnext.study.claims"],
)
def test_importing_the_package_loads_nothing_heavy(code: str) -> None:
    assert loaded_after(code) == set()


def test_a_name_loads_only_what_it_needs() -> None:
    assert loaded_after("import resnext; resnext.architecture('resnet50')") == {"pydantic"}


@pytest.mark.parametrize(
    "arguments", [("--help",), ("train", "--help"), ("--version",), ("describe", "resnext50_32x4d")]
)
def test_commands_that_need_no_tensors_load_no_torch(arguments: tuple[str, ...]) -> None:
    assert loaded_after(run_command(*arguments)) & {"torch", "numpy", "torchvision", "sklearn", "PIL"} == set()


def test_the_face_is_listed() -> None:
    assert set(resnext.__all__) >= FACE
    assert set(dir(resnext)) >= {*resnext.__all__, "__version__"}
    assert dir(resnext) == sorted(set(dir(resnext)))
    assert list(resnext.__all__) == sorted(resnext.__all__)


@pytest.mark.parametrize("name", sorted(resnext.__all__))
def test_every_name_of_the_face_resolves(name: str) -> None:
    found = getattr(resnext, name)
    assert callable(found)
    assert found.__name__ == name
    assert found is getattr(resnext, name)


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="'resnext' has no attribute 'trane'"):
        resnext.trane  # noqa: B018 - looking it up is the test
    with pytest.raises(ImportError):
        from resnext import trane  # noqa: F401, PLC0415
