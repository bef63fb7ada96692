import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="session")
def sources(written: Callable[[Path], dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return written(tmp_path_factory.mktemp("sources") / "images")


# What each process shows of an epoch, as the run itself would make it.
_SHOWN = """
import json, sys
from pathlib import Path
from resnext.data.open import open_data
from resnext.spec.recipe import read_recipe
from resnext.training.conduct import Conduct
from resnext.training.machine import Machine
from resnext.training.run import Run
from resnext.training.task import Task, adapt
from resnext.training.world import join_world

source, recipe, out = sys.argv[1:]
with join_world() as world:
    data, machine = open_data(source), Machine(device="cpu", num_threads=2)
    task = Task(data=data, recipe=adapt(read_recipe(recipe), data, machine)[0])
    run = Run(task, Conduct(out=Path(out)), machine, world)
    step, names = run._learner.step, []

    def noted(batch, rate):
        names.extend(batch.names)
        return step(batch, rate)

    class Noted:
        def __init__(self, learner): self.learner = learner
        def __getattr__(self, name): return getattr(self.learner, name)
        def step(self, batch, rate): return noted(batch, rate)

    run._learner = Noted(run._learner)
    reports = list(run)
    run.finish()
    Path(f"{out}-{world.rank}.json").write_text(json.dumps([names, reports[-1].scores.num_images]))
"""


def test_two_processes_and_two_threads_each_show_their_part_of_an_epoch_once(
    sources: dict[str, str], plain: dict[str, str], tmp_path: Path, tiny: Path
) -> None:
    script = tmp_path / "shown.py"
    script.write_text(_SHOWN)
    recipe = tmp_path / "one.toml"
    recipe.write_text(
        tiny.read_text().replace("epochs = 2\nbatch_size = 16", "epochs = 1\nbatch_size = 8\nbatch_norm_images = 4")
    )
    command = (*TORCHRUN, str(script), sources["tar"], str(recipe), str(tmp_path / "run"))
    done = subprocess.run(command, env=plain, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    parts = [json.loads((tmp_path / f"run-{rank}.json").read_text()) for rank in (0, 1)]
    assert [(len(names), num_scored) for names, num_scored in parts] == [(12, 9), (12, 9)]
    assert len({name for names, _ in parts for name in names}) == 24


@pytest.mark.parametrize("form", ["folder", "list", "parquet", "saved", "tar", "streaming"])
def test_an_artefact_is_scored_alike_on_every_form_of_the_same_images(
    cli: Cli, artefact: Path, sources: dict[str, str], form: str
) -> None:
    found, expected = (
        json.loads(cli("evaluate", artefact, source, "--split", "all", "--json").out)
        for source in (sources[form], sources["folder"])
    )
    assert found["num_images"] == 33
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    assert found["confusion"] == expected["confusion"]


def test_a_recipe_adapts_to_a_stream(cli: Cli, sources: dict[str, str]) -> None:
    found, expected = (cli("describe", "quick", "--data", sources[form], "--json") for form in ("tar", "folder"))
    assert (found.status, found.out) == (0, expected.out)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{root}/list.csv?label=kind", "has no column 'kind'; it has path, label, split"),
        ("{root}/list.csv?colour=red", "'colour=red' is no option of this source"),
        ("hf:{root}/parquet?image=photo", "has no column 'photo'; it has image, label"),
        ("wds:{root}/train-{{000..009}}.tar", "train-005.tar: No such file or directory"),
        ("wds:pipe:ls", "is neither a local path nor an http or https address"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    cli: Cli, sources: dict[str, str], tiny: Path, source: str, message: str
) -> None:
    root = Path(sources["folder"]).parent
    shown = cli("train", source.format(root=root), "--recipe", tiny)
    assert (shown.status, shown.out) == (2, "")
    [line] = shown.err.splitlines()
    assert line.startswith("Error: ") and message in line
