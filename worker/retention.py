"""Erase what is older than its agent keeps: in batches, a transaction each, so that a kill costs one batch."""

import time
from collections.abc import Collection
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.erasure import ErasureSubject
from core.domain.signatures import Signer
from core.erasure.erasing import erase, with_what_repeats
from core.storage.database import Database
from core.storage.repositories import agents, conversations

log = structlog.get_logger()

BY = "retention"
BATCH = 100
RETENTION_SECONDS = 20.0
"""How long one tick erases at most: the worker has other work too, and the next tick goes on."""


async def erase_expired(database: Database, signer: Signer) -> int:
    """Erase conversations whose last turn lies further back than their agent keeps them; how many."""
    began, erased = time.monotonic(), 0
    async with database.transaction() as session:
        forgetful = await agents.list_forgetful(session)
    for agent_id in forgetful:
        after = None
        while time.monotonic() < began + RETENTION_SECONDS:
            async with database.transaction() as session:
                page = await conversations.list_expired(session, agent_id, after=after, limit=BATCH)
                if page:
                    erased += await _erase_batch(session, signer, agent_id, [place for _, place in page])
            if len(page) < BATCH:
                break
            after = page[-1]
    if erased:
        log.info("expired conversations erased", count=erased)
    return erased


async def _erase_batch(session: AsyncSession, signer: Signer, agent_id: UUID, roots: Collection[UUID]) -> int:
    """Erase those of which all that repeats them has expired too; how many went with them.

    They are locked before they are looked at: a user who returns has come back before, or meets what is gone. The agent
    comes first, as in every erasure, so that two never wait for each other.
    """
    await agents.lock_agents(session, [agent_id])
    expired = await conversations.lock_expired(session, await with_what_repeats(session, roots))
    if await with_what_repeats(session, roots) <= expired:
        ready = list(roots)
    else:
        ready = [root for root in roots if await with_what_repeats(session, [root]) <= expired]
    erasure = await erase(session, signer, ready, subject=ErasureSubject.RETENTION, by=BY) if ready else None
    return 0 if erasure is None else sum(part["removed"]["conversations"] for part in erasure.parts)
