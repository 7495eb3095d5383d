"""Conversations as they stood at a moment of the past: what had been said of them by then, and what that was worth."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.conversations import ConversationState
from core.domain.maturity import state_after
from core.domain.metrics import Metric
from core.domain.rewards import Entry, Fold, effective, fold
from core.storage.models import Conversation, Episode, RewardEntry, Turn
from core.storage.repositories import conversations, rewards, turns


@dataclass(frozen=True, slots=True)
class Account:
    """One conversation at the moment. `standing` are the entries that were neither replaced nor withdrawn."""

    moment: datetime
    conversation: Conversation
    state: ConversationState
    closed_at: datetime | None
    episodes: Sequence[Episode]
    turns: Sequence[Turn]
    entries: Sequence[RewardEntry]
    standing: frozenset[UUID]
    folded: Fold

    @property
    def rewards(self) -> list[float | None]:
        """Of each turn, None while unknown; what the conversation earned as a whole is paid after the last."""
        paid = [self.folded.of_turn.get(turn.id) for turn in self.turns]
        if paid and self.folded.of_conversation is not None:
            paid[-1] = (paid[-1] or 0.0) + self.folded.of_conversation
        return paid


async def accounts_of(
    session: AsyncSession, told: Sequence[Conversation], metrics: Sequence[Metric], moment: datetime
) -> list[Account]:
    """Conversations of one agent in their order, judged by these metrics.

    What came later is left out, but for one thing that no row remembers: a conversation that had ended and was taken up
    again is open.
    """
    places = [conversation.id for conversation in told]
    episodes: dict[UUID, list[Episode]] = defaultdict(list)
    for episode in await conversations.list_episodes_of(session, places):
        if episode.started_at < moment:
            episodes[episode.conversation_id].append(episode)
    said: dict[UUID, list[Turn]] = defaultdict(list)
    for turn in await turns.list_turns_of(session, places):
        if turn.created_at < moment:
            said[turn.conversation_id].append(turn)
    lines: dict[UUID, list[RewardEntry]] = defaultdict(list)
    for line in await rewards.list_entries_of(session, places):
        if line.received_at < moment:
            lines[line.conversation_id].append(line)
    return [
        _account(one, episodes[one.id], said[one.id], lines[one.id], metrics=metrics, moment=moment) for one in told
    ]


def _account(
    conversation: Conversation,
    episodes: Sequence[Episode],
    said: Sequence[Turn],
    lines: Sequence[RewardEntry],
    *,
    metrics: Sequence[Metric],
    moment: datetime,
) -> Account:
    closed_at = conversation.closed_at
    if closed_at is not None and closed_at >= moment:
        closed_at = None
    waited = None if closed_at is None else moment - closed_at
    entries = [
        Entry(line.id, line.turn_id, line.metric, line.source, line.value, line.supersedes, line.retracts)
        for line in lines
    ]
    folded = fold(entries, metrics, waited=waited)
    state = ConversationState.OPEN if waited is None else state_after(folded, metrics, waited)
    standing = frozenset(entry.id for entry in effective(entries))
    return Account(moment, conversation, state, closed_at, episodes, said, lines, standing, folded)
