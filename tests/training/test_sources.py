from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from resnext.data.dataset import DataError
from resnext.data.open import open_data
from resnext.spec.recipe import Recipe
from resnext.training.run import Run

INDEXED = ("folder", "list", "parquet", "saved")
STREAMED = ("tar", "streaming")


@pytest.fixture(scope="session")
def sources(written: Callable[[Path], dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return written(tmp_path_factory.mktemp("sources") / "images")


def weights(kept: dict[str, Any]) -> dict[str, str]:
    return {name: digest for name, digest in kept.items() if name.startswith("last ") and isinstance(digest, str)}


def test_the_same_images_in_any_indexed_form_give_the_same_weights(
    sources: dict[str, str], start: Callable[..., Run], demanding: Recipe, kept: Callable[[Path], dict[str, Any]]
) -> None:
    learnt = []
    for form in INDEXED:
        run = start(form, data=open_data(sources[form]), recipe=demanding)
        list(run)
        run.finish()
        learnt.append(weights(kept(run.folder.path)))
    assert len(learnt[0]) > 10
    assert all(other == learnt[0] for other in learnt[1:])


@pytest.mark.parametrize("form", STREAMED)
def test_a_stream_trains_and_every_image_is_scored(
    sources: dict[str, str], start: Callable[..., Run], form: str
) -> None:
    run = start(data=open_data(sources[form]), machine={"num_threads": 2})
    list(run)
    result = run.finish()
    assert result.best is not None
    assert (run.state.step, result.best.num_images) == (6, 9)


@pytest.mark.parametrize("form", STREAMED)
@pytest.mark.parametrize("num_steps", [1, 3, 4])
def test_a_run_on_a_stream_that_is_stopped_anywhere_ends_like_one_that_was_not(
    sources: dict[str, str],
    start: Callable[..., Run],
    demanding: Recipe,
    kept: Callable[[Path], dict[str, Any]],
    form: str,
    num_steps: int,
) -> None:
    data = open_data(sources[form])
    peace = start("peace", data=data, recipe=demanding)
    list(peace)
    peace.finish()
    stopped = start("stopped", data=data, recipe=demanding)
    list(islice(stopped, num_steps))
    stopped.finish()
    again = start("stopped", data=open_data(sources[form]), recipe=demanding, resumes=True)
    assert again.first_step > 0
    list(again)
    again.finish()
    assert weights(kept(again.folder.path)) == weights(kept(peace.folder.path))


def test_balanced_sampling_of_a_stream_is_refused(
    sources: dict[str, str], start: Callable[..., Run], recipe: Recipe
) -> None:
    with pytest.raises(DataError, match=r"sampling = 'balanced': .* is a stream"):
        start(data=open_data(sources["tar"]), recipe=recipe.replace(sampling="balanced"))
