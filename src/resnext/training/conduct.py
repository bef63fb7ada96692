"""How a run is conducted: where it is kept, whether it goes on, and what it bears."""

from dataclasses import dataclass
from pathlib import Path

from resnext.data.dataset import Data
from resnext.training.checkpoint import TEN_MINUTES, Interval
from resnext.training.folder import free_path
from resnext.training.world import World


@dataclass(frozen=True, kw_only=True)
class Conduct:
    """How a run is conducted: its folder, whether it goes on where a run in it stopped, and what it bears.

    `out` is None for a new folder under `runs/`, named after the data. `interval` is how often a checkpoint is written
    beside the end of each epoch. `max_unreadable` is how many training images may turn out to be unreadable on the
    way; None: one in a hundred, and ten in any case.
    Raises `ValueError` where a run is to be resumed but no folder is given.
    """

    out: Path | None = None
    resumes: bool = False
    interval: Interval = TEN_MINUTES
    max_unreadable: int | None = None

    def __post_init__(self) -> None:
        if self.resumes and self.out is None:
            raise ValueError("resumes = True without out: --resume needs --out, the folder of the run to go on with")

    def folder(self, data: Data, world: World) -> Path:
        """Return the folder of a run on some data.

        Raises `ValueError` where none is given to several processes, which could not find it again after a failure.
        """
        if self.out is not None:
            return self.out
        if world.size > 1:
            raise ValueError(f"out: {world.size} processes need a folder that they find again; give --out")
        return free_path(Path("runs"), Path(data.source.partition("?")[0]).resolve().name)
