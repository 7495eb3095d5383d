"""How well conversations went, by the version that served them: means, intervals, shares; knows no HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from cli.simulation.conversing import Conversation
from sim.task import End, Task

NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Score:
    """One version's conversations with a task's users."""

    adapter: str
    conversations: int
    mean_return: float
    half_width: float | None
    """Of the 95 % interval of the mean; None for a single conversation."""
    won: float
    """Share of the conversations."""
    of_the_way: float
    """Where the mean lies between the task's floor (0) and its optimum (1)."""


def is_won(conversation: Conversation, task: Task) -> bool:
    """Whether it came to an end by the task's rules that earned more than the least there is."""
    return conversation.end is End.TERMINAL and conversation.total > task.floor


def score_versions(conversations: Sequence[Conversation], task: Task) -> list[Score]:
    """A score for each version, in the order in which they were first met."""
    served: dict[str, list[Conversation]] = {}
    for conversation in conversations:
        served.setdefault(conversation.adapter, []).append(conversation)
    return [_score(adapter, theirs, task) for adapter, theirs in served.items()]


def _score(adapter: str, conversations: Sequence[Conversation], task: Task) -> Score:
    totals = [conversation.total for conversation in conversations]
    count, average = len(totals), mean(totals)
    return Score(
        adapter=adapter,
        conversations=count,
        mean_return=average,
        half_width=NORMAL_95 * stdev(totals) / count**0.5 if count > 1 else None,
        won=mean(is_won(conversation, task) for conversation in conversations),
        of_the_way=(average - task.floor) / (task.optimum - task.floor),
    )
