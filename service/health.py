"""GET /healthz, /readyz and /metrics: for orchestrators and Prometheus; no key, no secrets."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse

from core.storage.database import Database, in_time
from core.storage.migrations import current_revision, expected_revision, known_revisions
from service import backlog_figures, learner_figures, metrics, pulse, turn_figures
from service.dependencies import GatewayDep
from service.gateway import Gateway

log = structlog.get_logger()

router = APIRouter(tags=["operations"])

EXPECTED_REVISION = expected_revision()
BEHIND = known_revisions() - {EXPECTED_REVISION} | {None}


@router.get("/healthz")
async def is_alive() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Something is missing; `missing` says what."}})
async def is_ready(gateway: GatewayDep, request: Request) -> JSONResponse:
    """Postgres, the migrations and an engine are there, and the process is not about to end."""
    missing = await _missing(gateway)
    if request.app.state.capacity.is_leaving:
        missing.append("time: the gateway is being stopped")
    body: dict[str, Any] = {"status": "ready" if not missing else "not ready", "missing": missing}
    return JSONResponse(body, 200 if not missing else 503, {"Retry-After": "2"} if missing else None)


async def _missing(gateway: Gateway) -> list[str]:
    missing = [*await gateway.missing_in_database.get()]
    if not gateway.pool.healthy:
        missing.append("engine: none is healthy")
    return missing


async def find_missing(database: Database) -> Sequence[str]:
    """What Postgres lacks."""
    try:
        found = await in_time(_revision(database))
    except (SQLAlchemyError, OSError):
        return ["postgres: it does not answer"]
    return [f"migrations: the database is at {found}, this gateway needs {EXPECTED_REVISION}"] * (found in BEHIND)


async def _revision(database: Database) -> str | None:
    async with database.transaction() as session:
        return await current_revision(session)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def expose_metrics(gateway: GatewayDep) -> Response:
    """Prometheus' text format."""
    looked_up = await gateway.figures.get()
    pulse.look(gateway)
    turn_figures.follow(gateway.routing.all())
    told = await asyncio.to_thread(metrics.exposition, looked_up)  # thousands of lines: no request waits for them
    return Response(told, media_type=CONTENT_TYPE_LATEST)


async def look_up_figures(database: Database) -> Sequence[Metric]:
    """Those metrics that are rows in Postgres."""
    return [*await learner_figures.look_up(database), *await backlog_figures.look_up(database)]
