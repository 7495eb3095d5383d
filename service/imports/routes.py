"""POST /admin/agents/{agent}/adapters: an adapter that was trained elsewhere, as a form with two files."""

import re
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from core.domain.errors import InvalidRequestError
from core.rollouts.loading import CONFIGURATION, WEIGHTS
from service.adapters.schemas import AdapterOut
from service.adapters.showing import show
from service.dependencies import AdminKeyDep, GatewayDep, check_sees
from service.errors import ErrorBody
from service.imports.service import import_adapter

PATH = re.compile(r"/admin/agents/[^/]+/adapters")
"""The one path that takes large bodies."""

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 409, 413, 422, 503)
}

FORM = {
    "type": "object",
    "required": [CONFIGURATION, WEIGHTS],
    "additionalProperties": False,
    "properties": {
        CONFIGURATION: {"type": "string", "format": "binary"},
        WEIGHTS: {"type": "string", "format": "binary"},
        "sha256": {"type": "string", "description": f"Of {WEIGHTS}, in hexadecimal digits; compared if given."},
        "name": {"type": "string", "description": "What you call it; kept with the version."},
        "base_model": {"type": "string", "description": f"Where {CONFIGURATION} does not name the base model."},
    },
}

router = APIRouter(prefix="/admin", tags=["admin"], responses=ERRORS)


@router.post(
    "/agents/{agent}/adapters",
    status_code=201,
    responses={200: {"model": AdapterOut, "description": "The same files were registered before: that version."}},
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}},
)
async def post_adapter(
    agent: str, request: Request, response: Response, gateway: GatewayDep, key: AdminKeyDep
) -> AdapterOut:
    """Register a peft LoRA that was trained elsewhere as the agent's newest candidate; older candidates retire."""
    check_sees(key, agent)
    try:
        version, is_new = await import_adapter(
            gateway.database,
            gateway.adapters_dir,
            agent,
            request.stream(),
            request.headers.get("content-type"),
            by=key.public_id,
        )
    except ClientDisconnect as error:
        raise InvalidRequestError("The upload broke off.") from error
    if not is_new:
        response.status_code = 200
    async with gateway.database.transaction() as session:
        return await show(session, version)
