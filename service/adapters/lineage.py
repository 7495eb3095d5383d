"""What a version learned from, beside what that is worth by now."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.outcomes.earning import Taught, taught_to
from core.storage.repositories import learner
from service.adapters.schemas import AdapterOut, LineageOut, TaughtOut

MOST = 1000


async def show_lineage(
    session: AsyncSession, version: AdapterOut, run_id: UUID | None, *, after: str | None, limit: int
) -> LineageOut:
    """A page of the version's own run; what its parent learned from is the parent's lineage."""
    taught = await taught_to(session, run_id) if run_id else []
    run = await learner.find_run(session, run_id) if run_id else None
    changed = sum(turn.changed for turn in taught)
    start = ids.parse(ids.Prefix.TURN, after) if after else None
    most = min(max(limit, 1), MOST)
    rest = [turn for turn in taught if start is None or turn.turn_id > start]
    return LineageOut(
        adapter=version.adapter,
        parent=version.parent,
        run_id=version.run_id,
        turns=len(taught),
        erased_turns=run.erased_turns if run else 0,
        changed=changed,
        changed_share=changed / len(taught) if taught else None,
        data=[_show(turn) for turn in rest[:most]],
        next=ids.public(ids.Prefix.TURN, rest[most - 1].turn_id) if len(rest) > most else None,
    )


def _show(turn: Taught) -> TaughtOut:
    return TaughtOut(
        turn_id=ids.public(ids.Prefix.TURN, turn.turn_id),
        conversation_id=ids.public(ids.Prefix.CONVERSATION, turn.conversation_id),
        trained_actor=turn.trained_actor,
        reward_then=turn.reward_then,
        reward_now=turn.reward_now,
        changed=turn.changed,
        feedback_ids=[ids.public(ids.Prefix.FEEDBACK, entry) for entry in turn.entries],
    )
