"""Outcomes as they arrive: what can be joined goes into the ledger, what cannot is kept as a dead letter."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.errors import NockError, NotFoundError
from core.domain.keys import Key
from core.domain.signatures import Signer
from service.feedback import dead_letters
from service.feedback.giving import give
from service.feedback.outcomes import Answer, Outcome
from service.feedback.schemas import FeedbackIn


async def take(
    session: AsyncSession, signer: Signer, key: Key, bodies: Sequence[FeedbackIn]
) -> list[Answer | NockError]:
    """What each is answered, in order; all in the same transaction."""
    answers = await give(session, signer, key, [outcome(body) for body in bodies])
    for body, answer in zip(bodies, answers, strict=True):
        if isinstance(answer, NotFoundError):
            dead_letters.keep(session, key, body.model_dump(mode="json"), answer)
    return answers


def outcome(body: FeedbackIn) -> Outcome:
    return Outcome(**{name: getattr(body, name) for name in Outcome.__slots__})
