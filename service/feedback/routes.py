"""POST /feedback, DELETE /feedback/{id}, GET /feedback/dead-letters."""

from typing import Any

from fastapi import APIRouter, Response

from core.domain import ids
from core.domain.errors import NotFoundError
from core.storage.repositories import rewards
from service import metrics
from service.bodies import StrictRoute
from service.dependencies import FeedbackKeyDep, GatewayDep, SessionDep
from service.errors import ErrorBody
from service.feedback import service
from service.feedback.schemas import DeadLetterOut, DeadLetters, FeedbackIn, FeedbackOut

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (401, 403, 404, 409, 413, 422, 503)
}

router = APIRouter(prefix="/feedback", tags=["feedback"], route_class=StrictRoute)


@router.post("", status_code=201, response_model=FeedbackOut, responses=ERRORS | {200: {"model": FeedbackOut}})
async def give_feedback(body: FeedbackIn, gateway: GatewayDep, key: FeedbackKeyDep) -> Response:
    """Say how a turn or a conversation ended. 201: stored; 200: this key was stored before, the first answer again."""
    outcome = service.Outcome(
        conversation=body.conversation_id,
        turn=body.turn_id,
        agent=body.agent,
        metric=body.metric,
        value=body.value,
        final=body.final,
        key=body.idempotency_key,
        occurred_at=body.occurred_at,
        source=body.source,
        comment=body.comment,
        supersedes=body.supersedes,
    )
    try:
        async with gateway.database.transaction() as session:
            answer = await service.give(session, key, outcome)
    except NotFoundError as error:
        metrics.FEEDBACK.labels("404").inc()
        async with gateway.database.transaction() as session:
            await service.keep_dead_letter(session, key, body.model_dump(mode="json"), error.message)
        raise
    return _respond(answer)


@router.delete("/{feedback_id}", response_model=FeedbackOut, responses=ERRORS)
async def retract_feedback(feedback_id: str, session: SessionDep, key: FeedbackKeyDep) -> Response:
    """Withdraw an outcome. The ledger keeps both the outcome and its withdrawal."""
    answer = await service.retract(session, key, feedback_id)
    return _respond(service.Answer(answer.fields, created=False))


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


def _respond(answer: service.Answer) -> Response:
    status = 201 if answer.created else 200
    metrics.FEEDBACK.labels(str(status)).inc()
    told = FeedbackOut.model_validate(answer.fields).model_dump_json()
    return Response(told, status, media_type="application/json")
