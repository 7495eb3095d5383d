"""Adapter versions, and which engine holds them."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import BASE_NUMBER, AdapterName, AdapterState
from core.domain.errors import NotFoundError
from core.storage.models import AdapterVersion, Agent, Canary, EngineResidency, Episode, Rollout


async def find_version(session: AsyncSession, name: AdapterName) -> AdapterVersion | None:
    statement = (
        select(AdapterVersion)
        .join(Agent, Agent.id == AdapterVersion.agent_id)
        .where(Agent.name == name.agent, AdapterVersion.number == name.number)
    )
    found: AdapterVersion | None = await session.scalar(statement)
    return found


async def get_version(session: AsyncSession, name: AdapterName) -> AdapterVersion:
    version = await find_version(session, name)
    if version is None:
        raise NotFoundError(f"There is no adapter {name}.", code="adapter_not_found")
    return version


async def get_version_by_id(session: AsyncSession, adapter_id: UUID) -> AdapterVersion:
    return await session.get_one(AdapterVersion, adapter_id)


async def find_version_by_id(session: AsyncSession, adapter_id: UUID) -> AdapterVersion | None:
    return await session.get(AdapterVersion, adapter_id)


async def list_of_weights(session: AsyncSession, agent_id: UUID, sha256: str) -> Sequence[AdapterVersion]:
    """The agent's versions with these weights, oldest first."""
    statement = select(AdapterVersion).where(AdapterVersion.agent_id == agent_id, AdapterVersion.sha256 == sha256)
    return (await session.scalars(statement.order_by(AdapterVersion.number))).all()


async def lock_version(session: AsyncSession, adapter_id: UUID) -> AdapterVersion:
    statement = select(AdapterVersion).where(AdapterVersion.id == adapter_id).with_for_update()
    return (await session.scalars(statement.execution_options(populate_existing=True))).one()


async def list_versions(session: AsyncSession, agent_id: UUID) -> Sequence[AdapterVersion]:
    statement = select(AdapterVersion).where(AdapterVersion.agent_id == agent_id).order_by(AdapterVersion.number)
    return (await session.scalars(statement)).all()


async def names_of(session: AsyncSession, ids: Iterable[UUID]) -> dict[UUID, AdapterName]:
    """The names of versions, read from rows and never from text."""
    statement = (
        select(AdapterVersion.id, Agent.name, AdapterVersion.number)
        .join(Agent, Agent.id == AdapterVersion.agent_id)
        .where(AdapterVersion.id.in_(set(ids)))
    )
    return {row.id: AdapterName(row.name, row.number) for row in (await session.execute(statement)).all()}


async def next_number(session: AsyncSession, agent_id: UUID) -> int:
    """The number of the agent's next version; the caller holds the agent's row lock."""
    newest = await session.scalar(select(func.max(AdapterVersion.number)).where(AdapterVersion.agent_id == agent_id))
    return BASE_NUMBER if newest is None else newest + 1


async def add_version(session: AsyncSession, version: AdapterVersion) -> AdapterVersion:
    session.add(version)
    await session.flush()
    await session.refresh(version)
    return version


async def list_candidates(session: AsyncSession, agent_id: UUID) -> Sequence[AdapterVersion]:
    statement = select(AdapterVersion).where(
        AdapterVersion.agent_id == agent_id, AdapterVersion.state == AdapterState.CANDIDATE
    )
    return (await session.scalars(statement)).all()


async def retire_candidates(session: AsyncSession, agent_id: UUID, *, but: UUID) -> None:
    """Let the newest candidate supersede the others; one that is promoted at this moment is a candidate no more."""
    await session.execute(
        update(AdapterVersion)
        .where(
            AdapterVersion.agent_id == agent_id,
            AdapterVersion.state == AdapterState.CANDIDATE,
            AdapterVersion.id != but,
        )
        .values(state=AdapterState.RETIRED)
        .execution_options(synchronize_session=False)
    )


async def list_needed(session: AsyncSession) -> Sequence[AdapterVersion]:
    """Versions with files that the engines must hold.

    These are the stable and the previous stable one, the one on trial, any with an open episode, and any that is being
    brought in.
    """
    in_rollout = (
        select(Rollout.agent_id)
        .join(Canary, Canary.id == Rollout.canary_id, isouter=True)
        .where(
            or_(
                Rollout.stable_id == AdapterVersion.id,
                Rollout.previous_id == AdapterVersion.id,
                Canary.adapter_id == AdapterVersion.id,
            )
        )
    )
    in_episode = select(Episode.id).where(Episode.adapter_id == AdapterVersion.id, Episode.ended_at.is_(None))
    wanted = select(EngineResidency.adapter_id).where(
        EngineResidency.adapter_id == AdapterVersion.id, EngineResidency.wanted_until > func.clock_timestamp()
    )
    statement = select(AdapterVersion).where(
        AdapterVersion.number != BASE_NUMBER, or_(in_rollout.exists(), in_episode.exists(), wanted.exists())
    )
    return (await session.scalars(statement)).all()


async def list_learned(session: AsyncSession) -> Sequence[AdapterVersion]:
    """Versions in service or on trial that a run made."""
    alive = AdapterVersion.state.in_([AdapterState.STABLE, AdapterState.CANARY, AdapterState.CANDIDATE])
    statement = select(AdapterVersion).where(alive, AdapterVersion.run_id.is_not(None)).order_by(AdapterVersion.id)
    return (await session.scalars(statement)).all()


async def note_changed_share(session: AsyncSession, adapter_id: UUID, share: float) -> None:
    """Write down how much of what taught the version has changed, and when somebody looked."""
    await session.execute(
        update(AdapterVersion)
        .where(AdapterVersion.id == adapter_id)
        .values(changed_share=share, changed_share_at=func.clock_timestamp())
        .execution_options(synchronize_session=False)
    )


async def want(session: AsyncSession, engine_urls: Iterable[str], adapter_id: UUID, *, seconds: float) -> None:
    """Keep whoever reconciles from unloading a version between its load and the move of the pointer."""
    until = func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    for url in engine_urls:
        await session.execute(
            insert(EngineResidency)
            .values(engine_url=url, adapter_id=adapter_id, wanted_until=until)
            .on_conflict_do_update(index_elements=["engine_url", "adapter_id"], set_={"wanted_until": until})
        )


async def record_residency(session: AsyncSession, engine_url: str, adapter_ids: Iterable[UUID]) -> None:
    """Write down what an engine was just seen to hold; forget what it does not hold and nobody is loading."""
    for adapter_id in sorted(set(adapter_ids)):
        await session.execute(
            insert(EngineResidency)
            .values(engine_url=engine_url, adapter_id=adapter_id, seen_at=func.now())
            .on_conflict_do_update(index_elements=["engine_url", "adapter_id"], set_={"seen_at": func.now()})
        )
    await session.execute(
        delete(EngineResidency).where(
            EngineResidency.engine_url == engine_url,
            or_(EngineResidency.seen_at.is_(None), EngineResidency.seen_at < func.now()),
            or_(EngineResidency.wanted_until.is_(None), EngineResidency.wanted_until < func.clock_timestamp()),
        )
    )
