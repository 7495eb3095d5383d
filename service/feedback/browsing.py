"""An outcome from whoever holds a turn's feedback token: one standing value of one metric, changed a few times at most.

The holder is a stranger. What the token does not name is refused, and a refusal tells nothing of other turns.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.errors import ConflictError, InvalidValueError, NockError, NotAllowedError
from core.domain.feedback_tokens import FeedbackToken
from core.domain.keys import Key
from core.domain.metrics import check_value, find_metric
from core.domain.rewards import Entry, effective
from core.domain.signatures import Signer
from core.storage.models import Conversation, RewardEntry
from core.storage.repositories import agents, conversations, learner, rewards
from service.feedback.answering import Effect, answer_fields
from service.feedback.giving import give
from service.feedback.outcomes import Answer, Outcome
from service.feedback.schemas import FeedbackIn
from service.feedback.targets import find_targets

SOURCE = "browser"
MOST_VALUES = 10
LONGEST_COMMENT = 1_000
TAKEN = {"value", "comment", "turn_id", "conversation_id", "metric", "agent"}


async def give_by_token(session: AsyncSession, signer: Signer, token: FeedbackToken, body: FeedbackIn) -> Answer:
    """Append what the holder says, or repeat the answer where it stands already.

    NotAllowedError says that the body goes beyond the token, ConflictError that the holder changed it too often. An
    unknown turn makes no dead letter: a stranger could fill the table.
    """
    _check_fields(token, body)
    outcome = _outcome(token, body)
    seen = await agents.list_names(session)
    (target,) = await find_targets(session, signer, seen, [outcome])
    if isinstance(target, NockError):
        raise target
    agent = await agents.get_agent_by_id(session, target.agent_id)
    conversation = await conversations.lock_conversation(session, target.conversation_id)
    _check_place(body, agent.name, conversation)
    if agent.browser_metric != token.metric:
        raise NotAllowedError(f"Browsers may no longer say {token.metric!r}.", code="closed_to_browsers")
    metric = find_metric(await agents.list_metrics(session, agent.id), token.metric)
    told = await rewards.list_entries(session, conversation.id)
    ledger = (await rewards.ledgers_of(session, [conversation.id])).get(conversation.id, [])
    standing = _standing(told, ledger, token)
    # The value is checked first: true and 1.0 are equal, and only one of them is a boolean.
    value = check_value(metric, outcome.value)
    if standing is not None and (standing.value, standing.comment) == (value, outcome.comment):
        teaching = (await learner.teaching_of(session, [conversation.id])).get(conversation.id)
        effect = Effect.REWARD if metric.counts else Effect.NONE
        return Answer(answer_fields(standing, conversation, teaching, effect), created=False)
    if sum(_is_of(line, token) and line.retracts is None for line in told) >= MOST_VALUES:
        raise ConflictError(
            f"This was said {MOST_VALUES} times already; the last value stands.", code="too_many_values", param="value"
        )
    # What the token reaches, in the form in which targets are looked up; it has no scope and is no key of anybody.
    (answer,) = await give(session, signer, Key(token.turn, frozenset(), frozenset({agent.name}), None), [outcome])
    if isinstance(answer, NockError):
        raise answer
    return answer


def _check_fields(token: FeedbackToken, body: FeedbackIn) -> None:
    """Only the value and a comment are the holder's own; what else is named must be what the token names."""
    beyond = [
        name for name in sorted(body.model_fields_set - TAKEN) if getattr(body, name) not in (None, False, SOURCE)
    ]
    if beyond:
        raise NotAllowedError(
            f"A feedback token takes value and comment, not {beyond[0]}.", code="beyond_feedback_token", param=beyond[0]
        )
    if body.turn_id not in (None, ids.public(ids.Prefix.TURN, token.turn)):
        raise _other_target("turn_id")
    if "metric" in body.model_fields_set and body.metric != token.metric:
        raise _other_target("metric")
    if body.comment is not None and len(body.comment) > LONGEST_COMMENT:
        raise InvalidValueError(f"A comment has {LONGEST_COMMENT:,} characters at most.", param="comment")


def _check_place(body: FeedbackIn, agent: str, conversation: Conversation) -> None:
    """Compared with the turn's own and never looked up: else a token would tell which ids there are."""
    if body.agent not in (None, agent):
        raise _other_target("agent")
    if body.conversation_id not in (
        None,
        conversation.external_id,
        ids.public(ids.Prefix.CONVERSATION, conversation.id),
    ):
        raise _other_target("conversation_id")


def _other_target(param: str) -> NotAllowedError:
    return NotAllowedError(f"This feedback token is for another {param}.", code="beyond_feedback_token", param=param)


def _outcome(token: FeedbackToken, body: FeedbackIn) -> Outcome:
    return Outcome(
        conversation_id=None,
        turn_id=ids.public(ids.Prefix.TURN, token.turn),
        agent=None,
        metric=token.metric,
        value=body.value,
        final=False,
        idempotency_key=None,
        occurred_at=None,
        source=SOURCE,
        comment=body.comment,
        supersedes=None,
    )


def _is_of(line: RewardEntry, token: FeedbackToken) -> bool:
    return (line.turn_id, line.metric, line.source) == (token.turn, token.metric, SOURCE)


def _standing(told: Sequence[RewardEntry], ledger: Sequence[Entry], token: FeedbackToken) -> RewardEntry | None:
    """What browsers last said here, unless it was corrected or withdrawn by whoever may."""
    standing = {entry.id for entry in effective(ledger)}
    return next((line for line in told if line.id in standing and _is_of(line, token)), None)
