import ast
import re
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

SOURCE = Path(__file__).parents[1] / "src" / "resnext"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "core", "misc"}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    too_long = {
        function.name: length
        for function in functions(path)
        if (length := (function.end_lineno or 0) - function.body[0].lineno + 1) > MAX_FUNCTION_LINES
    }
    assert not too_long


def test_no_file_or_folder_is_named_after_nothing():
    parts = {part for path in FILES for part in path.relative_to(SOURCE).with_suffix("").parts}
    assert not parts & BANNED_NAMES


def test_no_files_import_each_other_in_a_circle():
    graph = grimp.build_graph("resnext")
    circles = [
        (module, imported)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if graph.chain_exists(imported, module)
    ]
    assert circles == []


def test_every_source_file_says_what_it_is_for():
    silent = [str(path) for path in FILES if ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is None]
    assert silent == []


def test_the_house_has_the_rooms_of_its_plan():
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    planned = {"spec", "kernels", "model", "imaging", "data", "evaluation", "artefact", "training", "report"}
    assert rooms <= planned | {"inference", "serving", "study", "cli"}


def test_every_path_and_test_that_the_papers_page_names_exists():
    root = SOURCE.parents[1]
    page = (root / "docs" / "paper.md").read_text(encoding="utf-8")
    for path, _, test in (word.partition("::") for word in re.findall(r"`((?:src|tests)/[\w/.:]+)`", page)):
        assert (root / path).is_file(), path
        assert not test or f"def {test}(" in (root / path).read_text(encoding="utf-8"), f"{path}::{test}"
