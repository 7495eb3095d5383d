"""Let the conversations of a trial enter whose whole outcome window has passed; what they came to is fixed then."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.alarms import habits_of
from core.domain.conversations import ConversationState, Message
from core.domain.gates import Measure, horizon_seconds
from core.domain.metrics import Metric, by_name
from core.domain.rewards import measured
from core.outcomes.settling import folds_of, metrics_of
from core.storage.models import Agent, Canary, CanaryUnit, Conversation
from core.storage.repositories import agents, canaries, rewards, turns
from core.storage.repositories.canaries import Entering

COMMIT_SECONDS = 5.0
"""How long after its beginning an episode is surely committed: nobody is passed by that comes to light later."""
BATCH = 500


async def enter(session: AsyncSession, canary: Canary, agent: Agent, now: datetime) -> int:
    """The next units in the order in which their conversations began; how many were looked at. The caller has locked
    the trial: each enters once."""
    declared = await agents.list_metrics(session, agent.id)
    seconds = horizon_seconds(declared, agent.idle_seconds) + COMMIT_SECONDS
    due = await canaries.list_entering(session, canary, before=now - timedelta(seconds=seconds), limit=BATCH)
    if not due:
        return 0
    ordinal = await canaries.count_units(session, canary.id)
    outcomes = await _outcomes(session, due, [Measure.from_json(one) for one in canary.measures], declared, now)
    units = [
        CanaryUnit(
            canary_id=canary.id,
            ordinal=ordinal + place,
            conversation_id=one.conversation.id,
            arm=one.arm,
            weight=one.weight,
            outcomes=outcomes[one.conversation.id],
        )
        for place, one in enumerate(due)
    ]
    await canaries.add_units(session, units)
    canary.entered_until, canary.entered_id = due[-1].started_at, due[-1].episode_id
    return len(units)


async def _outcomes(
    session: AsyncSession,
    due: Sequence[Entering],
    measures: Sequence[Measure],
    declared: Sequence[Metric],
    now: datetime,
) -> dict[UUID, dict[str, float]]:
    """Of each conversation what it came to, measure by measure, higher being better, and its habits.

    Only a matured one has a return: what is still awaited then counts as missing, in both arms alike.
    """
    told = [one.conversation for one in due]
    folds = await folds_of(session, told, await metrics_of(session, told), now)
    ledgers = await rewards.ledgers_of(session, [one.id for one in told])
    replies: dict[UUID, list[Message]] = defaultdict(list)
    for turn in await turns.list_turns_of(session, [one.id for one in told]):
        replies[turn.conversation_id].append(turn.reply)
    metrics = by_name(declared)
    found = {}
    for one in told:
        total = folds[one.id].total if one.state is ConversationState.MATURED else None
        values = {measures[0].name: total}
        for guard in measures[1:]:
            metric = metrics.get(guard.name)  # None once it was dropped: then nobody says it any more
            if metric is not None:
                values[guard.name] = measured(ledgers.get(one.id, ()), metric, waited=_waited(one, now))
        oriented = {
            measure.name: measure.oriented(value)
            for measure in measures
            if (value := values.get(measure.name)) is not None
        }
        found[one.id] = oriented | habits_of(replies[one.id])
    return found


def _waited(conversation: Conversation, now: datetime) -> timedelta | None:
    return None if conversation.closed_at is None else now - conversation.closed_at
