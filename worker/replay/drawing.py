"""Which conversations a run reads: changed and fresh ones, recent ones, some by lot, some without an outcome."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from random import Random
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.storage.repositories import replay
from core.storage.repositories.replay import LOT_BYTES, Candidate
from worker.replay.caps import Cap, capped
from worker.replay.config import ReplayConfig

LOOK_BACK = 4
"""Candidates for each place, so that others stand in for those whom the caps leave out."""


class Part(StrEnum):
    """Why a conversation was drawn."""

    CHANGED = "changed"
    """Its outcome changed after it had taught."""
    FRESH = "fresh"
    """Its outcome came after the last version was made."""
    RECENT = "recent"
    RESERVOIR = "reservoir"
    UNFINISHED = "unfinished"
    """Its outcome is not known, or never came."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The conversations by their parts, in order of preference."""

    parts: dict[UUID, Part]
    left_out: int
    """Fresh or changed ones that the caps left to others."""

    def figures(self) -> dict[str, object]:
        """How many of each part."""
        counted = Counter(self.parts.values())
        return {**{part.value: counted[part] for part in Part}, "left_out_by_caps": self.left_out}


async def draw(
    session: AsyncSession, agent_id: UUID, config: ReplayConfig, *, since: datetime | None, chance: Random
) -> Drawn:
    """By preference: what changed, what matured since the last version, and the rest of the newest; some by lot."""
    most = config.max_conversations
    by_lot = round(config.reservoir_share * most)
    changed = await replay.list_changed(session, agent_id, limit=most)
    newest = await replay.list_newest(session, agent_id, limit=LOOK_BACK * most)
    lots = await replay.list_by_lot(session, agent_id, chance.randbytes(LOT_BYTES), limit=LOOK_BACK * by_lot)
    reasons = [(each, Part.CHANGED) for each in changed]
    reasons += [(each, _age_of(each, since)) for each in newest[: most - by_lot]]
    reasons += [(each, Part.RESERVOIR) for each in lots[:by_lot]]
    reasons += [(each, _age_of(each, since)) for each in newest[most - by_lot :]]
    reasons += [(each, Part.RESERVOIR) for each in lots[by_lot:]]
    parts: dict[UUID, Part] = {}
    for candidate, part in reasons:
        parts.setdefault(candidate.id, part)
    preferred = list({candidate.id: candidate for candidate, _ in reasons}.values())
    sources = await _sources(session, preferred, config.source_share)
    caps = Cap(config.user_share, _user), Cap[Candidate](config.source_share, lambda each: sources.get(each.id))
    chosen = {candidate.id: parts[candidate.id] for candidate in capped(preferred, most, *caps)}
    unfinished = await replay.list_without_outcome(
        session, agent_id, limit=LOOK_BACK * most, among=2 * LOOK_BACK * most
    )
    beside = capped(unfinished, round(config.unfinished_share * most), Cap(config.user_share, _user))
    left_out = [parts[each.id] for each in preferred[:most] if each.id not in chosen]
    return Drawn(
        chosen | dict.fromkeys((candidate.id for candidate in beside), Part.UNFINISHED),
        sum(part in (Part.CHANGED, Part.FRESH) for part in left_out),
    )


async def _sources(session: AsyncSession, candidates: Sequence[Candidate], share: float) -> Mapping[UUID, str]:
    """Nobody is asked where no cap could bind."""
    return {} if share == 1 else await replay.only_sources_of(session, [candidate.id for candidate in candidates])


def _age_of(candidate: Candidate, since: datetime | None) -> Part:
    is_fresh = since is None or (candidate.matured_at is not None and candidate.matured_at > since)
    return Part.FRESH if is_fresh else Part.RECENT


def _user(candidate: Candidate) -> str | None:
    return candidate.end_user
