"""POST /feedback, /feedback/batch, DELETE /feedback/{id}, and the dead letters."""

import re
from typing import Any

import orjson
from fastapi import APIRouter, Response
from pydantic import ValidationError

from core.domain import ids
from core.domain.errors import NockError
from core.domain.feedback_tokens import FeedbackToken
from core.storage.repositories import audit, rewards
from service import metrics
from service.dependencies import FeedbackKeyDep, FeedbackSenderDep, GatewayDep, SessionDep
from service.errors import ErrorBody, as_invalid_value, status_of
from service.feedback import dead_letters
from service.feedback.browsing import give_by_token
from service.feedback.giving import give
from service.feedback.outcomes import Answer
from service.feedback.retracting import retract
from service.feedback.schemas import BatchIn, BatchOut, DeadLetterOut, DeadLetters, FeedbackIn, FeedbackOut
from service.feedback.taking import outcome, take
from service.gateway import Gateway
from service.strict_route import StrictRoute

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (401, 403, 404, 409, 410, 413, 422, 429, 503)
}
REPEATED: dict[int | str, dict[str, Any]] = {200: {"model": FeedbackOut}}

BATCH_PATH = re.compile("/feedback/batch")

router = APIRouter(prefix="/feedback", tags=["feedback"], route_class=StrictRoute)


@router.post("", status_code=201, response_model=FeedbackOut, responses=ERRORS | REPEATED)
async def give_feedback(body: FeedbackIn, gateway: GatewayDep, sender: FeedbackSenderDep) -> Response:
    """Say how a turn or a conversation ended. 201: stored; 200: it was stored before, the first answer again.

    With a reply's feedback token (`nkf_…`) as bearer a browser may say value and comment of that turn.
    """
    if isinstance(sender, FeedbackToken):
        return _respond(await _give_by_token(gateway, sender, body))
    await gateway.limits.admit_outcomes(sender, 1)
    return _respond(await gateway.outcomes.ask((sender, body)))


@router.post("/batch", response_model=BatchOut, responses=ERRORS)
async def give_feedback_batch(body: BatchIn, gateway: GatewayDep, key: FeedbackKeyDep) -> Response:
    """Say many at once: a status each, in order. They are stored together, so that a retry finds all or none."""
    await gateway.limits.admit_outcomes(key, len(body.entries))
    read = [_read(entry) for entry in body.entries]
    async with gateway.database.transaction() as session:
        bodies = [one for one in read if isinstance(one, FeedbackIn)]
        given = iter(await take(session, gateway.signer, key, bodies))
    answers = [next(given) if isinstance(one, FeedbackIn) else one for one in read]
    # Not through BatchOut: a thousand stored answers would be read once more only to be written.
    return Response(orjson.dumps({"data": [_item(answer) for answer in answers]}), media_type="application/json")


@router.delete("/{feedback_id}", response_model=FeedbackOut, responses=ERRORS)
async def retract_feedback(feedback_id: str, gateway: GatewayDep, session: SessionDep, key: FeedbackKeyDep) -> Response:
    """Withdraw an outcome. The ledger keeps both the outcome and its withdrawal."""
    answer = await retract(session, gateway.signer, key, feedback_id)
    return _respond(Answer(answer.fields, created=False))


@router.get("/dead-letters", responses=ERRORS)
async def list_dead_letters(
    session: SessionDep, key: FeedbackKeyDep, after: str | None = None, limit: int = 100
) -> DeadLetters:
    """Outcomes that could not be joined to a turn or a conversation, oldest first, with the reason."""
    start = ids.parse(ids.Prefix.DEAD_LETTER, after) if after else None
    most = min(max(limit, 1), 1000)
    rows = await rewards.list_dead_letters(session, agents=key.agents, after=start, limit=most)
    data = [
        DeadLetterOut(
            dead_letter_id=ids.public(ids.Prefix.DEAD_LETTER, row.id),
            reason=row.reason,
            body=row.body,
            received_at=row.received_at,
        )
        for row in rows
    ]
    return DeadLetters(data=data, next=data[-1].dead_letter_id if len(data) == most else None)


@router.post(
    "/dead-letters/{dead_letter_id}/retry", status_code=201, response_model=FeedbackOut, responses=ERRORS | REPEATED
)
async def retry_dead_letter(dead_letter_id: str, gateway: GatewayDep, key: FeedbackKeyDep) -> Response:
    """Try to join it now. It goes once it is stored, and stays with its reason while it cannot be."""
    async with gateway.database.transaction() as session:
        letter = await dead_letters.lock(session, key, dead_letter_id)
        body = _read(letter.body)
        if isinstance(body, NockError):
            raise body
        sender = dead_letters.as_its_sender(key, letter)
        (answer,) = await give(session, gateway.signer, sender, [outcome(body)])
        if isinstance(answer, Answer):
            await session.delete(letter)
            await audit.record(
                session, "dead_letter.retry", by=key.public_id, agents=letter.agents, subject=dead_letter_id
            )
    return _respond(answer)


async def _give_by_token(gateway: Gateway, token: FeedbackToken, body: FeedbackIn) -> Answer | NockError:
    try:
        async with gateway.database.transaction() as session:
            return await give_by_token(session, gateway.signer, token, body)
    except NockError as error:
        return error


def _read(entry: dict[str, Any]) -> FeedbackIn | NockError:
    try:
        return FeedbackIn.model_validate(entry)
    except ValidationError as error:
        return as_invalid_value(error.errors())


def _respond(answer: Answer | NockError) -> Response:
    status = _status(answer)
    metrics.FEEDBACK.labels(str(status)).inc()
    if isinstance(answer, NockError):
        raise answer
    told = FeedbackOut.model_validate(answer.fields).model_dump_json()
    return Response(told, status, media_type="application/json")


def _item(answer: Answer | NockError) -> dict[str, Any]:
    status = _status(answer)
    metrics.FEEDBACK.labels(str(status)).inc()
    if isinstance(answer, NockError):
        return {"status": status, "error": {"code": answer.code, "message": answer.message, "param": answer.param}}
    return {"status": status, **answer.fields}


def _status(answer: Answer | NockError) -> int:
    if isinstance(answer, NockError):
        return status_of(answer)
    return 201 if answer.created else 200
