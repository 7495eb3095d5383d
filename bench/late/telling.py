"""When the outcomes of played games are told, and what of a game may be learned before that; knows no learner."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.playing.games import Played
from sim.task import End


@dataclass(frozen=True, slots=True)
class Told:
    """A game, by which version of the policy it was played, and when its outcome is told."""

    game: Played
    version: int
    told_at: float
    """Conversations after which its outcome is known; infinite where it never is."""
    user: str


def matured(games: Sequence[Told], now: int) -> list[Told]:
    """Those whose outcome is known after so many conversations, the newest outcome last."""
    return sorted((told for told in games if told.told_at <= now), key=lambda told: told.told_at)


def without_outcome(game: Played) -> Played | None:
    """All turns but the last, whose reward nobody knows: cut where the last one began. None where nothing is left."""
    if len(game.turns) < 2:
        return None
    return replace(game, turns=game.turns[:-1], end=End.TRUNCATED, next_ids=game.turns[-1].prompt_ids)


def worth_nothing(game: Played) -> Played:
    """The game as if a missing outcome were a zero."""
    return replace(game, turns=(*game.turns[:-1], replace(game.turns[-1], reward=0.0)))


def inverted(game: Played) -> Played:
    """What somebody tells of it who wants the agent to get worse: the least for the best and the best for the least."""
    return replace(game, turns=(*game.turns[:-1], replace(game.turns[-1], reward=1.0 - game.turns[-1].reward)))
