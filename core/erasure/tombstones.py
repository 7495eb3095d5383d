"""Keyed hashes of what was erased: they tell an erased id from one that never was, and nothing else."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.erasure import Named
from core.domain.errors import GoneError
from core.domain.signatures import Purpose, Signer
from core.storage.models import Tombstone
from core.storage.repositories import erasures

Asked = tuple[str, frozenset[UUID]]
"""A conversation's id, the service's or a client's, and the agents that it may be of."""


def hash_of_id(signer: Signer, what: Named, own: UUID) -> bytes:
    return signer.sign(Purpose.TOMBSTONE, what, own.hex)


def hash_of_name(signer: Signer, what: Named, agent_id: UUID, name: str) -> bytes:
    """A client's own name for something is unique for an agent only."""
    return signer.sign(Purpose.TOMBSTONE, what, agent_id.hex, name)


async def list_of_conversations(
    session: AsyncSession, signer: Signer, asked: Collection[Asked]
) -> dict[Asked, Sequence[Tombstone]]:
    """Those that were erased, each with its tombstones: a client's id may have one for each agent."""
    hashes = {one: _hashes_of_conversation(signer, *one) for one in asked}
    stones = await erasures.list_tombstones(session, {one for some in hashes.values() for one in some})
    found = {one: [stones[each] for each in some if each in stones] for one, some in hashes.items()}
    seen = {one: [stone for stone in some if stone.agent_id in one[1]] for one, some in found.items()}
    return {one: some for one, some in seen.items() if some}


def _hashes_of_conversation(signer: Signer, name: str, agent_ids: Collection[UUID]) -> list[bytes]:
    own = ids.parse(ids.Prefix.CONVERSATION, name)
    if own is not None:
        return [hash_of_id(signer, Named.CONVERSATION, own)]
    return [hash_of_name(signer, Named.EXTERNAL_ID, agent, name) for agent in agent_ids]


async def was_erased(session: AsyncSession, signer: Signer, agent_id: UUID, conversation: str) -> bool:
    """Whether this agent had a conversation of that id which is gone."""
    return bool(await list_of_conversations(session, signer, [(conversation, frozenset([agent_id]))]))


async def list_erased(
    session: AsyncSession, signer: Signer, what: Named, own: Mapping[str, UUID], agent_ids: Collection[UUID]
) -> set[str]:
    """Of the things with these ids, by their public ones, those that these agents had and that are gone."""
    hashes = {public: hash_of_id(signer, what, one) for public, one in own.items()}
    stones = await erasures.list_tombstones(session, set(hashes.values()))
    return {public for public, one in hashes.items() if one in stones and stones[one].agent_id in agent_ids}


async def list_of_user(
    session: AsyncSession, signer: Signer, agent_ids: Collection[UUID], end_user: str
) -> Sequence[Tombstone]:
    """What tells that these agents had conversations of an end user which are gone."""
    hashes = {hash_of_name(signer, Named.USER, agent, end_user) for agent in agent_ids}
    return list((await erasures.list_tombstones(session, hashes)).values())


def gone(what: str) -> GoneError:
    return GoneError(f"This {what} was erased.", code=f"{what}_erased")
