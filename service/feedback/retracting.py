"""Withdraw an entry of the ledger, by another entry."""

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.erasure import Named
from core.domain.errors import NotFoundError
from core.domain.keys import Key
from core.domain.metrics import by_name
from core.domain.signatures import Signer
from core.erasure.tombstones import gone, list_erased
from core.outcomes import settling
from core.storage.models import RewardEntry
from core.storage.repositories import clock, conversations, learner, rewards
from service.conversations.finding import seen_agents
from service.feedback.answering import Effect, answer_fields
from service.feedback.outcomes import Answer


async def retract(session: AsyncSession, signer: Signer, key: Key, feedback_id: str) -> Answer:
    """Withdraw an entry by a new one. A second time changes nothing."""
    found = ids.parse(ids.Prefix.FEEDBACK, feedback_id)
    entry = await rewards.find_entry(session, found) if found else None
    seen = await seen_agents(session, key)
    if entry is None and found and await list_erased(session, signer, Named.FEEDBACK, {feedback_id: found}, seen):
        raise gone("feedback")
    if entry is None or entry.agent_id not in seen or entry.retracts is not None:
        raise NotFoundError(f"There is no feedback {feedback_id}.", code="feedback_not_found")
    conversation = await conversations.lock_conversation(session, entry.conversation_id)
    metrics = await settling.metrics_of(session, [conversation])
    metric = by_name(metrics[conversation.agent_id].metrics).get(entry.metric)
    counts = metric is not None and metric.counts  # one that the agent dropped counts no more
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
    news = {conversation.id} if created and counts else set()
    await settling.settle(session, [conversation], metrics, await clock.instant(session), news=news)
    teaching = await learner.teaching_of(session, [conversation.id])
    return Answer(
        answer_fields(
            withdrawal, conversation, teaching.get(conversation.id), Effect.REWARD if counts else Effect.NONE
        ),
        created,
    )
