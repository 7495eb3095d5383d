"""Put a conversation together for reading: its episodes, its turns with their rewards, its outcomes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.adapters import AdapterName
from core.domain.rewards import Fold
from core.domain.tokens import Tokens
from core.outcomes import settling
from core.storage.models import Conversation, Episode, RewardEntry, Turn
from core.storage.repositories import adapters, agents, conversations, learner, rewards, turns
from core.storage.repositories import tokens as stored_tokens
from service.conversations.schemas import ConversationOut, EpisodeOut, FeedbackEntryOut, LessonOut, TurnOut


async def show(session: AsyncSession, conversation: Conversation, *, tokens: bool) -> ConversationOut:
    """The conversation as it stands; with `tokens` each turn's token ids and log-probs too."""
    agent = await agents.get_agent_by_id(session, conversation.agent_id)
    episodes = await conversations.list_episodes(session, conversation.id)
    names = await adapters.names_of(session, [episode.adapter_id for episode in episodes])
    folded = await settling.fold_of(session, conversation)
    told = await turns.list_turns(session, conversation.id)
    entries = await rewards.list_entries(session, conversation.id)
    lessons = await _lessons(session, told)
    sampled = await stored_tokens.read_tokens(session, [turn.id for turn in told]) if tokens else {}
    adapter_of = {episode.id: names[episode.adapter_id] for episode in episodes}
    return ConversationOut(
        conversation_id=ids.public(ids.Prefix.CONVERSATION, conversation.id),
        external_id=conversation.external_id,
        agent=agent.name,
        adapter=str(names[episodes[-1].adapter_id]) if episodes else None,
        episodes=[_episode(episode, names) for episode in episodes],
        state=conversation.state,
        user=conversation.end_user,
        tags=conversation.tags,
        parent=ids.public(ids.Prefix.CONVERSATION, conversation.parent_id) if conversation.parent_id else None,
        grouped=conversation.grouped,
        opened_at=conversation.opened_at,
        closed_at=conversation.closed_at,
        outcome_chance=conversation.outcome_chance,
        total_return=folded.total,
        turns=_turns(told, adapter_of, folded, lessons, sampled),
        feedback=[_entry(entry) for entry in entries],
    )


def _episode(episode: Episode, names: Mapping[UUID, AdapterName]) -> EpisodeOut:
    return EpisodeOut(
        episode_id=ids.public(ids.Prefix.EPISODE, episode.id),
        adapter=str(names[episode.adapter_id]),
        **{name: getattr(episode, name) for name in EpisodeOut.model_fields if name not in ("episode_id", "adapter")},
    )


async def _lessons(session: AsyncSession, told: Sequence[Turn]) -> Mapping[UUID, list[LessonOut]]:
    """Which runs each turn taught."""
    taught = await learner.list_lessons_of(session, [turn.id for turn in told])
    names = await adapters.names_of(session, [version for _, version in taught if version])
    lessons: dict[UUID, list[LessonOut]] = defaultdict(list)
    for lesson, version in taught:
        shown = LessonOut(
            run_id=ids.public(ids.Prefix.RUN, lesson.run_id),
            adapter=str(names[version]) if version else None,
            reward=lesson.reward,
            demonstrated=lesson.demonstrated,
            trained_actor=lesson.trained_actor,
        )
        lessons[lesson.turn_id].append(shown)
    return lessons


def _turns(
    told: Sequence[Turn],
    adapter_of: Mapping[UUID, AdapterName],
    folded: Fold,
    lessons: Mapping[UUID, list[LessonOut]],
    sampled: Mapping[UUID, Tokens],
) -> list[TurnOut]:
    """The turns in order. What the conversation earned as a whole is paid after the last one."""
    shown = []
    for turn in told:
        reward = folded.of_turn.get(turn.id)
        if turn is told[-1] and folded.of_conversation is not None:
            reward = (reward or 0.0) + folded.of_conversation
        fields: dict[str, Any] = {
            name: getattr(turn, name)
            for name in ("index", "messages", "reply", "finish_reason", "usage", "learnable", "learnable_reason")
        }
        if turn.id in sampled:
            fields |= {
                "prompt_token_ids": list(sampled[turn.id].prompt_ids),
                "completion_token_ids": list(sampled[turn.id].completion_ids),
                "logprobs": list(sampled[turn.id].logprobs),
            }
        shown.append(
            TurnOut(
                turn_id=ids.public(ids.Prefix.TURN, turn.id),
                adapter=str(adapter_of[turn.episode_id]),
                reward=reward,
                taught=lessons.get(turn.id, []),
                created_at=turn.created_at,
                **fields,
            )
        )
    return shown


def _entry(entry: RewardEntry) -> FeedbackEntryOut:
    def public(value: UUID | None, prefix: ids.Prefix) -> str | None:
        return None if value is None else ids.public(prefix, value)

    return FeedbackEntryOut(
        feedback_id=ids.public(ids.Prefix.FEEDBACK, entry.id),
        turn_id=public(entry.turn_id, ids.Prefix.TURN),
        supersedes=public(entry.supersedes, ids.Prefix.FEEDBACK),
        retracts=public(entry.retracts, ids.Prefix.FEEDBACK),
        metric=entry.metric,
        value=entry.value,
        source=entry.source,
        comment=entry.comment,
        occurred_at=entry.occurred_at,
        received_at=entry.received_at,
    )
