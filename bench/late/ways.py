"""The ways to learn from outcomes that come late: which games an update reads; knows no model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.late.telling import Told, matured, without_outcome, worth_nothing
from bench.playing.games import Played
from worker.replay.caps import Cap, capped

PER_STEP, REPLAY = 96, 192
USER_SHARE = 0.02
STALEST = 1
"""Versions between the one that spoke and the one that learns, for those who drop what is older."""

Chosen = list[tuple[Played, int]]
"""Games, each with the version that played it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a way knows when it chooses."""

    played: Sequence[Told]
    conversations: int
    version: int
    learned: int
    """Outcomes that were known at the last update."""

    @property
    def known(self) -> list[Told]:
        return matured(self.played, self.conversations)

    @property
    def waiting(self) -> list[Told]:
        """The newest games whose outcome is not known, the oldest first."""
        newest = (told for told in reversed(self.played) if told.told_at > self.conversations)
        return [told for told, _ in zip(newest, range(REPLAY), strict=False)][::-1]


Way = Callable[[Moment], Chosen]


def nock(moment: Moment, user_share: float = USER_SHARE, awaiting: int = REPLAY // 2) -> Chosen:
    """The newest outcomes, however old their games, few of one user's, and all but the last turn of newer games."""
    known = moment.known
    if len(known) < moment.learned + PER_STEP // 2:
        return []
    newest = capped(known[: -REPLAY - 1 : -1], REPLAY, Cap(user_share, lambda told: told.user))
    cut = ((without_outcome(told.game), told.version) for told in moment.waiting[len(moment.waiting) - awaiting :])
    return [*((told.game, told.version) for told in newest[::-1]), *((game, by) for game, by in cut if game)]


def uncapped(moment: Moment) -> Chosen:
    """Nock's without caps."""
    return nock(moment, user_share=1.0)


def only_matured(moment: Moment) -> Chosen:
    """Nock's without the turns of games whose outcome is not known."""
    return nock(moment, awaiting=0)


def drop_stale(moment: Moment) -> Chosen:
    """Outcomes of games that the newest version or the one before played; the others are dropped."""
    known = [told for told in moment.known if moment.version - told.version <= STALEST]
    return _once_enough(moment, known)


def on_policy(moment: Moment) -> Chosen:
    """Outcomes of games that the newest version played; nothing else."""
    return _once_enough(moment, [told for told in moment.known if told.version == moment.version])


def _once_enough(moment: Moment, known: Sequence[Told]) -> Chosen:
    if len(known) < PER_STEP // 2:
        return []
    return [(told.game, told.version) for told in known[-REPLAY:]]


def missing_as_zero(moment: Moment) -> Chosen:
    """The newest outcomes, and as many of the newest games without one, which count as worth nothing."""
    zeros = [(worth_nothing(told.game), told.version) for told in moment.waiting[-REPLAY // 2 :]]
    known = moment.known[-REPLAY // 2 :] if zeros else moment.known[-REPLAY:]
    return [*((told.game, told.version) for told in known), *zeros]


WAYS: dict[str, Way] = {
    "nock": nock,
    "only-matured": only_matured,
    "drop-stale": drop_stale,
    "missing-as-zero": missing_as_zero,
    "on-policy": on_policy,
}
