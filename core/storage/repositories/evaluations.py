"""Looks at versions before anybody meets them, and their leases. Time is Postgres' own, so that workers agree."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.canaries import EvaluationKind, EvaluationState
from core.storage.models import Evaluation
from core.storage.models.base import Json
from core.storage.repositories.learner import seconds_from_now


async def queue(session: AsyncSession, agent_id: UUID, adapter_id: UUID, kind: EvaluationKind) -> Evaluation | None:
    """A new look at the version, or None while one of the kind is queued or running."""
    # As text: Postgres proves by the words which index is meant, and a statement prepared with parameters has none.
    active = text("state IN ('queued', 'running')")
    statement = (
        insert(Evaluation)
        .values(agent_id=agent_id, adapter_id=adapter_id, kind=kind)
        .on_conflict_do_nothing(index_elements=["adapter_id", "kind"], index_where=active)
        .returning(Evaluation)
    )
    evaluation: Evaluation | None = await session.scalar(statement)
    return evaluation


async def find(session: AsyncSession, evaluation_id: UUID) -> Evaluation | None:
    return await session.get(Evaluation, evaluation_id)


async def list_unheld(session: AsyncSession, kind: EvaluationKind) -> Sequence[UUID]:
    """What somebody should do, oldest first: queued, or running under a lease that has passed."""
    statement = select(Evaluation.id).where(Evaluation.kind == kind, _is_unheld()).order_by(Evaluation.id)
    return (await session.scalars(statement)).all()


async def claim(session: AsyncSession, evaluation_id: UUID, *, holder: UUID, lease_seconds: float) -> Evaluation | None:
    """Take the evaluation if nobody holds it; None when somebody does or it has ended."""
    statement = (
        update(Evaluation)
        .where(Evaluation.id == evaluation_id, _is_unheld())
        .values(
            state=EvaluationState.RUNNING,
            lease_holder=holder,
            lease_until=seconds_from_now(lease_seconds),
            attempts=Evaluation.attempts + 1,
        )
        .returning(Evaluation)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    evaluation: Evaluation | None = await session.scalar(statement)
    return evaluation


async def renew(session: AsyncSession, evaluation_id: UUID, *, holder: UUID, lease_seconds: float) -> bool:
    """Keep the evaluation; False when the lease was lost to another worker."""
    return await _update_held(session, evaluation_id, holder, lease_until=seconds_from_now(lease_seconds))


async def end(
    session: AsyncSession,
    evaluation_id: UUID,
    *,
    holder: UUID,
    state: EvaluationState,
    figures: Json | None,
    reason: str | None,
) -> bool:
    """Write down what was found; False when it is this worker's no more, and then nothing is written."""
    return await _update_held(
        session,
        evaluation_id,
        holder,
        state=state,
        figures=figures,
        reason=reason,
        ended_at=func.now(),
        lease_until=None,
        lease_holder=None,
    )


async def give_back(session: AsyncSession, evaluation_id: UUID, *, holder: UUID, reason: str, counts: bool) -> bool:
    """Queue it again for whoever comes next; `counts` False: this attempt was interrupted and did not fail."""
    return await _update_held(
        session,
        evaluation_id,
        holder,
        state=EvaluationState.QUEUED,
        reason=reason,
        attempts=Evaluation.attempts if counts else Evaluation.attempts - 1,
        lease_until=None,
        lease_holder=None,
    )


async def newest(session: AsyncSession, adapter_id: UUID) -> dict[EvaluationKind, Evaluation]:
    """The newest look of each kind at a version."""
    return (await newest_of(session, [adapter_id])).get(adapter_id, {})


async def newest_of(session: AsyncSession, adapter_ids: Sequence[UUID]) -> dict[UUID, dict[EvaluationKind, Evaluation]]:
    """The newest look of each kind at each of the versions that were looked at."""
    statement = (
        select(Evaluation)
        .where(Evaluation.adapter_id.in_(adapter_ids))
        .ext(distinct_on(Evaluation.adapter_id, Evaluation.kind))
        .order_by(Evaluation.adapter_id, Evaluation.kind, Evaluation.id.desc())
    )
    found: dict[UUID, dict[EvaluationKind, Evaluation]] = {}
    for evaluation in await session.scalars(statement):
        found.setdefault(evaluation.adapter_id, {})[evaluation.kind] = evaluation
    return found


def _is_unheld() -> ColumnElement[bool]:
    return or_(
        Evaluation.state == EvaluationState.QUEUED,
        and_(Evaluation.state == EvaluationState.RUNNING, Evaluation.lease_until < func.clock_timestamp()),
    )


async def _update_held(session: AsyncSession, evaluation_id: UUID, holder: UUID, **values: object) -> bool:
    statement = (
        update(Evaluation)
        .where(
            Evaluation.id == evaluation_id,
            Evaluation.lease_holder == holder,
            Evaluation.state == EvaluationState.RUNNING,
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return bool((await session.execute(statement)).rowcount)  # type: ignore[attr-defined]  # a cursor result
