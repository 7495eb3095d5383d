"""Take an outcome: find its target, append it to the ledger once, settle the conversation."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.errors import ConflictError, InvalidValueError, NotFoundError
from core.domain.keys import Key
from core.domain.rewards import REWARD, Metric, Value, check_value, find_metric
from core.domain.sampling import Learnable
from core.outcomes import settling
from core.storage.models import Conversation, DeadLetter, RewardEntry, Turn
from core.storage.repositories import agents, conversations, learner, rewards, turns
from service.conversations.finding import find_conversation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client says."""

    conversation: str | None
    turn: str | None
    agent: str | None
    metric: str
    value: Any
    final: bool
    key: str | None
    occurred_at: datetime | None
    source: str
    comment: str | None
    supersedes: str | None

    @property
    def body_hash(self) -> bytes:
        """The same for the same outcome, however its JSON was spelt."""
        fields = asdict(self) | {"occurred_at": self.occurred_at and self.occurred_at.astimezone(UTC).isoformat()}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True, slots=True)
class Answer:
    """The stored entry as the client is told, and whether this request stored it."""

    fields: dict[str, Any]
    created: bool


async def give(session: AsyncSession, key: Key, outcome: Outcome) -> Answer:
    """Append one outcome. With a key that was used before: the first answer, if the body is the same.

    Raises NotFoundError for an unknown target, InvalidValueError for a value or metric that does not fit, and
    ConflictError for a used key with another body.
    """
    conversation, turn = await _find_target(session, key, outcome)
    conversation = await conversations.lock_conversation(session, conversation.id)
    if outcome.key is not None:
        first = await _claim(session, conversation, outcome)
        if first is not None:
            return Answer(first, created=False)
    metrics = await agents.list_metrics(session, conversation.agent_id)
    metric = find_metric(metrics, outcome.metric)
    entry = RewardEntry(
        id=ids.new_id(),
        agent_id=conversation.agent_id,
        conversation_id=conversation.id,
        turn_id=turn.id if turn else None,
        metric=metric.name,
        value=check_value(metric, outcome.value),
        source=outcome.source,
        supersedes=await _superseded(session, conversation, outcome),
        comment=outcome.comment,
        occurred_at=outcome.occurred_at,
    )
    session.add(entry)
    await session.flush()
    if outcome.final:
        await settling.end(session, conversation, EpisodeEnd.FINAL)
    await settling.settle(session, conversation, is_news=metric.counts)
    fields = await _answer(session, conversation, turn, entry, metric, entry.value)
    if outcome.key is not None:
        (await rewards.get_key(session, conversation.agent_id, outcome.key)).answer = fields
    return Answer(fields, created=True)


async def retract(session: AsyncSession, key: Key, feedback_id: str) -> Answer:
    """Withdraw an entry by a new one. A second time changes nothing."""
    found = ids.parse(ids.Prefix.FEEDBACK, feedback_id)
    entry = await rewards.find_entry(session, found) if found else None
    agent = await agents.get_agent_by_id(session, entry.agent_id) if entry else None
    if entry is None or agent is None or not key.sees(agent.name) or entry.retracts is not None:
        raise NotFoundError(f"There is no feedback {feedback_id}.", code="feedback_not_found")
    conversation = await conversations.lock_conversation(session, entry.conversation_id)
    declared = {metric.name: metric for metric in [REWARD, *await agents.list_metrics(session, entry.agent_id)]}
    metric = declared.get(entry.metric, Metric(entry.metric, weight=0.0))  # one that the agent dropped counts no more
    said = await rewards.list_entries(session, conversation.id)
    withdrawal = next((line for line in said if line.retracts == entry.id), None)
    created = withdrawal is None
    if withdrawal is None:
        withdrawal = RewardEntry(
            id=ids.new_id(),
            agent_id=entry.agent_id,
            conversation_id=entry.conversation_id,
            turn_id=entry.turn_id,
            metric=entry.metric,
            source=entry.source,
            retracts=entry.id,
        )
        session.add(withdrawal)
        await session.flush()
    await settling.settle(session, conversation, is_news=created and metric.counts)
    turn = await turns.find_turn(session, entry.turn_id) if entry.turn_id else None
    return Answer(await _answer(session, conversation, turn, withdrawal, metric, None), created)


async def _find_target(session: AsyncSession, key: Key, outcome: Outcome) -> tuple[Conversation, Turn | None]:
    turn = None
    if outcome.turn is not None:
        turn_id = ids.parse(ids.Prefix.TURN, outcome.turn)
        turn = await turns.find_turn(session, turn_id) if turn_id else None
        agent = await agents.get_agent_by_id(session, turn.agent_id) if turn else None
        if turn is None or agent is None or not key.sees(agent.name) or outcome.agent not in (None, agent.name):
            raise NotFoundError(f"There is no turn {outcome.turn}.", code="turn_not_found", param="turn_id")
    if outcome.conversation is not None:
        conversation = await find_conversation(session, key, outcome.conversation, outcome.agent)
        if turn is not None and turn.conversation_id != conversation.id:
            raise InvalidValueError("The turn is not one of this conversation.", code="turn_elsewhere", param="turn_id")
        return conversation, turn
    assert turn is not None
    return await conversations.lock_conversation(session, turn.conversation_id), turn


async def _claim(session: AsyncSession, conversation: Conversation, outcome: Outcome) -> dict[str, Any] | None:
    """Take the idempotency key, or give the answer that it stands for."""
    assert outcome.key is not None
    agent_id, body_hash = conversation.agent_id, outcome.body_hash
    if await rewards.claim_key(session, agent_id, outcome.key, body_hash, {}) is not None:
        return None
    used = await rewards.get_key(session, agent_id, outcome.key)
    if used.body_hash != body_hash:
        raise ConflictError(
            "This idempotency key was used with another body.", code="idempotency_key_reused", param="idempotency_key"
        )
    return used.answer


async def _superseded(session: AsyncSession, conversation: Conversation, outcome: Outcome) -> UUID | None:
    """The entry that this one corrects; it must speak of the same conversation."""
    if outcome.supersedes is None:
        return None
    entry_id = ids.parse(ids.Prefix.FEEDBACK, outcome.supersedes)
    entry = await rewards.find_entry(session, entry_id) if entry_id else None
    if entry is None or entry.conversation_id != conversation.id or entry.retracts is not None:
        raise InvalidValueError(
            f"There is no feedback {outcome.supersedes} on this conversation.",
            code="unknown_feedback",
            param="supersedes",
        )
    return entry.id


async def _answer(
    session: AsyncSession,
    conversation: Conversation,
    turn: Turn | None,
    entry: RewardEntry,
    metric: Metric,
    value: Value | None,
) -> dict[str, Any]:
    consequence, reason = await _consequence(session, conversation, turn, metric)
    return {
        "feedback_id": ids.public(ids.Prefix.FEEDBACK, entry.id),
        "conversation_id": ids.public(ids.Prefix.CONVERSATION, conversation.id),
        "turn_id": ids.public(ids.Prefix.TURN, turn.id) if turn else None,
        "metric": metric.name,
        "value": value,
        "state": conversation.state.value,
        "consequence": consequence,
        "reason": reason,
    }


async def _consequence(
    session: AsyncSession, conversation: Conversation, turn: Turn | None, metric: Metric
) -> tuple[str, str | None]:
    """What the outcome will change, and why nothing where it changes nothing."""
    if not metric.counts:
        return "record_only", f"metric {metric.name!r} does not enter the reward"
    told = await turns.list_turns(session, conversation.id)
    if not any(row.learnable is not Learnable.NONE for row in told):
        return "record_only", "the conversation has no turn that can teach"
    if await learner.runs_taught_by(session, [row.id for row in told]):
        return "relearn", None
    return ("next_update" if conversation.state is ConversationState.MATURED else "pending"), None


async def keep_dead_letter(session: AsyncSession, key: Key, body: dict[str, Any], reason: str) -> None:
    """Keep what could not be joined, for those who may see the agents that the key may see."""
    allowed = None if key.agents is None else sorted(key.agents)
    session.add(DeadLetter(id=ids.new_id(), key_id=key.id, agents=allowed, body=body, reason=reason))
    await session.flush()
