"""The page about studies: each question, ours beside the paper's figures, what follows, and how to run it again."""

from resnext.report import study_words as words
from resnext.report.page import render, svg
from resnext.report.study_figures import drawings
from resnext.report.study_story import StudyStory

_MOST_PROBLEMS = 200


def study_page(story: StudyStory) -> str:
    """Return the report of a ledger as one HTML page that refers to nothing outside itself."""
    return render(
        "study.html.jinja",
        story=story,
        words=words,
        overviews=tuple(map(words.overview, story.tables)),
        figures=tuple(tuple((drawing, svg(drawing.figure)) for drawing in drawings(table)) for table in story.tables),
        problems=story.problems[:_MOST_PROBLEMS],
    )
