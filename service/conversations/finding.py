"""Find conversations by the service's ids or the clients', among those that a key may see; tell what was erased."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.errors import ConflictError, NockError, NotFoundError
from core.domain.keys import Key
from core.domain.signatures import Signer
from core.erasure import tombstones
from core.storage.models import Conversation
from core.storage.repositories import agents, conversation_names, conversations
from core.storage.repositories.conversation_names import Name

Asked = tuple[str, str | None]
"""A conversation's id, and the agent that it is asked for with."""


async def seen_agents(session: AsyncSession, key: Key) -> dict[UUID, str]:
    """The names of the agents that the key may see."""
    return {agent: name for agent, name in (await agents.list_names(session)).items() if key.sees(name)}


async def find_conversation(
    session: AsyncSession, signer: Signer, key: Key, name: str, agent: str | None
) -> Conversation:
    """Raises NotFoundError, GoneError, or ConflictError where two agents share the client's id and none is named."""
    (found,) = await find_conversations(session, signer, await seen_agents(session, key), [(name, agent)])
    if isinstance(found, NockError):
        raise found
    return await conversations.get_conversation(session, found.id)


async def find_conversations(
    session: AsyncSession, signer: Signer, seen: Mapping[UUID, str], asked: Sequence[Asked]
) -> list[Name | NockError]:
    """In the order asked; for each that cannot be told, the error that says why."""
    own = {name: ids.parse(ids.Prefix.CONVERSATION, name) for name, _ in asked}
    found: dict[str | UUID, list[Name]] = defaultdict(list)
    by_client = [name for name, parsed in own.items() if parsed is None]
    for row in await conversation_names.list_names_by_external_id(session, seen, by_client) if by_client else ():
        assert row.external_id is not None
        found[row.external_id].append(row)
    by_service = [parsed for parsed in own.values() if parsed is not None]
    for row in await conversation_names.list_names(session, by_service) if by_service else ():
        found[row.id].append(row)
    told = [_the_one(name, agent, found[own[name] or name], seen) for name, agent in asked]
    # Tombstones last: what was erased between the two look-ups is then found by the second.
    lost = {one: may_be_of(*one, seen) for one, row in zip(asked, told, strict=True) if isinstance(row, NotFoundError)}
    erased = await tombstones.list_of_conversations(session, signer, set(lost.values())) if lost else {}
    return [
        tombstones.gone("conversation") if one in lost and lost[one] in erased else row
        for one, row in zip(asked, told, strict=True)
    ]


def may_be_of(name: str, agent: str | None, seen: Mapping[UUID, str]) -> tombstones.Asked:
    """The conversation's id with the agents that it may be of."""
    return name, frozenset(own for own, called in seen.items() if agent in (None, called))


def _the_one(name: str, agent: str | None, found: Sequence[Name], seen: Mapping[UUID, str]) -> Name | NockError:
    mine = [row for row in found if row.agent_id in seen and agent in (None, seen[row.agent_id])]
    if not mine:
        return NotFoundError(
            f"There is no conversation {name!r}.", code="conversation_not_found", param="conversation_id"
        )
    if len(mine) > 1:
        return ConflictError(
            f"Several agents have a conversation {name!r}: say which with `agent`.", code="ambiguous_id"
        )
    return mine[0]
