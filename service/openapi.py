"""The API's description, made true: the errors that are really sent, in the shapes that they really have."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from service.limits import headers as limits

SCHEMAS = "#/components/schemas/"
FRAMEWORK_ERROR = f"{SCHEMAS}HTTPValidationError"
UNREADABLE = {
    "400": "The body is not what its Content-Encoding says.",
    "413": "The body is too large.",
    "415": "The body has a Content-Encoding that is not taken.",
}

LATER = {
    "Retry-After": "After how many seconds to ask again.",
    "x-should-retry": "`false` where that is longer than clients of OpenAI's wait.",
}
"""Headers of a refusal that time mends."""


def describe(app: FastAPI) -> None:
    """Have the app describe itself so, once."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _make(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def described(headers: Mapping[str, str]) -> dict[str, Any]:
    """An answer's headers by name and meaning, as the document has them; none of them must be there."""
    return {name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in headers.items()}


def reading(body: type[BaseModel], *headers: str) -> dict[str, Any]:
    """What the description says of a route that reads its request without FastAPI; `_make` files the body's schema."""
    schema = body.model_json_schema(ref_template=SCHEMAS + "{model}")
    optional = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    return {
        "requestBody": {"content": {"application/json": {"schema": schema}}, "required": True},
        "parameters": [{"in": "header", "name": name, "required": False, "schema": optional} for name in headers],
        "security": [{"HTTPBearer": []}],
    }


def _make(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for path, methods in document["paths"].items():
        shape = "OpenAIErrorBody" if path.startswith("/v1/") else "ErrorBody"
        for operation in methods.values():
            _file_schemas(document, operation)
            responses = operation["responses"]
            if FRAMEWORK_ERROR in str(responses.get("422")):
                del responses["422"]
                status = "400" if path.startswith("/v1/") else "422"
                responses.setdefault(status, _error("The request makes no sense.", shape))
            if "requestBody" in operation:
                for status, description in UNREADABLE.items():
                    responses.setdefault(status, _error(description, shape))
            responses["500"] = _error("Something failed here; it was logged.", shape)
            responses.setdefault("503", _error("Too much is under way, or Postgres is away: try again.", shape))
            responses["503"]["headers"] = described({"Retry-After": LATER["Retry-After"]})
            if "429" in responses:
                responses["429"]["headers"] = described(LATER | limits.DESCRIPTIONS)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document


def _file_schemas(document: dict[str, Any], operation: dict[str, Any]) -> None:
    """Put the schema that `reading` gave a request's body where the others are, with those that it refers to."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        given = content["schema"]
        if "title" in given and "properties" in given:
            document["components"]["schemas"] |= given.pop("$defs", {}) | {given["title"]: given}
            content["schema"] = {"$ref": SCHEMAS + given["title"]}


def _error(description: str, shape: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{shape}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
