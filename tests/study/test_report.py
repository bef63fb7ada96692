import pytest

from resnext.evaluation.estimate import Estimate
from resnext.study.calculated import CALCULATED
from resnext.study.design import Answered
from resnext.study.experiments import study_of
from resnext.study.ledger import Asked
from resnext.study.report import tell
from resnext.study.runner import resolved
from resnext.study.scale import read_scale
from resnext.training.machine import Machine


def asked(study, **fields):
    given = {"data": "greys", "data_digest": "d" * 64, "num_seeds": 3, **fields}
    return Asked(study=study, **given)


@pytest.fixture
def filled(ledger, study, outcome):
    """A ledger of three seeds, in which paths help by about a point."""
    ledger.append(asked(study))
    for seed in range(3):
        for model, error in (("resnet11_1x4d", 30.0), ("resnext11_2x2d", 29.5), ("resnext11_4x1d", 29.0)):
            ledger.append(outcome(error + 0.1 * seed * (model == "resnet11_1x4d"), seed=seed, model=model))
    return ledger


def test_a_table_has_means_over_seeds_and_a_verdict(filled):
    [table] = tell(filled).tables
    assert [line.setting for line in table.lines] == ["wide", "both", "many"]
    means = [line.last.mean for line in table.lines if line.last]
    assert means == [pytest.approx(30.1), 29.5, 29.0]
    assert table.lines[1].last == Estimate(29.5, None, 3)
    assert table.lines[1].best == Estimate(28.5, None, 3)
    assert table.verdict == "supports"
    assert table.page_p is not None
    assert table.page_p < 0.05
    assert table.is_proxy


def test_curves_are_means_over_seeds(filled):
    [table] = tell(filled).tables
    assert [(point.epoch, point.train) for point in table.lines[1].curve] == [(1, 60), (2, 50)]


def test_a_setting_that_was_not_run_has_no_figures(ledger, study):
    ledger.append(asked(study))
    [table] = tell(ledger).tables
    assert [(line.last, line.seconds, line.curve) for line in table.lines] == [(None, None, ())] * 3
    assert (table.verdict, table.num_seeds) == ("inconclusive", 3)


def test_a_run_that_failed_is_counted_and_has_no_figure(ledger, study, outcome):
    ledger.append(asked(study))
    ledger.append(outcome(50.0, failure="the loss became inf", curve=(), last_top1_error_percent=None))
    [table] = tell(ledger).tables
    assert (table.lines[1].num_failed, table.lines[1].last) == (1, None)


def test_all_seeds_that_the_ledger_holds_are_told(filled, study):
    filled.append(asked(study, num_seeds=1))
    [table] = tell(filled).tables
    assert table.num_seeds == 1
    assert table.lines[1].last == Estimate(29.5, None, 3)


def test_a_study_that_claims_nothing_has_no_verdict(ledger, study):
    ledger.append(asked(study.replace(claim="")))
    assert tell(ledger).tables[0].verdict is None


def test_published_figures_stand_beside_settings(ledger, data):
    digits = resolved(study_of("table3", read_scale("digits")), data, Machine())
    ledger.append(asked(digits))
    [table] = tell(ledger).tables
    assert [line.paper.value for line in table.lines if line.paper] == [23.9, 23.0, 22.6, 22.3, 22.2]
    assert 18.8 in [other.value for other in table.lines[-1].others]
    assert table.departures


def test_table_7_is_of_the_cifar_that_was_trained_on(ledger, data):
    study = resolved(study_of("table7", read_scale("cifar")), data, Machine())
    for source, error in (("cifar10", 3.65), ("cifar100", 17.77)):
        ledger.append(asked(study, data=source, data_digest=source))
        paper = tell(ledger).tables[-1].lines[0].paper
        assert paper is not None
        assert paper.value == error


def test_every_line_says_how_to_make_it_again(filled, study):
    [table] = tell(filled).tables
    assert table.rerun == "resnext study run tiny --scale digits --seeds 3 --data DATA"
    assert table.lines[0].rerun == f"{table.rerun} --only wide"
    filled.append(asked(study.replace(scale="own", data="DATA")))
    assert tell(filled).tables[-1].rerun == "resnext study run tiny.toml --seeds 3 --data DATA"


@pytest.mark.parametrize(
    ("data", "named"), [("digits", ""), ("cifar100", " --data cifar100:ROOT"), ("hf:someone/flowers", " --data DATA")]
)
def test_data_is_named_without_the_place_where_it_was(ledger, study, data, named):
    ledger.append(asked(study, data=data))
    assert tell(ledger).tables[0].rerun == f"resnext study run tiny --scale digits --seeds 3{named}"


def test_others_figures_stand_beside_the_plain_network_alone(ledger, data):
    study = resolved(study_of("shortcuts", read_scale("digits")), data, Machine())
    ledger.append(asked(study))
    lines = {line.setting: line for line in tell(ledger).tables[0].lines}
    assert lines["resnext11_32x2d"].others
    assert lines["resnext11_32x2d, without shortcuts"].others == ()


def test_a_figure_that_is_no_longer_held_under_its_name_is_left_out(ledger, study):
    [setting, *others] = study.settings
    gone = setting.replace(answers=Answered(table="Table 9", setting="resnet50"))
    ledger.append(asked(study.replace(settings=[gone, *others])))
    assert tell(ledger).tables[0].lines[0].paper is None


def test_facts_say_where_runs_were_made(filled):
    facts = tell(filled).tables[0].facts
    assert facts["runs"] == "9, 0.0 hours in all"
    assert facts["made on"] == "cpu, 2 cores"
    assert facts["commits"] == "not from a checkout"


def test_runs_that_were_made_in_several_ways_are_told_apart(filled, outcome):
    filled.append(outcome(30.0, seed=3, processor="H200", device="cuda", is_compiled=True))
    assert tell(filled).tables[0].facts["made on"] == "cpu, 2 cores (9), H200, 2 cores, compiled (1)"


def test_a_torn_ledger_is_told(filled):
    with filled.path.open("a") as file:
        file.write("{")
    [problem] = tell(filled).problems
    assert "the last line was left unfinished" in problem


def test_every_calculated_number_is_the_published_one():
    for calculate in CALCULATED.values():
        found = calculate()
        assert found.is_equal
        assert any(paper is not None for _, values in found.rows for _, paper in values)
