import shutil

import pytest
import torch
from tests.study.conftest import recipe

from resnext.model.device import processor
from resnext.spec.value import SpecError
from resnext.study.cost import Costs, made_here
from resnext.study.design import Contrast, Trial
from resnext.study.ledger import Ledger, LedgerError
from resnext.study.runner import resolved
from resnext.study.trial import run_trial, to_the_end
from resnext.training.log import read_log
from resnext.training.machine import Machine, num_cores


def three_steps(run):
    """Watch a run for three steps, which is into its second epoch, and stop."""
    for report in run:
        if report.step == 3:
            return


def made(runner):
    return [turn.trial.recipe.network().name for turn in runner]


def test_every_run_is_made_once_and_none_again(runner, ledger):
    assert made(runner(num_seeds=2)) == 2 * ["resnext11_4x1d", "resnet11_1x4d"] + 2 * ["resnext11_2x2d"]
    assert len(ledger.read().outcomes) == 6
    assert made(runner(num_seeds=2)) == []
    assert len(made(runner(num_seeds=3))) == 3


def test_a_turn_says_where_it_stands(runner):
    places = [(turn.number, turn.num_trials) for turn in runner()]
    assert places == [(1, 3), (2, 3), (3, 3)]


def test_an_outcome_says_what_the_run_reached_and_who_made_it(runner, ledger):
    list(runner())
    for outcome in ledger.read().outcomes.values():
        assert 0 <= outcome.last_top1_error_percent <= 100
        assert outcome.best_top1_error_percent == min(errors.held_out for errors in outcome.curve)
        assert outcome.last_top1_error_percent == outcome.curve[-1].held_out
        assert (len(outcome.curve), outcome.num_images, outcome.split) == (2, 9, "test")
        assert outcome.wall_seconds > 0
        assert outcome.versions["torch"]


def test_studies_share_the_runs_that_both_need(runner, study):
    list(runner())
    other = study.replace(name="other", settings=study.settings[:1], contrasts=(), order=())
    assert runner(study=other).outlook().num_done == 1


def test_a_run_that_was_stopped_goes_on_where_it_was_and_ends_the_same(runner, ledger, data, tmp_path):
    runner_ = runner(watch=three_steps)
    assert len(made(runner_)) == 1
    assert ledger.read().outcomes == {}
    half, whole, *_ = runner().outlook().forecast_seconds
    assert half < whole
    list(runner())
    key, trial = next(iter(runner_.trials.items()))
    folder = ledger.run_folder(key)
    assert [line["after_step"] for line in read_log(folder / "attempts.jsonl")] == [0, 3]
    undisturbed = run_trial(trial, data, tmp_path / "alone", Machine())
    [again] = [outcome for outcome in ledger.read().outcomes.values() if outcome.recipe == trial.recipe]
    assert undisturbed is not None
    assert (again.curve, again.last_top1_error_percent) == (undisturbed.curve, undisturbed.last_top1_error_percent)


def test_a_run_that_another_process_makes_is_left_to_it(runner, ledger):
    mine = runner()
    (key, first), turns = next(iter(mine.trials.items())), iter(mine)
    with Ledger(ledger.folder).claim(key) as is_theirs:
        assert is_theirs
        assert [next(turns).trial for _ in range(3)] == [*list(mine.trials.values())[1:], None]
    assert next(turns).trial == first


def test_more_views_of_a_run_that_is_there_are_scored_without_training_it_again(runner, study, ledger):
    list(runner())
    viewed = study.replace(
        settings=[study.settings[0].replace(name=view, view=view) for view in ("single", "larger", "ten")],
        contrasts=[Contrast(name="ten against single", weights={"ten": 1.0, "single": -1.0})],
        order=(),
    )
    assert len(made(runner(study=viewed))) == 1
    [outcome] = [outcome for outcome in ledger.read().outcomes.values() if outcome.views]
    assert set(outcome.views) == {"larger", "ten"}
    assert [line["after_step"] for line in read_log(ledger.run_folder(outcome.key) / "attempts.jsonl")] == [0, 4]


def test_views_of_a_run_whose_weights_are_gone_are_refused_and_its_figures_stay(runner, study, ledger):
    plain = study.replace(settings=study.settings[:1], contrasts=(), order=())
    list(runner(study=plain))
    before = ledger.read().outcomes
    shutil.rmtree(ledger.folder / "runs")
    viewed = plain.replace(settings=[plain.settings[0].replace(view="ten")])
    with pytest.raises(LedgerError, match="without its weights, which ten crops are to be scored with"):
        list(runner(study=viewed))
    assert ledger.read().outcomes == before


def test_a_run_stops_at_the_deadline_and_the_next_call_goes_on(runner, ledger):
    def until_the_deadline(run):
        for _ in run:
            return  # as a watch does that finds the deadline past

    assert len(made(runner(watch=until_the_deadline))) == 1
    assert ledger.read().outcomes == {}
    assert len(made(runner())) == 3


def test_a_run_that_memory_does_not_suffice_for_is_passed_over_and_the_others_are_made(runner, ledger):
    def short_of_memory(run):
        if run.task.recipe.network().cardinality == 4:
            raise MemoryError("out of memory at step 1")
        to_the_end(run)

    mine = runner(watch=short_of_memory)
    assert len(made(mine)) == 3
    assert list(mine.passed_over.values()) == ["resnext11_4x1d, seed 0: out of memory at step 1"]
    assert len(ledger.read().outcomes) == 2
    assert mine.num_left() == 1


def test_a_run_whose_loss_becomes_infinite_is_written_down_and_not_tried_again(runner, study, ledger):
    wild = recipe(optimiser={"learning_rate": 1e30})
    wild_study = study.replace(settings=[study.settings[0].replace(name="wild", recipe=wild)], contrasts=(), order=())
    assert len(made(runner(study=wild_study))) == 1
    [outcome] = ledger.read().outcomes.values()
    assert "loss" in outcome.failure
    assert made(runner(study=wild_study)) == []


def test_nothing_is_begun_that_does_not_fit_into_the_budget(runner, ledger, outcome):
    ledger.append(here(outcome, wall_seconds=100.0))
    assert runner(budget_seconds=50.0).outlook().num_affordable == 0
    assert made(runner(budget_seconds=50.0)) == []
    assert runner(budget_seconds=150.0).outlook().num_affordable == 1


def here(outcome, **fields):
    """Return an outcome as of a run that was made on this machine."""
    way = {
        "processor": processor(torch.device("cpu")),
        "num_cores": num_cores(),
        "num_threads": torch.get_num_threads(),
    }
    return outcome(**{**way, **fields})


def test_what_a_run_costs_is_what_it_cost_here_before_else_in_proportion_to_its_macs(data, outcome):
    elsewhere = here(outcome, wall_seconds=1.0, processor="another", model="resnext11_4x1d")
    failed = here(outcome, wall_seconds=1.0, failure="the loss became inf", model="resnext11_4x1d")
    made = made_here([here(outcome, wall_seconds=8.0), elsewhere, failed], data, Machine())
    assert [one.wall_seconds for one in made] == [8.0]
    found = Costs(data=data, made=made, measured=lambda _: pytest.fail("nothing has to be timed"))
    assert found.seconds(Trial(recipe=recipe(), seed=7)) == 8.0
    assert found.seconds(Trial(recipe=recipe(), seed=7), fraction=0.25) == 2.0
    longer = Trial(recipe=recipe(epochs=4), seed=0)
    # 16 images, trained 2 times and then 4, at three passes each; 9 scored after each epoch and once at the end
    assert found.seconds(longer) == pytest.approx(8.0 * (3 * 16 * 4 + 9 * 5) / (3 * 16 * 2 + 9 * 3))


def test_a_form_that_was_never_made_here_is_timed(data, outcome):
    made = made_here([here(outcome)], data, Machine())
    found = Costs(data=data, made=made, measured={"aggregated": 1e6}.__getitem__)
    grouped, aggregated = (
        found.seconds(Trial(recipe=recipe(), seed=0, form=form)) for form in ("grouped", "aggregated")
    )
    assert grouped == 10.0
    assert aggregated > 0


def test_the_forecast_of_an_empty_ledger_is_timed_on_real_steps(runner):
    outlook = runner().outlook()
    assert len(outlook.pending) == len(outlook.forecast_seconds) == 3
    assert all(seconds > 0 for seconds in outlook.forecast_seconds)


def test_other_data_than_the_papers_makes_a_proxy(study, data):
    claimed = study.replace(is_proxy=False, scale="cifar")
    assert resolved(claimed, data, Machine()).is_proxy
    assert not resolved(study.replace(is_proxy=False, scale="own"), data, Machine()).is_proxy


def test_only_some_settings_are_made_but_the_whole_study_is_asked(runner, ledger, study):
    assert made(runner(only=("both",))) == ["resnext11_2x2d"]
    [asked] = ledger.read().asked
    assert [setting.name for setting in asked.study.settings] == [setting.name for setting in study.settings]


def test_a_study_is_written_down_once_however_often_it_is_asked(runner, ledger):
    for num_seeds in (1, 1, 2):
        runner(num_seeds=num_seeds).ask()
    assert len(ledger.path.read_text().splitlines()) == 2


def test_a_study_has_a_seed_at_least(runner):
    with pytest.raises(SpecError, match="seeds = 0: at least 1 is needed"):
        runner(num_seeds=0)
