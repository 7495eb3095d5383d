"""Give a version its place in the engines, and refuse one that would cost another its own."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import AdapterName
from core.domain.errors import NoRoomError
from core.engine.pool import EnginePool
from core.storage.models import AdapterVersion, Agent
from core.storage.repositories import adapters, agents, residency


async def take_place(
    session: AsyncSession,
    pool: EnginePool,
    agent: Agent,
    version: AdapterVersion,
    engine_urls: Iterable[str],
    *,
    seconds: float,
) -> None:
    """Keep a place for the version on these engines for so long, until it is needed for another reason.

    Raises NoRoomError where versions that somebody needs hold all of them. An engine itself would refuse,
    or throw out the one that spoke longest ago.
    """
    await residency.lock_places(session)
    needed = await residency.list_needed(session, drain_seconds=pool.reply_seconds)
    base_of = {one.id: one.base_model for one in await agents.list_agents(session)}
    holding = {one.id: one for one in needed if base_of[one.agent_id] == agent.base_model}
    if version.id not in holding and len(holding) >= pool.room:
        names = await adapters.names_of(session, holding)
        spoken = await residency.count_open_episodes(session, holding)
        raise NoRoomError(_no_room(pool.room, holding, names, spoken))
    await residency.want(session, engine_urls, version.id, seconds=seconds)


def _no_room(
    room: int,
    holding: Mapping[UUID, AdapterVersion],
    names: Mapping[UUID, AdapterName],
    spoken: Mapping[UUID, int],
) -> str:
    held = sorted(
        f"{names[one.id]} ({one.state.value}, {spoken.get(one.id, 0)} open conversations)" for one in holding.values()
    )
    return (
        f"The engines have room for {room} versions, and all places are needed: {', '.join(held)}. "
        "Close conversations, or give the engines more room (NOCK_ENGINE_ROOM)."
    )
