"""Erase a conversation or an end user as far as a key may see; asked again, find the first report."""

from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.erasure import ErasureSubject
from core.domain.errors import ConflictError, GoneError, NockError, NotFoundError
from core.domain.keys import Key
from core.domain.signatures import Signer
from core.erasure import tombstones
from core.erasure.erasing import erase
from core.storage.models import Erasure, Tombstone
from core.storage.repositories import audit, erasures
from service.conversations.finding import find_conversations, may_be_of, seen_agents


async def erase_conversation(session: AsyncSession, signer: Signer, key: Key, name: str, agent: str | None) -> Erasure:
    """Raises NotFoundError, or ConflictError where the name is, or was, one of several agents' and none is named."""
    seen = await seen_agents(session, key)
    (found,) = await find_conversations(session, signer, seen, [(name, agent)])
    asked = may_be_of(name, agent, seen)
    stones = (await tombstones.list_of_conversations(session, signer, [asked])).get(asked, [])
    if isinstance(found, NockError) and not isinstance(found, GoneError):
        raise found
    if len({stone.agent_id for stone in stones}) + (not isinstance(found, GoneError)) > 1:
        # Else a repeated request would erase another agent's conversation of that name.
        raise ConflictError(
            f"Several agents have or had a conversation {name!r}: say which with `agent`.", code="ambiguous_id"
        )
    if not isinstance(found, NockError):
        subject = ErasureSubject.CONVERSATION
        erasure = await erase(session, signer, [found.id], subject=subject, by=key.public_id)
        if erasure is not None:
            return await _noted(session, key, erasure)
        stones = (await tombstones.list_of_conversations(session, signer, [asked])).get(asked, [])
    return await _newest(session, stones)


async def erase_user(session: AsyncSession, signer: Signer, key: Key, end_user: str, agent: str | None) -> Erasure:
    """All that the agents have of an end user, under whatever conversation. Raises NotFoundError."""
    seen = _only(agent, await seen_agents(session, key))
    if agent is not None and not seen:
        raise NotFoundError(f"There is no agent {agent!r}.", code="agent_not_found", param="agent")
    roots = await erasures.list_of_user(session, seen, end_user)
    if roots:
        subject = ErasureSubject.USER
        erasure = await erase(session, signer, roots, subject=subject, by=key.public_id, end_user=end_user)
        if erasure is not None:
            return await _noted(session, key, erasure)
    stones = await tombstones.list_of_user(session, signer, seen, end_user)
    if not stones:
        raise NotFoundError("There is no such user.", code="user_not_found", param="user")
    return await _newest(session, stones)


async def get_erasure(session: AsyncSession, key: Key, erasure_id: str) -> Erasure:
    own = ids.parse(ids.Prefix.ERASURE, erasure_id)
    found = await erasures.find_erasure(session, own) if own else None
    if found is None or not any(key.sees(agent) for agent in found.agents):
        raise NotFoundError(f"There is no erasure {erasure_id!r}.", code="erasure_not_found")
    return found


def _only(agent: str | None, seen: Mapping[UUID, str]) -> Collection[UUID]:
    return {own for own, name in seen.items() if agent in (None, name)}


async def _newest(session: AsyncSession, stones: Collection[Tombstone]) -> Erasure:
    erasure = await erasures.find_erasure(session, max(stone.erasure_id for stone in stones))
    assert erasure is not None, "a tombstone points to it"
    return erasure


async def _noted(session: AsyncSession, key: Key, erasure: Erasure) -> Erasure:
    subject = ids.public(ids.Prefix.ERASURE, erasure.id)
    await audit.record(
        session, f"erase.{erasure.subject.value}", by=key.public_id, agents=erasure.agents, subject=subject
    )
    return erasure
