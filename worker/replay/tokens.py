"""The tokens of turns for replay; a turn whose bytes are damaged teaches nothing, and the log says so."""

from collections.abc import Iterable
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.tokens import Tokens
from core.storage.repositories import tokens

log = structlog.get_logger()


async def load_tokens(session: AsyncSession, turn_ids: Iterable[UUID]) -> dict[UUID, Tokens]:
    """The tokens of these turns, without those that are missing or damaged."""
    wanted = list(turn_ids)
    found = await tokens.read_tokens(session, wanted)
    for turn_id in wanted:
        if turn_id not in found:
            log.error("tokens of a turn are missing or damaged: it teaches nothing", turn=turn_id.hex)
    return found
