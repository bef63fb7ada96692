import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnext.artefact.manifest import Calibration, Manifest
from resnext.artefact.store import save_artefact
from resnext.imaging.transform import stack
from resnext.inference.classifier import Classifier, Prediction
from resnext.inference.load import load
from resnext.model.network import Network

temperatures = st.floats(0.05, 20)


def at(classifier: Classifier, temperature: float) -> Classifier:
    """Return the classifier under another temperature."""
    calibration = Calibration(
        temperature=temperature, split="val", num_images=9, ece_before_percent=2.0, ece_after_percent=1.0
    )
    return Classifier(classifier.manifest.replace(calibration=calibration), classifier.engine, classifier.device)


@given(temperature=temperatures)
def test_probabilities_are_the_softmax_of_logits_over_the_temperature_and_logits_stay_raw(
    classifier: Classifier, pictures: list[Path], temperature: float
) -> None:
    calibrated = at(classifier, temperature)
    pixels = stack([classifier.prepare(path) for path in pictures[:4]])
    logits = classifier.logits(pixels)
    assert torch.equal(calibrated.logits(pixels), logits)
    assert calibrated.temperature == temperature
    expected = (logits.double() / temperature).softmax(dim=1)
    for answer, row in zip(calibrated.predict(pictures[:4]), expected, strict=True):
        found = [answer.probabilities[answer.labels.index(name)] for name in classifier.class_names]
        assert found == pytest.approx(row.tolist(), rel=1e-6)


@given(temperature=temperatures)
def test_no_temperature_changes_the_order_of_the_answers(
    classifier: Classifier, pictures: list[Path], temperature: float
) -> None:
    found = at(classifier, temperature).predict(pictures[:8])
    assert [answer.labels for answer in found] == [answer.labels for answer in classifier.predict(pictures[:8])]
    assert all(list(answer.probabilities) == sorted(answer.probabilities, reverse=True) for answer in found)


def test_the_order_is_that_of_the_logits_though_probabilities_are_too_small_to_tell_apart(
    classifier: Classifier, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = at(classifier, 0.05)
    monkeypatch.setattr(cold, "logits", lambda _: torch.tensor([[-900.0, 0.0, -800.0]]))
    [answer] = cold.predict(pictures[0])
    assert answer.labels == ("banana", "cherry", "apple")
    assert answer.probabilities == (1, 0, 0)


def test_an_artefact_written_before_there_was_calibration_answers_as_it_did(
    classifier: Classifier, network: Network, pictures: list[Path], tmp_path: Path
) -> None:
    words = json.loads(classifier.manifest.to_json())
    del words["calibration"]
    save_artefact(tmp_path / "old.safetensors", network, Manifest(**words))
    old = load(tmp_path / "old.safetensors", device="cpu")
    assert old.temperature == 1
    [answer] = old.predict(pictures[0])
    expected = classifier.logits(stack([classifier.prepare(pictures[0])])).softmax(dim=1)[0]
    assert answer.probability == pytest.approx(float(expected.max()), rel=1e-6)


def test_an_answer_is_known_from_the_threshold_on() -> None:
    answer = Prediction(("cat", "dog"), (0.75, 0.25))
    assert [answer.is_known(threshold) for threshold in (0.5, 0.75, 0.7500001)] == [True, True, False]
