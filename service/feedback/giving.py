"""Outcomes into the ledger, many at a time: each once, in whole or not at all; knows no HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.episodes import EpisodeEnd
from core.domain.errors import ConflictError, InvalidValueError, NockError
from core.domain.keys import Key
from core.domain.metrics import Metric, by_name, check_level, check_value, find_metric
from core.domain.signatures import Signer
from core.erasure.tombstones import gone
from core.outcomes import settling
from core.storage.models import Conversation, RewardEntry
from core.storage.repositories import clock, conversations, learner, rewards
from core.storage.repositories.rewards import KeyName
from service.conversations.finding import seen_agents
from service.feedback.answering import Effect, answer_fields
from service.feedback.outcomes import Answer, Outcome
from service.feedback.targets import Target, find_targets

Metrics = Mapping[UUID, settling.Declared]
"""By agent."""
CLOCKS_DIFFER = timedelta(minutes=5)
"""How far a client's clock may be ahead of Postgres' before what it says of the future is refused."""


@dataclass(slots=True)
class Post:
    """One outcome on its way: open until it is answered. `entry` is what it adds to the ledger, if it is sound."""

    outcome: Outcome
    target: Target
    entry: RewardEntry | None = None
    counts: bool = False
    """Whether it enters the reward, or corrects what did."""
    demonstrates: bool = False
    """Whether it says which reply a turn should have been given, for the agent to learn."""
    answer: Answer | NockError | None = None

    @property
    def key(self) -> KeyName | None:
        """Its idempotency key, which is unique for each agent."""
        name = self.outcome.idempotency_key
        return None if name is None else (self.target.agent_id, name)


async def give(
    session: AsyncSession, signer: Signer, key: Key, outcomes: Sequence[Outcome]
) -> list[Answer | NockError]:
    """Append outcomes; gives back, in their order, what each is answered. A bad one never blocks the others.

    NotFoundError says that the target is unknown, GoneError that it was erased, InvalidValueError that value, metric,
    time or correction do not fit, ConflictError that the idempotency key was used with another body.
    """
    targets = await find_targets(session, signer, await seen_agents(session, key), outcomes)
    posts = {place: Post(outcomes[place], target) for place, target in enumerate(targets) if isinstance(target, Target)}
    if posts:
        await _append(session, list(posts.values()))
    return [
        target if isinstance(target, NockError) else _answer_of(posts[place]) for place, target in enumerate(targets)
    ]


async def _append(session: AsyncSession, posts: Sequence[Post]) -> None:
    """Answer every post. Keys come before soundness: a repeated request is answered as it was the first time."""
    told = await conversations.lock_conversations(session, {post.target.conversation_id for post in posts})
    for post in posts:
        if post.target.conversation_id not in told:  # while its lock was waited for
            post.answer = gone("conversation")
    posts = _open(posts)
    metrics = await settling.metrics_of(session, told.values())
    now = await clock.instant(session)
    await _write_entries(session, posts, metrics, now)
    claimed = await _claim_keys(session, [post for post in posts if post.entry is not None])
    await _repeat_answers(session, [post for post in posts if post.entry is None and post.key not in claimed])
    appended = [post for post in _open(posts) if post.entry is not None]
    await rewards.add_entries(session, [post.entry for post in appended if post.entry is not None])
    await rewards.add_demonstrations(session, [post.entry for post in appended if post.entry and post.demonstrates])
    await _settle(session, appended, told, metrics, now)
    await _answer(session, appended, told)
    await _repeat_answers(session, [*_open(posts), *_late(posts)])


def _open(posts: Sequence[Post]) -> list[Post]:
    return [post for post in posts if post.answer is None]


def _late(posts: Sequence[Post]) -> list[Post]:
    """Those refused for what they say whose key an earlier one used up: alone they would have met the used key."""
    late, used = [], set()
    for post in posts:
        if isinstance(post.answer, InvalidValueError) and post.key in used:
            late.append(post)
        if isinstance(post.answer, Answer) and post.key is not None:
            used.add(post.key)
    return late


def _answer_of(post: Post) -> Answer | NockError:
    assert post.answer is not None, "every post was answered"
    return post.answer


async def _repeat_answers(session: AsyncSession, posts: Sequence[Post]) -> None:
    """Give the first answer again wherever the key is used up."""
    used = await rewards.list_keys(session, {post.key for post in posts if post.key is not None})
    for post in posts:
        if post.key is None or post.key not in used:
            continue
        if used[post.key].body_hash == post.outcome.body_hash:
            post.answer = Answer(used[post.key].answer, created=False)
        else:
            post.answer = ConflictError(
                "This idempotency key was used with another body.",
                code="idempotency_key_reused",
                param="idempotency_key",
            )


async def _write_entries(session: AsyncSession, posts: Sequence[Post], metrics: Metrics, now: datetime) -> None:
    """Give each post its entry, or the error that says what is wrong with it."""
    named = {parsed for post in posts if (parsed := _superseded(post.outcome)) is not None}
    corrected = await rewards.list_by_id(session, named) if named else {}
    for post in posts:
        try:
            declared = metrics[post.target.agent_id].metrics
            entry = _entry(post.outcome, post.target, declared, corrected, now)
            concerned = {entry.metric} | ({corrected[entry.supersedes].metric} if entry.supersedes else set())
            post.entry = entry
            post.demonstrates = find_metric(declared, entry.metric).demonstrates and entry.turn_id is not None
            post.counts = any(metric.counts for name, metric in by_name(declared).items() if name in concerned)
        except InvalidValueError as error:
            post.answer = error


def _entry(
    outcome: Outcome,
    target: Target,
    metrics: Sequence[Metric],
    corrected: Mapping[UUID, RewardEntry],
    now: datetime,
) -> RewardEntry:
    metric = find_metric(metrics, outcome.metric)
    check_level(metric, of_turn=target.turn_id is not None)
    value = check_value(metric, outcome.value)
    if outcome.occurred_at is not None and outcome.occurred_at > now + CLOCKS_DIFFER:
        raise InvalidValueError("occurred_at lies in the future.", code="in_the_future", param="occurred_at")
    supersedes = _superseded(outcome)
    if outcome.supersedes is not None:
        entry = None if supersedes is None else corrected.get(supersedes)
        if entry is None or entry.conversation_id != target.conversation_id or entry.retracts is not None:
            raise InvalidValueError(
                f"There is no feedback {outcome.supersedes} on this conversation.",
                code="unknown_feedback",
                param="supersedes",
            )
    return RewardEntry(
        id=ids.new_id(),
        agent_id=target.agent_id,
        conversation_id=target.conversation_id,
        turn_id=target.turn_id,
        metric=metric.name,
        value=value,
        source=outcome.source,
        supersedes=supersedes,
        comment=outcome.comment,
        occurred_at=outcome.occurred_at,
    )


def _superseded(outcome: Outcome) -> UUID | None:
    return None if outcome.supersedes is None else ids.parse(ids.Prefix.FEEDBACK, outcome.supersedes)


async def _claim_keys(session: AsyncSession, posts: Sequence[Post]) -> set[KeyName]:
    """Take each key for the first post that has it; the others, and those that came too late, lose their entry.

    Gives back what was taken now: its answer is yet to come.
    """
    first: dict[KeyName, Post] = {}
    for post in posts:
        if post.key is not None:
            first.setdefault(post.key, post)
    claimed = await rewards.claim_keys(session, {name: post.outcome.body_hash for name, post in first.items()})
    for post in posts:
        if post.key is not None and (post.key not in claimed or first[post.key] is not post):
            post.entry = None
    return claimed


async def _settle(
    session: AsyncSession,
    posts: Sequence[Post],
    told: Mapping[UUID, Conversation],
    metrics: Metrics,
    now: datetime,
) -> None:
    final = {post.target.conversation_id for post in posts if post.outcome.final}
    news = set(await settling.close(session, [told[place] for place in sorted(final)], EpisodeEnd.FINAL, now))
    news |= {post.target.conversation_id for post in posts if post.counts}
    touched = [told[place] for place in sorted({post.target.conversation_id for post in posts})]
    await settling.settle(session, touched, metrics, now, news=news)


def _effect_of(post: Post) -> Effect:
    if post.counts:
        return Effect.REWARD
    return Effect.DEMONSTRATION if post.demonstrates else Effect.NONE


async def _answer(session: AsyncSession, posts: Sequence[Post], told: Mapping[UUID, Conversation]) -> None:
    teaching = await learner.teaching_of(session, {post.target.conversation_id for post in posts})
    answers: dict[KeyName, dict[str, Any]] = {}
    for post in posts:
        assert post.entry is not None
        conversation = told[post.target.conversation_id]
        fields = answer_fields(post.entry, conversation, teaching.get(conversation.id), _effect_of(post))
        post.answer = Answer(fields, created=True)
        if post.key is not None:
            answers[post.key] = fields
    await rewards.answer_keys(session, answers)
