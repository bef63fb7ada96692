"""What is done once a run has trained: a temperature is fitted, the test split scored once, and a report written."""

from contextlib import suppress
from dataclasses import dataclass

from resnext.artefact.manifest import Calibration, Manifest, Measurement
from resnext.artefact.sealed import write_atomically
from resnext.evaluation.outputs import Outputs
from resnext.model.network import Network
from resnext.training.examination import scores_of
from resnext.training.journal import Journal
from resnext.training.record import Result, calibrate, measure
from resnext.training.scorer import Scorer
from resnext.training.state import TrainingState
from resnext.training.story import tell


@dataclass(slots=True, kw_only=True)
class Ending:
    """Ends a run, whole or stopped early; `heard` is what the best network said of a split, and of which."""

    journal: Journal
    scorer: Scorer
    state: TrainingState
    is_whole: bool
    heard: tuple[str, Outputs] | None = None

    def carry_out(self) -> Result:
        """Calibrate what is kept, score the best on the test split, log the end and report it."""
        calibration = self._calibrate()
        test = self._score_test() if self.is_whole and self.scorer.task.data.scores_test else None
        result = self.journal.close(self.state, test, calibration, is_whole=self.is_whole)
        self._report()
        self.journal.folder.release()
        return result

    def _calibrate(self) -> Calibration | str:
        """Write a temperature into each artefact that was scored on a validation split; return that of the best.

        It is fitted on the weights as shipped, so that the artefact's own probabilities are those that it is for.
        """
        memory, split = self.journal.memory, self.scorer.task.data.selection
        if split == "test":
            return "the best epoch was chosen on the test set, and no temperature is fitted on that"
        if memory.best is None:
            return f"no epoch was scored on the {split} images"
        network, manifest = self.journal.artefact("best")
        self.heard = split, self.scorer.outputs(network, split)
        calibration = self._fitted(self.heard[1])
        self._keep_calibration("best", network, manifest, calibration)
        if self.journal.is_scored(self.state):
            network, manifest = self.journal.artefact("last")
            is_best = memory.best_epoch == self.state.epoch
            own = calibration if is_best else self._fitted(self.scorer.outputs(network, split))
            self._keep_calibration("last", network, manifest, own)
        return calibration

    def _fitted(self, outputs: Outputs) -> Calibration:
        """Fit a temperature in one process for all, so that all go on with the same figures to the last bit."""
        return self.scorer.world.first(lambda: calibrate(outputs, self.scorer.task.data.selection))

    def _keep_calibration(self, name: str, network: Network, manifest: Manifest, found: Calibration) -> None:
        if found != manifest.calibration:
            self.journal.rewrite(name, network, manifest.replace(calibration=found))

    def _score_test(self) -> Measurement:
        """Score the best artefact, as shipped, on the test split, and write the score into it."""
        network, manifest = self.journal.artefact("best")
        task = self.scorer.task
        self.heard = "test", self.scorer.outputs(network, "test")
        measurement = measure(scores_of(self.heard[1], task.data.class_names), "test", task)
        kept = (measured for measured in manifest.measurements if measured.split != measurement.split)
        self.journal.rewrite("best", network, manifest.replace(measurements=(*kept, measurement)))
        return measurement

    def _report(self) -> None:
        """Write the page about the run; where that fails, say so, for no page is worth a run."""
        page = self.journal.folder.report
        self.scorer.world.first(lambda: page.unlink(missing_ok=True))  # an older one would tell another end
        try:
            if self.heard is None and self.journal.memory.best is not None:
                split = self.scorer.task.data.selection
                self.heard = split, self.scorer.outputs(self.journal.artefact("best")[0], split)
            failure = self.scorer.world.first(self._draw_report)
        except (OSError, ValueError) as error:  # images or the artefact are gone, in every process alike
            failure = str(error)
        if failure:
            with suppress(OSError):
                self.journal.note([f"{page}: not made, {failure}"])

    def _draw_report(self) -> str:
        """Write the page; return what went wrong, for errors of any kind can not travel between processes."""
        from resnext.report.run_page import run_page  # noqa: PLC0415 - matplotlib takes half a second to load

        folder = self.journal.folder
        try:
            write_atomically(folder.report, run_page(tell(folder, self.scorer.task, self.heard)).encode())
        except Exception as error:
            return str(error) or type(error).__name__
        return ""
