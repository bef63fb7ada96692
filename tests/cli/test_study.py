import json
import random
import signal
import time

import pytest

from resnext.study.ledger import Ledger

SWEEP = """\
recipe = "{recipe}"
[axes]
cardinality = [1, 2]
"""


@pytest.fixture
def sweep(tmp_path, tiny):
    path = tmp_path / "paths.toml"
    path.write_text(SWEEP.format(recipe=tiny))
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "study"


def lines(out, kind):
    return [line for line in map(json.loads, (out / "ledger.jsonl").read_text().splitlines()) if line["kind"] == kind]


def test_the_list_has_every_experiment_and_scale(cli, golden):
    golden("study_list.txt", cli("study", "list").out)


def test_table_2_is_calculated_and_nothing_is_trained(cli, golden, out):
    shown = cli("study", "run", "table2", "--out", out)
    golden("study_table2.txt", shown.out)
    assert not out.exists()


def test_a_sweep_is_trained_reported_and_not_trained_again(cli, sweep, photos, out):
    first = cli("study", "run", sweep, "--seeds", 2, "--data", photos, "--threads", 0, "--out", out)
    assert first.status == 0, first.err
    assert "run 1 of 4: resnext11_2x2d, seed 0" in first.err
    assert len(lines(out, "outcome")) == 4
    again = cli("study", "run", sweep, "--seeds", 2, "--data", photos, "--out", out)
    assert (again.status, len(lines(out, "outcome"))) == (0, 4)
    assert "4 of 4 runs are done." in again.err
    shown = cli("study", "report", "--out", out)
    assert shown.out.split() == [str(out / "report.html"), str(out / "report.md")]
    assert "cardinality 2" in (out / "report.md").read_text()


def test_a_forecast_trains_nothing(cli, sweep, photos, out):
    shown = cli("study", "run", sweep, "--data", photos, "--out", out, "--dry-run")
    assert shown.status == 0
    assert "0 of 6 runs are done" in shown.err
    assert not out.exists()


def test_a_budget_too_small_for_one_run_is_said_with_the_forecast_before_anything_starts(cli, out):
    shown = cli("study", "run", "table3", "--scale", "digits", "--out", out, "--budget", "1s", "--seeds", 1)
    assert shown.status == 2
    assert "Error: --budget 1s: the cheapest run still to be made takes about" in shown.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("table9",), "there is none of that name; there are table3, table4"),
        (("table3", "--scale", "huge"), "there are digits, cifar-small, cifar, imagenet"),
        (("table3", "--scale", "cifar"), "table3 is trained on cifar10:ROOT; give it, such as --data cifar10:ROOT"),
        (("table3", "--budget", "soon"), "--budget soon: give a time, such as 90min or 8h"),
        (("table3", "--budget", "90"), "--budget 90: give a time, such as 90min or 8h"),
        (("table3", "--only", "resnet50"), "no setting of table3 is called 'resnet50'; there are resnet11_1x32d"),
        (("nothing.toml",), "nothing.toml cannot be read"),
        (("nothing.toml", "--scale", "digits"), "a sweep has no scale"),
        (("table3", "--data", "nowhere"), "no data at 'nowhere'"),
    ],
)
def test_what_cannot_be_studied_is_one_sentence(cli, out, arguments, said):
    shown = cli("study", "run", *arguments, "--out", out)
    assert shown.status == 2
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not out.exists()


def test_a_report_of_nothing_says_how_to_begin(cli, out):
    shown = cli("study", "report", "--out", out)
    assert shown.status == 2
    assert f"`resnext study run table3 --out {out}` begins one" in shown.err


def test_a_torn_last_line_is_said_once_and_the_study_goes_on(cli, sweep, photos, out):
    arguments = ("study", "run", sweep, "--seeds", 1, "--data", photos, "--threads", 0, "--out", out)
    cli(*arguments)
    path = out / "ledger.jsonl"
    path.write_text(path.read_text()[:-20])
    shown = cli(*arguments)
    assert shown.status == 0, shown.err
    assert shown.err.count("the last line was left unfinished") == 1
    assert len(lines(out, "outcome")) == 2
    assert len(Ledger(out).read().outcomes) == 2


def test_a_study_that_is_killed_at_any_moment_repeats_and_loses_nothing(start, sweep, photos, out, cli, tmp_path):
    arguments = ("study", "run", sweep, "--seeds", 3, "--data", photos, "--threads", 0, "--out", out)
    moments = random.Random(0)
    for _ in range(6):
        started = start(*arguments)
        time.sleep(moments.uniform(0.2, 1.5))
        started.kill()
    ended = cli(*arguments)
    assert ended.status == 0, ended.err
    keys = [outcome.key for outcome in Ledger(out).read().outcomes.values()]
    assert len(lines(out, "outcome")) == len(keys) == 6
    cli("study", "run", sweep, "--seeds", 3, "--data", photos, "--threads", 0, "--out", tmp_path / "peace")
    errors = {
        folder: {key: outcome.curve for key, outcome in Ledger(folder).read().outcomes.items()}
        for folder in (out, tmp_path / "peace")
    }
    assert errors[out] == errors[tmp_path / "peace"]


def test_a_run_that_takes_longer_than_was_thought_is_stopped_when_the_budget_is_spent(cli, sweep, photos, out):
    arguments = ("--seeds", 1, "--data", photos, "--threads", 0, "--out", out)
    cli("study", "run", sweep, *arguments)
    path = out / "ledger.jsonl"
    made = [{**line, "wall_seconds": 1e-6} if "wall_seconds" in line else line for line in lines(out, "outcome")]
    path.write_text("".join(json.dumps(line) + "\n" for line in made))
    longer = sweep.with_name("longer.toml")
    longer.write_text(sweep.read_text().replace("[axes]", "[set]\nepochs = 100000\n[axes]"))
    stopped = cli("study", "run", longer, *arguments, "--budget", "3s")
    assert stopped.status == 0, stopped.err
    assert "2 of 2 runs are still to be made; the same command goes on." in stopped.err
    assert len(lines(out, "outcome")) == 2
    [checkpoint, *_] = (out / "runs").glob("*/checkpoints/*")
    assert checkpoint.exists()


def test_a_damaged_line_is_named_and_the_others_are_told(cli, sweep, photos, out):
    cli("study", "run", sweep, "--seeds", 1, "--data", photos, "--threads", 0, "--out", out)
    with (out / "ledger.jsonl").open("a") as file:
        file.write("damaged\n")
    shown = cli("study", "report", "--out", out)
    assert shown.status == 0
    assert "line 4 is not read: it is not of a ledger" in shown.err
    assert "cardinality 2" in (out / "report.md").read_text()


def test_settings_that_share_runs_count_them_once_and_only_those_that_are_made_are_listed(cli, out):
    shown = cli("study", "run", "protocols", "--out", out, "--dry-run", "--seeds", 1)
    rows = [line for line in shown.out.splitlines() if line.startswith("resne")]
    assert len(rows) == 6
    assert sum("the same" in row for row in rows) == 4
    only = cli("study", "run", "table3", "--out", out, "--dry-run", "--only", "resnet11_1x32d")
    assert [line.split()[0] for line in only.out.splitlines() if line.startswith("resne")] == ["resnet11_1x32d"]


def test_ctrl_c_keeps_what_was_learnt_and_says_how_to_go_on(start, sweep, photos, out):
    started = start("study", "run", sweep, "--seeds", 3, "--data", photos, "--threads", 0, "--out", out)
    started.until(lambda: "epoch 1/2" in started.err.read_text())
    started.send(signal.SIGINT)
    done = started.wait()
    assert done.status == 130
    assert "runs are still to be made; the same command goes on" in done.err
    assert "Traceback" not in done.err


def test_two_studies_at_once_on_one_ledger_share_the_work(start, sweep, photos, out):
    arguments = ("study", "run", sweep, "--seeds", 2, "--data", photos, "--threads", 0, "--out", out)
    both = [start(*arguments), start(*arguments)]
    done = [each.wait(120) for each in both]
    assert [each.status for each in done] == [0, 0], [each.err for each in done]
    assert len(lines(out, "outcome")) == len(Ledger(out).read().outcomes) == 4
