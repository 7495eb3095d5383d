"""Outcomes of unknown targets: kept with the reason, listed, and tried again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.errors import NotFoundError
from core.domain.keys import Key
from core.storage.models import DeadLetter
from core.storage.repositories import rewards


def keep(session: AsyncSession, key: Key, body: Mapping[str, Any], error: NotFoundError) -> None:
    """Keep what could not be joined, for those who may see the agents that the key may see."""
    allowed = None if key.agents is None else sorted(key.agents)
    session.add(DeadLetter(id=ids.new_id(), key_id=key.id, agents=allowed, body=dict(body), reason=error.message))


def as_its_sender(key: Key, letter: DeadLetter) -> Key:
    """The key, seeing no more than the sender did: else who may speak of one agent speaks of any, by a retry."""
    return key if letter.agents is None else replace(key, agents=frozenset(letter.agents))


async def lock(session: AsyncSession, key: Key, letter_id: str) -> DeadLetter:
    """The letter, for one retry at a time. What the key may not list it cannot retry."""
    parsed = ids.parse(ids.Prefix.DEAD_LETTER, letter_id)
    letter = await rewards.lock_dead_letter(session, parsed) if parsed else None
    is_seen = letter is not None and (
        key.agents is None or (letter.agents is not None and set(letter.agents) <= set(key.agents))
    )
    if letter is None or not is_seen:
        raise NotFoundError(f"There is no dead letter {letter_id}.", code="dead_letter_not_found")
    return letter
