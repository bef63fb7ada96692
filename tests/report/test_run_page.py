import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resnext.report.run_page import run_page
from resnext.report.story import RunStory

Tell = Callable[..., RunStory]
Read = Callable[[str], Any]

VOID_OF_ADDRESSES = re.compile(r"(?:data:image/jpeg;base64,[A-Za-z0-9+/=]+|#[\w-]+)")
HOSTILE = "<script>alert('\"1\"')</script>&amp;"


def test_every_fact_of_the_story_is_on_the_page(tell: Tell, read: Read) -> None:
    told = tell()
    words = read(run_page(told)).words
    expected = [
        *("flowers", "resnext29_8x64d", "Whole: 4 epochs of 25 steps.", "3 classes", "1 h 2 min"),
        *("14.29 % of 21 images", "best epoch 4", "0.4321", "single crop 32, shorter side 36"),
        *(fact for pair in told.facts.items() for fact in pair),
        *told.class_names,
        *("31", "32", "33", "85.71", "85.72"),
        *("photos/one of them.png", "87.3 %", "6.1 %", "All 3 on 21 test images"),
        *("Logits are divided by 1.357.", "ECE 9.37 %", "ECE 2.18 %"),
        *("batch_size 64 22 steps an epoch", "augmentation.flip false hands"),
        *("schedule.kind step cosine", "image.mean 0.1, 0.2, 0.3 none", "the rate is out of proportion"),
        'name = "quick" epochs = 4',
        "a/b.png: left out, damaged image",
        *("2026-01-02 03:04 UTC 0 cpu resnext train flowers", "51 2 processes, cuda resnext again"),
    ]
    assert [fact for fact in expected if fact not in words] == []


def test_a_page_needs_nothing_but_itself(tell: Tell, read: Read) -> None:
    html = run_page(tell())
    page = read(html)
    assert "http" not in html
    assert "@import" not in html
    assert len([address for address in page.addresses if address.startswith("data:")]) == 3
    assert [address for address in page.addresses if not VOID_OF_ADDRESSES.fullmatch(address)] == []
    assert re.findall(r"url\((?!#)", html) == []
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)


def test_what_is_referred_to_on_a_page_is_there_once(tell: Tell, read: Read) -> None:
    html = run_page(tell())
    page = read(html)
    assert len(page.ids) == len(set(page.ids))
    referred = set(re.findall(r"url\(#([^)]+)\)", html)) | {a[1:] for a in page.addresses if a.startswith("#")}
    assert referred == set(page.ids)
    assert referred


@pytest.mark.parametrize(
    "field", ["data", "network", "ending", "class_names", "problems", "recipe_toml", "rate_departure", "facts"]
)
def test_names_are_words_on_the_page_and_nothing_more(tell: Tell, read: Read, field: str) -> None:
    values = {"class_names": (HOSTILE, "b"), "problems": (HOSTILE,), "facts": {HOSTILE: HOSTILE}}
    page = read(run_page(tell(**{field: values.get(field, HOSTILE)})))
    assert "script" not in page.tags
    assert HOSTILE in page.words


def test_the_same_story_makes_the_same_page(tell: Tell) -> None:
    assert run_page(tell()) == run_page(tell())


def test_a_run_without_a_whole_epoch_still_has_a_page_that_says_so(tell: Tell, read: Read) -> None:
    stopped = tell(num_epochs=0, is_whole=False, ending="Stopped early, in epoch 1 of 9; 0 of them finished.")
    page = read(run_page(stopped))
    assert "Stopped early, in epoch 1 of 9" in page.words
    assert "No epoch was finished" in page.words
    assert "svg" not in page.tags
    assert "Mistakes" not in page.words
    assert "class 0 31" in page.words


def test_a_run_of_one_epoch_has_its_curves(tell: Tell, read: Read) -> None:
    assert read(run_page(tell(num_epochs=1))).tags.count("svg") == 6


def test_what_was_not_calibrated_has_one_diagram_and_the_reason(tell: Tell, read: Read, examined: Any) -> None:
    plain = replace(examined(("a", "b"), is_calibrated=False), calibration="Not calibrated: no images.")
    page = read(run_page(tell(num_classes=2, examination=plain)))
    assert page.tags.count("svg") == 5
    assert "Not calibrated: no images." in page.words
    assert "After calibration" not in page.words


def test_a_network_without_a_mistake_is_said_to_have_none(tell: Tell, read: Read, examined: Any) -> None:
    page = read(run_page(tell(num_classes=2, examination=examined(("a", "b"), num_mistakes=0))))
    assert "None on the 14 test images." in page.words
    assert "img" not in page.tags


def test_few_classes_have_a_matrix_with_every_count(tell: Tell, read: Read) -> None:
    html = run_page(tell(num_classes=30))
    matrix = html[html.index('<table class="matrix') :].partition("</table>")[0]
    assert len(re.findall(r"--share: 0.857; --colour: var\(--good\)\">6<", matrix)) == 30
    assert len(re.findall(r"--share: 0.143; --colour: var\(--bad\)\">1<", matrix)) == 30
    assert matrix.count('class="none"') == 30 * 28


def test_many_classes_have_the_most_confused_pairs_and_those_that_are_recognised_least(
    tell: Tell, read: Read, examined: Any
) -> None:
    names = tuple(f"kind {number:03}" for number in range(200))
    seen = examined(names)
    worst = replace(seen.scores.classes[150], recall_percent=3.25)
    classes = (*seen.scores.classes[:150], worst, *seen.scores.classes[151:])
    seen = replace(seen, scores=replace(seen.scores, classes=classes), mistakes=())
    html = run_page(tell(class_names=names, examination=seen))
    words = read(html).words
    assert '<table class="matrix' not in html
    assert "The 100 of 200 classes that are recognised least often" in words
    assert words.index("kind 150 181 7 85.71 3.25") < words.index("kind 000")
    assert len(re.findall(r"kind \d+ kind \d+ 1 14\.29", words)) == 20
    assert "Training images of each class" in words


def test_a_page_stays_small_however_much_there_is_to_tell(tell: Tell, examined: Any) -> None:
    names = tuple("x" * 5000 + str(number) for number in range(400))
    problems = tuple("broken " * 1000 + str(number) for number in range(5000))
    told = tell(num_epochs=300, class_names=names, examination=examined(names, num_mistakes=24), problems=problems)
    assert len(run_page(told)) < 500_000


def test_many_problems_are_folded_away_and_counted(tell: Tell, read: Read) -> None:
    problems = tuple(f"image {number}.png: left out" for number in range(1234))
    page = read(run_page(tell(problems=problems)))
    assert "1,234 problems" in page.words
    assert page.words.count(".png: left out") == 200
    assert "and 1,034 more, all in events.jsonl" in page.words


def test_a_recipe_that_is_the_papers_is_said_to_be(tell: Tell, read: Read) -> None:
    words = read(run_page(tell(departures=(), choices=(), rate_departure=None))).words
    assert "It is the paper's in every field that is compared." in words
    assert "departs" not in words
