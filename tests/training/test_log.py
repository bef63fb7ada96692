from pathlib import Path

import pytest

from resnext.training import log
from resnext.training.log import read_log


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "start"}\n{"event": "epoch"}\n{"event": "en')
    assert read_log(path) == ({"event": "start"}, {"event": "epoch"})
    assert read_log(tmp_path / "none.jsonl") == ()


@pytest.mark.parametrize("line", ["not json", "[1, 2]", "7", '"text"', "\udcff"])
def test_what_no_run_wrote_is_refused_by_name(tmp_path: Path, line: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(ValueError, match=r"events\.jsonl holds lines that are no objects of JSON"):
        read_log(path)


def test_a_log_beyond_all_measure_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_LOG_BYTES", 10)
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": 1}\n')
    with pytest.raises(ValueError, match="has 13 bytes, more than the 10"):
        read_log(path)
