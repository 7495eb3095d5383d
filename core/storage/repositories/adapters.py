"""Adapter versions: found, listed, added, retired."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import BASE_NUMBER, AdapterName, AdapterState
from core.domain.errors import NotFoundError
from core.storage.models import AdapterVersion, Agent


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


async def list_on_their_way(session: AsyncSession, agent_id: UUID) -> Sequence[AdapterVersion]:
    """Candidates, and the version on trial."""
    is_on_its_way = AdapterVersion.state.in_([AdapterState.CANDIDATE, AdapterState.CANARY])
    return (
        await session.scalars(select(AdapterVersion).where(AdapterVersion.agent_id == agent_id, is_on_its_way))
    ).all()


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
