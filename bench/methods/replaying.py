"""A method that is a learner over the newest games: what it keeps, and how it goes on where it stopped."""

import pickle
from pathlib import Path

from bench.methods.method import Method
from bench.playing.games import Played
from worker.archer.learner import Learner

STATE, REPLAY = "learner.pt", "replay.pickle"


class ReplayingMethod(Method):
    """Learner and replay."""

    def __init__(self, learner: Learner, per_step: int) -> None:
        self.learner = learner
        self.actor = learner.actor
        self.per_step = per_step
        self.kept: list[Played] = []
        """The newest games last."""

    def save(self, folder: Path) -> None:
        """Learner and replay."""
        self.learner.save(folder / STATE)
        (folder / REPLAY).write_bytes(pickle.dumps(self.kept))

    def restore(self, folder: Path) -> None:
        """Go on as if never stopped."""
        self.learner.restore(folder / STATE)
        self.kept = pickle.loads((folder / REPLAY).read_bytes())
