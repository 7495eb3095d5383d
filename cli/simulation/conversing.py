"""Simulated users' conversations with an agent, from the opening message to the close; knows no score."""

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from cli.simulation.calls import Calls
from sim.task import End, Task

CAP = "cap"
"""What the service calls the end of an episode whose agent has had all the turns that it may have."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One reply: the version that made it, and what the user makes of it."""

    id: str
    adapter: str
    reward: float


@dataclass(frozen=True, slots=True)
class Conversation:
    """One that is over, as the user saw it."""

    seed: int
    id: str
    turns: tuple[Turn, ...]
    end: End
    ended_by: str
    """What the service takes for its end."""

    @property
    def total(self) -> float:
        """The undiscounted return."""
        return sum(turn.reward for turn in self.turns)

    @property
    def adapter(self) -> str:
        """The version that served it; several only where one was rejected in between."""
        return ", ".join(dict.fromkeys(turn.adapter for turn in self.turns))

    @property
    def passes_for_ended(self) -> bool:
        """Whether the task cut it and the service, whose cap lies elsewhere, does not know."""
        return self.end is End.TRUNCATED and self.ended_by != CAP

    @property
    def outcome(self) -> list[Turn]:
        """The turns that something is said of: those that earned something, and the last, which may have earned 0."""
        return [turn for turn in self.turns if turn.reward or turn is self.turns[-1]]


def converse(task: Task, seed: int, calls: Calls, stopping: threading.Event) -> Conversation:
    """One user's conversation. What a turn earned is told at once; an outcome that is late or lost is not told here."""
    game, is_told_now = task.game(seed), task.delay(seed) == 0
    user = f"{task.name}-{seed}"
    turns: list[Turn] = []
    message, conversation, end = game.opening, None, None
    while end is None:
        if stopping.is_set():
            raise CancelledError
        said = calls.say(message, conversation, user)
        answer = game.answer(said["reply"])
        turn = Turn(said["turn_id"], said["adapter"], answer.reward)
        turns.append(turn)
        message, conversation, end = answer.message, str(said["conversation_id"]), answer.end
        if is_told_now and (turn.reward or end):
            calls.reward(turn.id, turn.reward)
    assert conversation is not None
    return Conversation(seed, conversation, tuple(turns), end, calls.close(conversation))


def converse_with_all(task: Task, seeds: Sequence[int], calls: Calls, *, parallel: int) -> Generator[Conversation]:
    """Each user's conversation as it ends, so many at a time. Where one fails, the others stop at their next turn."""
    stopping = threading.Event()
    with ThreadPoolExecutor(parallel) as threads:
        running = [threads.submit(converse, task, seed, calls, stopping) for seed in seeds]
        try:
            for ended in as_completed(running):
                yield ended.result()
        finally:
            stopping.set()
            threads.shutdown(wait=False, cancel_futures=True)
