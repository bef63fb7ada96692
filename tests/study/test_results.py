import re
from pathlib import Path

import pytest

from resnext.report.study_text import study_markdown, study_summary
from resnext.study.ledger import Ledger
from resnext.study.report import tell

ROOT = Path(__file__).parents[2]
PAGES = {"docs/results.md": study_markdown, "README.md": study_summary}
_TABLE = re.compile(r"(?<=<!-- results -->\n)(.*?)(?=\n<!-- end of results -->)", re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_published_results_are_what_the_committed_ledger_says(page: str, request: pytest.FixtureRequest) -> None:
    path = ROOT / page
    told = PAGES[page](tell(Ledger(ROOT / "benchmarks" / "study"))).strip()
    text = path.read_text(encoding="utf-8")
    is_whole_page = page.startswith("docs/")
    if request.config.getoption("--update-golden"):
        path.write_text(f"{told}\n" if is_whole_page else _TABLE.sub(lambda _: told, text), encoding="utf-8")
        return
    [shown] = [text.strip()] if is_whole_page else _TABLE.findall(text)
    assert shown == told, f"{page} differs from the ledger; make golden writes it anew"
