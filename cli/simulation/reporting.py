"""Conversations with simulated users as a table by version, and each as a line of JSON."""

import json
from collections.abc import Sequence

import typer

from cli.simulation.conversing import Conversation
from cli.simulation.scores import Score, is_won, score_versions
from cli.tables import show
from sim.task import Task

COLUMNS = ("adapter", "conversations", "mean_return", "95_%_interval", "won", "optimum", "of_the_way")


def print_scores(conversations: Sequence[Conversation], task: Task, agent: str) -> None:
    """The table, and below it what the learner will misunderstand about how they ended."""
    rows = [_row(score, task) for score in score_versions(conversations, task)]
    show(rows, COLUMNS, as_json=False, empty="")
    if mistaken := sum(conversation.passes_for_ended for conversation in conversations):
        typer.secho(
            f"{mistaken} were cut after {task.max_turns} turns by the task but not by {agent}, so they count as ended:"
            f" set `max_turns: {task.max_turns}` in its file.",
            fg="yellow",
            err=True,
        )


def line_of(conversation: Conversation, task: Task, agent: str) -> str:
    """What happened, and what is told of it: `told_after` conversations, null where nothing ever is."""
    facts = {
        "task": task.name,
        "seed": conversation.seed,
        "agent": agent,
        "adapter": conversation.adapter,
        "conversation_id": conversation.id,
        "rewards": {turn.id: turn.reward for turn in conversation.turns},
        "return": conversation.total,
        "end": conversation.end.value,
        "ended_by": conversation.ended_by,
        "won": is_won(conversation, task),
        "told_after": task.delay(conversation.seed),
    }
    return json.dumps(facts)


def _row(score: Score, task: Task) -> dict[str, object]:
    interval = None
    if score.half_width is not None:
        interval = f"{score.mean_return - score.half_width:.2f} to {score.mean_return + score.half_width:.2f}"
    return {
        "adapter": score.adapter,
        "conversations": score.conversations,
        "mean_return": f"{score.mean_return:.2f}",
        "95_%_interval": interval,
        "won": f"{score.won:.0%}",
        "optimum": f"{task.optimum:.2f}",
        "of_the_way": f"{score.of_the_way:.0%}",
    }
