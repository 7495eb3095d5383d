"""Begin an episode: draw its arm, and let nobody begin on a version that was taken out meanwhile."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.adapters import AdapterName, AdapterState
from core.domain.episodes import Arm
from core.domain.erasure import ErasurePolicy
from core.domain.routing import draw
from core.storage.models import AdapterVersion, Conversation, Episode
from core.storage.repositories import adapters, conversations, rollouts
from core.storage.repositories.rollouts import Route


@dataclass(frozen=True, slots=True)
class Served:
    """The version of a new episode, and why it is that. A pinned one's name its client has said."""

    adapter_id: UUID
    adapter: AdapterName | None
    arm: Arm
    propensity: float
    canary_id: UUID | None


async def start_episode(
    session: AsyncSession, conversation: Conversation, ordinal: int, route: Route, pinned_id: UUID | None
) -> Episode:
    """The conversation's episode of that number: another request may have begun it, then it is that one."""
    if pinned_id is None:
        served = choose(conversation.id, conversation.end_user, route)
    else:
        served = Served(pinned_id, None, Arm.PINNED, 1.0, None)
    episode = Episode(
        id=ids.new_id(),
        agent_id=conversation.agent_id,
        conversation_id=conversation.id,
        ordinal=ordinal,
        adapter_id=served.adapter_id,
        arm=served.arm,
        propensity=served.propensity,
        canary_id=served.canary_id,
        turn_count=0,
    )
    started = await conversations.add_episode(session, episode)
    version = await adapters.get_version_by_id(session, started.adapter_id)
    if _is_out(version, started.arm):
        # Routing was read before a move that this insert had to wait for; nobody starts on what was taken out by it.
        started.adapter_id = (await rollouts.get_rollout(session, conversation.agent_id)).stable_id
        started.arm, started.propensity, started.canary_id = Arm.STABLE, 1.0, None
        await session.flush()
    return started


def choose(conversation_id: UUID, end_user: str | None, route: Route) -> Served:
    """By the end user, so that who comes back meets the same version; by the conversation where nobody is named."""
    unit = conversation_id.hex if end_user is None else f"user:{end_user}"
    can_hold_out = route.holdout if route.previous_id is not None else 0.0
    drawn = draw(unit, agent=route.agent.id, canary=route.canary_id, weight=route.weight, holdout=can_hold_out)
    match drawn.arm:
        case Arm.CANARY:
            assert route.tried_id is not None
            return Served(route.tried_id, route.tried, drawn.arm, drawn.propensity, route.canary_id)
        case Arm.HOLDOUT:
            assert route.previous_id is not None
            return Served(route.previous_id, route.previous, drawn.arm, drawn.propensity, None)
        case _:
            return Served(route.stable_id, route.stable, drawn.arm, drawn.propensity, route.canary_id)


def _is_out(version: AdapterVersion, arm: Arm) -> bool:
    if arm is Arm.PINNED:
        return False
    if version.state is AdapterState.REJECTED or version.taught_by_erased is ErasurePolicy.RETIRE:
        return True
    return arm is Arm.CANARY and version.state not in (AdapterState.CANARY, AdapterState.STABLE)
