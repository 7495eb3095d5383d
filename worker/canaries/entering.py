"""Let the conversations of a trial enter whose whole outcome window has passed; what they came to is fixed then."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.alarms import habits_of
from core.domain.canaries import CanaryState
from core.domain.conversations import ConversationState, Message
from core.domain.gates import Measure, horizon_seconds
from core.domain.metrics import Metric, by_name
from core.domain.rewards import fold, measured
from core.storage.models import CanaryUnit
from core.storage.repositories import agents, canaries, conversations, rewards, turns
from core.storage.repositories.canaries import Entering

COMMIT_SECONDS = 5.0
"""How long after its beginning an episode is surely committed: nobody is passed by that comes to light later."""
BATCH = 500


async def enter(session: AsyncSession, canary_id: UUID, now: datetime) -> int:
    """The next units in the order in which their conversations began; how many, 0 also where another was at it.

    Conversations are locked first and the trial after them, as a turn and an erasure do: nobody waits in a ring.
    """
    canary = await canaries.find_canary(session, canary_id)
    assert canary is not None
    agent = await agents.get_agent_by_id(session, canary.agent_id)
    declared = await agents.list_metrics(session, agent.id)
    seconds = horizon_seconds(declared, agent.idle_seconds) + COMMIT_SECONDS
    due = await canaries.list_entering(session, canary, before=now - timedelta(seconds=seconds), limit=BATCH)
    kept = await conversations.keep(session, [one.conversation.id for one in due])
    due = [one for one in due if one.conversation.id in kept]
    seen_until = canary.entered_id
    canary = await canaries.lock_canary(session, canary_id)
    if not due or canary.state is not CanaryState.RUNNING or canary.entered_id != seen_until:
        return 0
    ordinal = await canaries.count_units(session, canary.id)
    outcomes = await _outcomes(session, due, [Measure.from_json(one) for one in canary.measures], declared)
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
) -> dict[UUID, dict[str, float]]:
    """Of each conversation what it came to, measure by measure, higher being better, and its habits.

    Every window counts as passed, as that of one does which ended with its first turn: else what was silent would be
    missing in long conversations and known in short ones. One that still goes on has no return.
    """
    told = [one.conversation for one in due]
    ledgers = await rewards.ledgers_of(session, [one.id for one in told])
    replies: dict[UUID, list[Message]] = defaultdict(list)
    for turn in await turns.list_turns_of(session, [one.id for one in told]):
        replies[turn.conversation_id].append(turn.reply)
    metrics = by_name(declared)
    found = {}
    for one in told:
        said = ledgers.get(one.id, [])
        waited = None if one.state is ConversationState.OPEN else timedelta.max
        values = {measures[0].name: None if waited is None else fold(said, declared, waited=waited).total}
        for guard in measures[1:]:
            metric = metrics.get(guard.name)  # None once it was dropped: then nobody says it any more
            if metric is not None:
                values[guard.name] = measured(said, metric, waited=waited)
        oriented = {
            measure.name: measure.oriented(value)
            for measure in measures
            if (value := values.get(measure.name)) is not None
        }
        found[one.id] = oriented | habits_of(replies[one.id])
    return found
