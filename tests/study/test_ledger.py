import json
import multiprocessing

import pytest
from tests.study.conftest import recipe

from resnext.study.design import Trial
from resnext.study.experiments import EXPERIMENTS, study_of
from resnext.study.ledger import Asked, Ledger, LedgerError, key_of
from resnext.study.scale import read_scale


def test_what_was_written_is_read_back(ledger, outcome, study):
    asked = Asked(study=study, data="greys", data_digest="d" * 64, num_seeds=2)
    entries = [outcome(20.0), outcome(30.0, seed=1), outcome(40.0, form="aggregated")]
    ledger.append(asked)
    for entry in entries:
        ledger.append(entry)
    pages = ledger.read()
    assert pages.asked == (asked,)
    assert list(pages.outcomes.values()) == entries
    assert pages.problems == ()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_study_comes_back_as_it_was_asked(ledger, name):
    asked = Asked(study=study_of(name, read_scale("cifar-small")), data="c", data_digest="d", num_seeds=1)
    ledger.append(asked)
    assert ledger.read().asked == (asked,)


def test_studies_of_other_data_stand_beside_each_other(ledger, study):
    for data in ("a", "b", "a"):
        ledger.append(Asked(study=study, data=data, data_digest=data, num_seeds=1))
    assert [asked.data for asked in ledger.read().asked] == ["b", "a"]


def test_a_ledger_that_is_not_there_is_empty(ledger):
    assert ledger.read().outcomes == {}
    assert not ledger.folder.exists()


def test_runs_are_told_apart_by_recipe_seed_form_and_data():
    keys = {
        key_of(recipe(), 0, "grouped", "a"),
        key_of(recipe(), 1, "grouped", "a"),
        key_of(recipe(), 0, "aggregated", "a"),
        key_of(recipe(), 0, "grouped", "b"),
        key_of(recipe(epochs=3), 0, "grouped", "a"),
    }
    assert len(keys) == 5
    assert key_of(recipe().replace(name="another name"), 0, "grouped", "a") in keys


def test_the_last_line_of_a_run_or_a_study_counts(ledger, outcome, study):
    for num_seeds in (1, 5):
        ledger.append(Asked(study=study, data="greys", data_digest="d", num_seeds=num_seeds))
        ledger.append(outcome(10.0 * num_seeds))
    [asked], [ended] = ledger.read().asked, ledger.read().outcomes.values()
    assert (asked.num_seeds, ended.last_top1_error_percent) == (5, 50.0)


@pytest.mark.parametrize("torn", ["{", '{"kind": "outcome", "seed": 1', '{"kind": "outcome"}'])
def test_an_unfinished_last_line_is_told_and_cut_off_by_the_next(ledger, outcome, torn):
    ledger.append(outcome(20.0))
    with ledger.path.open("a") as file:
        file.write(torn)
    [problem] = ledger.read().problems
    assert problem.endswith(f"the last line was left unfinished, and is not read: {torn}")
    assert len(ledger.read().outcomes) == 1
    ledger.append(outcome(30.0, seed=1))
    assert ledger.read().problems == ()
    assert [line["seed"] for line in map(json.loads, ledger.path.read_text().splitlines())] == [0, 1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no JSON", "line 1 is not read: it is not of a ledger"),
        ("[]", "line 1 is not read: it is not of a ledger"),
        ('{"kind": "poem"}', "line 1 is not read: it is not of a ledger"),
        ('{"kind": "outcome", "seed": 1}', "line 1 is not read: recipe is missing"),
    ],
)
def test_a_line_that_is_not_of_a_ledger_is_named_and_read_past(ledger, outcome, line, said):
    ledger.folder.mkdir()
    ledger.path.write_text(line + "\n")
    ledger.append(outcome(20.0))
    [problem] = ledger.read().problems
    assert said in problem
    assert len(ledger.read().outcomes) == 1


def test_a_file_of_something_else_is_no_ledger(ledger):
    ledger.folder.mkdir()
    ledger.path.write_text("Dear diary,\n")
    with pytest.raises(LedgerError, match="is no ledger, or damaged; restore the file"):
        ledger.read()


def write(folder, first, outcomes):
    for outcome in outcomes:
        Ledger(folder).append(outcome)


def test_processes_that_write_together_lose_nothing(ledger, outcome):
    context = multiprocessing.get_context("fork")
    parts = [[outcome(20.0, seed=10 * part + number) for number in range(10)] for part in range(3)]
    writers = [context.Process(target=write, args=(ledger.folder, number, part)) for number, part in enumerate(parts)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert len(ledger.read().outcomes) == 30


def test_a_run_is_held_by_one_at_a_time(ledger):
    other = Ledger(ledger.folder)
    with ledger.claim("run") as first, other.claim("run") as second, other.claim("another") as third:
        assert (first, second, third) == (True, False, True)
    with ledger.claim("run") as again:
        assert again


def test_figures_are_those_that_a_setting_compares(outcome, study):
    ended = outcome(20.0, views={"ten": 18.0})
    setting = study.settings[0]
    assert ended.figure(setting) == 20.0
    assert ended.figure(setting.replace(quantity="train_top1_error_percent")) == 50
    assert ended.figure(setting.replace(view="ten")) == 18.0
    assert ended.figure(setting.replace(view="larger")) is None
    assert outcome(20.0, failure="the loss became inf").figure(setting) is None


def test_a_run_answers_a_trial_that_asks_for_no_more_views(outcome):
    ended = outcome(20.0, views={"ten": 18.0})
    assert ended.answers(Trial(recipe=recipe(), seed=0, views=frozenset({"ten"})))
    assert not ended.answers(Trial(recipe=recipe(), seed=0, views=frozenset({"ten", "larger"})))
