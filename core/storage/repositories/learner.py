"""Learner runs and leases. Time is Postgres' own, so that workers with wrong clocks agree."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.erasure import BARRING
from core.domain.sampling import Learnable
from core.storage.models import Agent, LearnerRun, Lease, RunState, RunTurn, Turn
from core.storage.models.base import Json
from core.storage.repositories.arrays import is_among_given

BY_ERASURE = "erasure"
"""Who asked for a run that learns without what was erased."""


def seconds_from_now(seconds: float) -> ColumnElement[datetime]:
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


async def queue_run(session: AsyncSession, agent_id: UUID, *, requested_by: str) -> LearnerRun | None:
    """A new run, or None while the agent has one that is queued or running."""
    # As text: Postgres proves by the words which index is meant, and a statement prepared with parameters has none.
    active = text("state IN ('queued', 'running')")
    statement = (
        insert(LearnerRun)
        .values(agent_id=agent_id, requested_by=requested_by)
        .on_conflict_do_nothing(index_elements=["agent_id"], index_where=active)
        .returning(LearnerRun)
    )
    run: LearnerRun | None = await session.scalar(statement)
    return run


async def ask_for_run(session: AsyncSession, agent_id: UUID) -> UUID | None:
    """Queue a run that learns without what was erased; None where one is queued already, or follows the running one.

    A queued run reads what there is when it is claimed; a running one may have read before.
    """
    run = await queue_run(session, agent_id, requested_by=BY_ERASURE)
    if run is None:
        followed = await session.execute(
            update(LearnerRun)
            .where(LearnerRun.agent_id == agent_id, LearnerRun.state.in_([RunState.QUEUED, RunState.RUNNING]))
            .values(another_after=LearnerRun.state == RunState.RUNNING)
            .returning(LearnerRun.id)
            .execution_options(synchronize_session=False)
        )
        if followed.first() is None:  # it ended meanwhile
            run = await queue_run(session, agent_id, requested_by=BY_ERASURE)
    return None if run is None else run.id


async def find_running(session: AsyncSession, agent_id: UUID) -> UUID | None:
    statement = select(LearnerRun.id).where(LearnerRun.agent_id == agent_id, LearnerRun.state == RunState.RUNNING)
    found: UUID | None = await session.scalar(statement)
    return found


async def list_all(session: AsyncSession, agent_id: UUID) -> Sequence[LearnerRun]:
    """Every run the agent ever had, oldest first."""
    statement = select(LearnerRun).where(LearnerRun.agent_id == agent_id).order_by(LearnerRun.id)
    return (await session.scalars(statement)).all()


async def count_erased(session: AsyncSession, lessons: Mapping[UUID, int]) -> None:
    """Remember how many of the turns that taught each run are gone."""
    for run_id, turns in sorted(lessons.items()):
        await session.execute(
            update(LearnerRun)
            .where(LearnerRun.id == run_id)
            .values(erased_turns=LearnerRun.erased_turns + turns)
            .execution_options(synchronize_session=False)
        )


async def find_run(session: AsyncSession, run_id: UUID) -> LearnerRun | None:
    return await session.get(LearnerRun, run_id)


async def list_runs(session: AsyncSession, agent_id: UUID, *, after: UUID | None, limit: int) -> Sequence[LearnerRun]:
    """Newest first."""
    statement = select(LearnerRun).where(LearnerRun.agent_id == agent_id).order_by(LearnerRun.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(LearnerRun.id < after)
    return (await session.scalars(statement)).all()


async def list_unheld(session: AsyncSession) -> Sequence[UUID]:
    """Runs that somebody should do: queued, or running under a lease that has passed."""
    statement = select(LearnerRun.id).where(_is_unheld()).order_by(LearnerRun.id)
    return (await session.scalars(statement)).all()


async def claim_run(session: AsyncSession, run_id: UUID, *, holder: UUID, lease_seconds: float) -> LearnerRun | None:
    """Take the run if nobody holds it; None when somebody does or it has ended."""
    statement = (
        update(LearnerRun)
        .where(LearnerRun.id == run_id, _is_unheld())
        .values(
            state=RunState.RUNNING,
            lease_holder=holder,
            lease_until=seconds_from_now(lease_seconds),
            attempts=LearnerRun.attempts + 1,
            progress=0.0,
            started_at=func.coalesce(LearnerRun.started_at, func.now()),
        )
        .returning(LearnerRun)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    run: LearnerRun | None = await session.scalar(statement)
    return run


async def renew_run(
    session: AsyncSession, run_id: UUID, *, holder: UUID, lease_seconds: float, progress: float
) -> bool:
    """Keep the run and say how far it is; False when the lease was lost to another worker."""
    return await _update_held(
        session, run_id, holder, lease_until=seconds_from_now(lease_seconds), progress=min(max(progress, 0.0), 1.0)
    )


async def end_run(session: AsyncSession, run_id: UUID, *, holder: UUID, state: RunState, **values: object) -> bool:
    """Write down how the run ended; False when it is this worker's no more, and then nothing is written."""
    statement = (
        update(LearnerRun)
        .where(LearnerRun.id == run_id, _is_held_by(holder))
        .values(state=state, ended_at=func.now(), lease_until=None, lease_holder=None, **values)
        .returning(LearnerRun.agent_id, LearnerRun.another_after)
        .execution_options(synchronize_session=False)
    )
    ended = (await session.execute(statement)).one_or_none()
    if ended is not None and ended.another_after:
        await queue_run(session, ended.agent_id, requested_by=BY_ERASURE)
    return ended is not None


async def give_back_run(session: AsyncSession, run_id: UUID, *, holder: UUID, reason: str, counts: bool) -> bool:
    """Queue the run again for whoever comes next; `counts` False: this attempt was interrupted and did not fail."""
    attempts = LearnerRun.attempts if counts else LearnerRun.attempts - 1
    return await _update_held(
        session,
        run_id,
        holder,
        state=RunState.QUEUED,
        reason=reason,
        attempts=attempts,
        progress=0.0,
        lease_until=None,
        lease_holder=None,
    )


async def lock_held_run(session: AsyncSession, run_id: UUID, *, holder: UUID) -> bool:
    """Whether the run is this worker's; if so nobody takes it before the transaction ends."""
    statement = select(LearnerRun.id).where(LearnerRun.id == run_id, _is_held_by(holder)).with_for_update()
    return (await session.scalar(statement)) is not None


def _is_held_by(holder: UUID) -> ColumnElement[bool]:
    return and_(LearnerRun.lease_holder == holder, LearnerRun.state == RunState.RUNNING)


async def _update_held(session: AsyncSession, run_id: UUID, holder: UUID, **values: object) -> bool:
    statement = (
        update(LearnerRun)
        .where(LearnerRun.id == run_id, _is_held_by(holder))
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return bool((await session.execute(statement)).rowcount)  # type: ignore[attr-defined]  # a cursor result


def _is_unheld() -> ColumnElement[bool]:
    return or_(
        LearnerRun.state == RunState.QUEUED,
        and_(LearnerRun.state == RunState.RUNNING, LearnerRun.lease_until < func.clock_timestamp()),
    )


async def newest_success(session: AsyncSession, agent_id: UUID) -> LearnerRun | None:
    """The agent's newest run that made a candidate with which others may begin."""
    statement = (
        select(LearnerRun)
        .where(LearnerRun.agent_id == agent_id, LearnerRun.state == RunState.SUCCEEDED, _may_be_begun_with())
        .order_by(LearnerRun.id.desc())
    )
    run: LearnerRun | None = await session.scalar(statement.limit(1))
    return run


async def newest_learned(session: AsyncSession, agent_id: UUID) -> LearnerRun | None:
    """The agent's newest run whose critic the next one goes on from."""
    statement = select(LearnerRun).where(LearnerRun.agent_id == agent_id, _has_learned(), _may_be_begun_with())
    run: LearnerRun | None = await session.scalar(statement.order_by(LearnerRun.id.desc()).limit(1))
    return run


async def list_learned(session: AsyncSession, agent_id: UUID) -> Sequence[UUID]:
    """The agent's runs that left a checkpoint with which others may begin, newest first."""
    statement = select(LearnerRun.id).where(LearnerRun.agent_id == agent_id, _has_learned(), _may_be_begun_with())
    return (await session.scalars(statement.order_by(LearnerRun.id.desc()))).all()


async def list_newest_figures(session: AsyncSession) -> Sequence[tuple[str, Json]]:
    """Each agent's name, with the figures of its newest run that learned."""
    runs = select(LearnerRun.id).where(LearnerRun.agent_id == Agent.id, _has_learned()).order_by(LearnerRun.id.desc())
    newest = runs.limit(1).correlate(Agent).scalar_subquery()
    rows = await session.execute(select(Agent.name, LearnerRun.figures).join(LearnerRun, LearnerRun.id == newest))
    return [(name, figures or {}) for name, figures in rows]


def _has_learned() -> ColumnElement[bool]:
    """Whether a run left a checkpoint: it made a candidate, or it was skipped after its critic had learned.

    Of the runs that were skipped only those have a watermark.
    """
    only_critic = and_(LearnerRun.state == RunState.SKIPPED, LearnerRun.watermark.is_not(None))
    return or_(LearnerRun.state == RunState.SUCCEEDED, only_critic)


def _may_be_begun_with() -> ColumnElement[bool]:
    """Whether nothing was erased that a run learned from, or its agent keeps such runs."""
    mark = LearnerRun.taught_by_erased
    return or_(mark.is_(None), mark.not_in(BARRING))


async def list_run_ids(session: AsyncSession, agent_id: UUID) -> Sequence[UUID]:
    """Every run the agent ever had."""
    return (await session.scalars(select(LearnerRun.id).where(LearnerRun.agent_id == agent_id))).all()


async def newest_run(session: AsyncSession, agent_id: UUID) -> LearnerRun | None:
    statement = select(LearnerRun).where(LearnerRun.agent_id == agent_id).order_by(LearnerRun.id.desc()).limit(1)
    run: LearnerRun | None = await session.scalar(statement)
    return run


async def add_run_turns(session: AsyncSession, turns: Iterable[RunTurn]) -> None:
    session.add_all(turns)
    await session.flush()


async def list_run_turns(session: AsyncSession, run_id: UUID) -> list[tuple[RunTurn, UUID]]:
    """The turns that taught the run, oldest first, each with its conversation."""
    statement = select(RunTurn, Turn.conversation_id).join(Turn, Turn.id == RunTurn.turn_id)
    rows = await session.execute(statement.where(RunTurn.run_id == run_id).order_by(RunTurn.turn_id))
    return [(row[0], row[1]) for row in rows]


async def list_lessons_of(session: AsyncSession, turn_ids: Collection[UUID]) -> list[tuple[RunTurn, UUID | None]]:
    """The runs that these turns taught, oldest first, each with the version that came out, if one did."""
    statement = select(RunTurn, LearnerRun.adapter_id).join(LearnerRun, LearnerRun.id == RunTurn.run_id)
    rows = await session.execute(statement.where(RunTurn.turn_id.in_(turn_ids)).order_by(RunTurn.run_id))
    return [(row[0], row[1]) for row in rows]


@dataclass(frozen=True, slots=True)
class Teaching:
    """Whether a conversation has turns that can teach, and whether any has taught a run."""

    can_teach: bool
    has_taught: bool


TEACHING = (
    select(
        Turn.conversation_id,
        func.bool_or(Turn.learnable != Learnable.NONE),
        func.bool_or(exists().where(RunTurn.turn_id == Turn.id)),
    )
    .where(is_among_given(Turn.conversation_id, "conversation_ids"))
    .group_by(Turn.conversation_id)
)


async def teaching_of(session: AsyncSession, conversation_ids: Collection[UUID]) -> dict[UUID, Teaching]:
    """Of each conversation that has turns."""
    given = {"conversation_ids": list(conversation_ids)}
    return {row[0]: Teaching(row[1], row[2]) for row in await session.execute(TEACHING, given)}


async def take_lease(session: AsyncSession, name: str, *, holder: UUID, seconds: float) -> bool:
    """Whether `holder` may do the job called `name` now: the lease is free, passed or already its own."""
    statement = (
        insert(Lease)
        .values(name=name, holder=holder, until=seconds_from_now(seconds))
        .on_conflict_do_update(
            index_elements=["name"],
            set_={"holder": holder, "until": seconds_from_now(seconds)},
            where=or_(Lease.until < func.clock_timestamp(), Lease.holder == holder),
        )
        .returning(Lease.name)
    )
    return (await session.scalar(statement)) is not None


async def release_lease(session: AsyncSession, name: str, *, holder: UUID) -> None:
    await session.execute(
        update(Lease).where(Lease.name == name, Lease.holder == holder).values(until=func.clock_timestamp())
    )
