"""Find a conversation by the service's id or the client's, among those that a key may see."""

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.errors import ConflictError, NotFoundError
from core.domain.keys import Key
from core.storage.models import Conversation
from core.storage.repositories import agents, conversations


async def find_conversation(session: AsyncSession, key: Key, name: str, agent: str | None) -> Conversation:
    """Raises NotFoundError, or ConflictError where two agents share the client's id and no agent is named."""
    own = ids.parse(ids.Prefix.CONVERSATION, name)
    if own is not None:
        one = await conversations.find_conversation_by_id(session, own)
        found = [one] if one else []
    else:
        found = list(await conversations.list_by_external_id(session, name))
    names = {row.id: row.name for row in await agents.list_agents(session)}
    seen = [row for row in found if key.sees(names[row.agent_id]) and agent in (None, names[row.agent_id])]
    if not seen:
        raise NotFoundError(
            f"There is no conversation {name!r}.", code="conversation_not_found", param="conversation_id"
        )
    if len(seen) > 1:
        raise ConflictError(
            f"Several agents have a conversation {name!r}: say which with `agent`.", code="ambiguous_id"
        )
    return seen[0]
