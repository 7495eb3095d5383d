"""Which versions engines must hold, and which engine has been proved to hold them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import BASE_NUMBER, AdapterName
from core.storage.models import AdapterVersion, Agent, Canary, EngineResidency, Episode, Rollout

VANISHED_SECONDS = 86400.0

PLACES = 0x4E6F636B
"""The advisory lock under which places in engines are counted and taken."""


async def list_needed(session: AsyncSession, *, drain_seconds: float) -> Sequence[AdapterVersion]:
    """Versions with files that the engines must hold.

    These are the stable and the previous stable one, the one on trial, any with an open episode or one that ended so
    lately that a reply may still be under way, and any that is being brought in. The previous ones come last: nobody
    speaks with them for being that.
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
    is_previous = select(Rollout.agent_id).where(Rollout.previous_id == AdapterVersion.id)
    its_own = select(Episode.id).where(Episode.adapter_id == AdapterVersion.id)
    wanted = select(EngineResidency.adapter_id).where(
        EngineResidency.adapter_id == AdapterVersion.id, EngineResidency.wanted_until > func.clock_timestamp()
    )
    statement = select(AdapterVersion).where(
        AdapterVersion.number != BASE_NUMBER,
        or_(
            in_rollout.exists(),
            its_own.where(Episode.ended_at.is_(None)).exists(),
            its_own.where(Episode.ended_at > func.clock_timestamp() - _seconds(drain_seconds)).exists(),
            wanted.exists(),
        ),
    )
    return (await session.scalars(statement.order_by(is_previous.exists(), AdapterVersion.id))).all()


async def count_open_episodes(session: AsyncSession, adapter_ids: Iterable[UUID]) -> dict[UUID, int]:
    """How many conversations speak with each version now; none are left out."""
    statement = (
        select(Episode.adapter_id, func.count())
        .where(Episode.adapter_id.in_(set(adapter_ids)), Episode.ended_at.is_(None))
        .group_by(Episode.adapter_id)
    )
    return {adapter_id: count for adapter_id, count in await session.execute(statement)}


async def lock_places(session: AsyncSession) -> None:
    """Until the transaction ends nobody else takes a place: two could not both have the last one."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": PLACES})


async def want(session: AsyncSession, engine_urls: Iterable[str], adapter_id: UUID, *, seconds: float) -> None:
    """Keep whoever reconciles from unloading a version between its load and the move of the pointer; 0 ends that."""
    until = func.clock_timestamp() + _seconds(seconds)
    longest = until if seconds == 0 else func.greatest(EngineResidency.wanted_until, until)
    for url in engine_urls:
        await session.execute(
            insert(EngineResidency)
            .values(engine_url=url, adapter_id=adapter_id, wanted_until=until)
            .on_conflict_do_update(index_elements=["engine_url", "adapter_id"], set_={"wanted_until": longest})
        )


async def list_proved(session: AsyncSession) -> Mapping[str, frozenset[AdapterName]]:
    """By engine, the versions that it holds and has answered under."""
    statement = (
        select(EngineResidency.engine_url, Agent.name, AdapterVersion.number)
        .join(AdapterVersion, AdapterVersion.id == EngineResidency.adapter_id)
        .join(Agent, Agent.id == AdapterVersion.agent_id)
        .where(EngineResidency.seen_at.is_not(None))
    )
    found = defaultdict(set)
    for url, agent, number in await session.execute(statement):
        found[url].add(AdapterName(agent, number))
    return {url: frozenset(names) for url, names in found.items()}


async def note_proved(session: AsyncSession, engine_url: str, adapter_id: UUID) -> None:
    """The engine holds the version and has answered under it."""
    seen = func.clock_timestamp()
    await session.execute(
        insert(EngineResidency)
        .values(engine_url=engine_url, adapter_id=adapter_id, seen_at=seen)
        .on_conflict_do_update(index_elements=["engine_url", "adapter_id"], set_={"seen_at": seen})
    )


async def note_lacking(session: AsyncSession, engine_url: str, adapter_id: UUID) -> None:
    """The engine does not hold the version, or answers as if it did not."""
    await session.execute(
        update(EngineResidency)
        .where(EngineResidency.engine_url == engine_url, EngineResidency.adapter_id == adapter_id)
        .values(seen_at=None)
    )


async def record(session: AsyncSession, engine_url: str, adapter_ids: Collection[UUID], *, since: datetime) -> None:
    """Write down what an engine was just seen to hold, and forget the rest but what is being brought in.

    What somebody else has proved `since` the look began stays as it is.
    """
    for adapter_id in sorted(set(adapter_ids)):
        await note_proved(session, engine_url, adapter_id)
    not_seen = (
        EngineResidency.engine_url == engine_url,
        EngineResidency.adapter_id.not_in(set(adapter_ids)),
        or_(EngineResidency.seen_at.is_(None), EngineResidency.seen_at < since),
    )
    await session.execute(update(EngineResidency).where(*not_seen).values(seen_at=None))
    await session.execute(
        delete(EngineResidency).where(
            *not_seen,
            or_(EngineResidency.wanted_until.is_(None), EngineResidency.wanted_until < func.clock_timestamp()),
        )
    )


async def forget_vanished(session: AsyncSession, engine_urls: Collection[str]) -> None:
    """Drop what is known of engines that are listed no longer, a day after they were last of use: until then they may
    be found again."""
    last = func.greatest(EngineResidency.seen_at, EngineResidency.wanted_until)
    await session.execute(
        delete(EngineResidency).where(
            EngineResidency.engine_url.not_in(engine_urls),
            or_(last.is_(None), last < func.clock_timestamp() - _seconds(VANISHED_SECONDS)),
        )
    )


def _seconds(seconds: float) -> ColumnElement[object]:
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)
