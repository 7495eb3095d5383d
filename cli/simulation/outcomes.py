"""Outcomes that come late: each is told so many conversations after its own has ended, or never."""

from collections.abc import Callable
from heapq import heappop, heappush

from cli.simulation.conversing import Conversation


class LateOutcomes:
    """What is still to be told. `reward` tells what a turn earned."""

    def __init__(self, reward: Callable[[str, float], None]) -> None:
        self._reward = reward
        self._ended = 0
        self._waiting: list[tuple[int, int, Conversation]] = []

    def add(self, conversation: Conversation, delay: int | None) -> None:
        """One more has ended: tell what is due now. After 0 it was told already, after None it never is."""
        self._ended += 1
        if delay:
            heappush(self._waiting, (self._ended + delay, self._ended, conversation))
        while self._waiting and self._waiting[0][0] <= self._ended:
            self._tell_next()

    def tell_rest(self) -> None:
        """Nobody talks any more: what would have come later comes now."""
        while self._waiting:
            self._tell_next()

    def _tell_next(self) -> None:
        for turn in heappop(self._waiting)[2].outcome:
            self._reward(turn.id, turn.reward)
