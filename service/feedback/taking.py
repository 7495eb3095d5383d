"""Outcomes as they arrive: what can be joined goes into the ledger, what cannot is kept as a dead letter."""

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.errors import NockError, NotFoundError
from core.domain.keys import Key
from core.domain.signatures import Signer
from core.storage.database import Database
from service.feedback import dead_letters
from service.feedback.giving import give
from service.feedback.outcomes import Answer, Outcome
from service.feedback.schemas import FeedbackIn

Told = tuple[Key, FeedbackIn]
"""Who says it, and what."""


def taken_together(
    database: Database, signer: Signer
) -> Callable[[Sequence[Told]], Awaitable[Sequence[Answer | NockError]]]:
    """What answers the outcomes that one key told at one moment."""

    async def answer(told: Sequence[Told]) -> list[Answer | NockError]:
        async with database.transaction() as session:
            return await take(session, signer, told[0][0], [body for _, body in told])

    return answer


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
