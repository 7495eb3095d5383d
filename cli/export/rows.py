"""Database rows as rows of the exported tables, under the ids and names that the API shows."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from core.domain.adapters import AdapterName
from core.domain.ids import Prefix, public
from core.domain.tokens import Tokens
from core.outcomes.looking_back import Account
from core.storage.models import AdapterVersion, Episode, RewardEntry, Turn

Row = dict[str, Any]
Names = Mapping[UUID, AdapterName]


def conversation_row(account: Account, agent: str, names: Names) -> Row:
    conversation = account.conversation
    return {
        "conversation_id": public(Prefix.CONVERSATION, conversation.id),
        "external_id": conversation.external_id,
        "agent": agent,
        "adapter": str(names[account.episodes[-1].adapter_id]) if account.episodes else None,
        "user": conversation.end_user,
        "tags": as_json(conversation.tags),
        "state": account.state.value,
        "return": account.folded.total,
        "turns": len(account.turns),
        "episodes": [_episode(episode, names, account) for episode in account.episodes],
        "parent": _public(Prefix.CONVERSATION, conversation.parent_id),
        "grouped": conversation.grouped.value,
        "opened_at": conversation.opened_at,
        "closed_at": account.closed_at,
    }


def _episode(episode: Episode, names: Names, account: Account) -> Row:
    """One that ended after the moment had not ended then."""
    ended = episode.ended_at is not None and episode.ended_at < account.moment
    return {
        "episode_id": public(Prefix.EPISODE, episode.id),
        "adapter": str(names[episode.adapter_id]),
        "arm": episode.arm.value,
        "propensity": episode.propensity,
        "started_at": episode.started_at,
        "ended_at": episode.ended_at if ended else None,
        "ended_by": episode.ended_by.value if ended and episode.ended_by else None,
    }


def turn_rows(account: Account, names: Names, tokens: Mapping[UUID, Tokens]) -> list[Row]:
    adapter_of = {episode.id: str(names[episode.adapter_id]) for episode in account.episodes}
    paid = zip(account.turns, account.rewards, strict=True)
    return [_turn(turn, adapter_of.get(turn.episode_id), reward, tokens.get(turn.id)) for turn, reward in paid]


def _turn(turn: Turn, adapter: str | None, reward: float | None, tokens: Tokens | None) -> Row:
    content = turn.reply.get("content")
    row = {
        "turn_id": public(Prefix.TURN, turn.id),
        "conversation_id": public(Prefix.CONVERSATION, turn.conversation_id),
        "episode_id": public(Prefix.EPISODE, turn.episode_id),
        "index": turn.index,
        "adapter": adapter,
        "messages": as_json(turn.messages),
        "reply": as_json(turn.reply),
        "reply_text": content if isinstance(content, str) else None,
        "finish_reason": turn.finish_reason,
        "reward": reward,
        "prompt_tokens": turn.usage.get("prompt_tokens"),
        "completion_tokens": turn.usage.get("completion_tokens"),
        "sampling": as_json(turn.sampling),
        "learnable": turn.learnable.value,
        "learnable_reason": turn.learnable_reason,
        "engine_seconds": turn.engine_seconds,
        "first_token_seconds": turn.first_token_seconds,
        "created_at": turn.created_at,
    }
    if tokens is not None:
        row |= {
            "prompt_token_ids": tokens.prompt_ids,
            "completion_token_ids": tokens.completion_ids,
            "logprobs": tokens.logprobs,
        }
    return row


def reward_rows(account: Account) -> list[Row]:
    """The ledger's lines in its order; `stands` are those whose values count."""
    return [_reward(entry, stands=entry.id in account.standing) for entry in account.entries]


def _reward(entry: RewardEntry, *, stands: bool) -> Row:
    value = entry.value
    return {
        "feedback_id": public(Prefix.FEEDBACK, entry.id),
        "conversation_id": public(Prefix.CONVERSATION, entry.conversation_id),
        "turn_id": _public(Prefix.TURN, entry.turn_id),
        "metric": entry.metric,
        "value": None if value is None else as_json(value),
        "number": None if value is None or isinstance(value, str) else float(value),
        "source": entry.source,
        "stands": stands,
        "supersedes": _public(Prefix.FEEDBACK, entry.supersedes),
        "retracts": _public(Prefix.FEEDBACK, entry.retracts),
        "comment": entry.comment,
        "occurred_at": entry.occurred_at,
        "received_at": entry.received_at,
    }


def version_rows(versions: Sequence[AdapterVersion], agent: str) -> list[Row]:
    names = {version.id: str(AdapterName(agent, version.number)) for version in versions}
    return [
        {
            "adapter": names[version.id],
            "agent": agent,
            "state": version.state.value,
            "parent": None if version.parent_id is None else names[version.parent_id],
            "run_id": _public(Prefix.RUN, version.run_id),
            "path": version.path,
            "sha256": version.sha256,
            "evidence": None if version.evidence is None else as_json(version.evidence),
            "created_at": version.created_at,
        }
        for version in versions
    ]


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _public(prefix: Prefix, value: UUID | None) -> str | None:
    return None if value is None else public(prefix, value)
