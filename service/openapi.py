"""The API's description, made true: the errors that are really sent, in the shapes that they really have."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

FRAMEWORK_ERROR = "#/components/schemas/HTTPValidationError"


def describe(app: FastAPI) -> None:
    """Have the app describe itself so, once."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _make(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def _make(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for path, methods in document["paths"].items():
        shape = "OpenAIErrorBody" if path.startswith("/v1/") else "ErrorBody"
        for operation in methods.values():
            responses = operation["responses"]
            if FRAMEWORK_ERROR in str(responses.get("422")):
                del responses["422"]
                status = "400" if path.startswith("/v1/") else "422"
                responses.setdefault(status, _error("The request makes no sense.", shape))
            responses["500"] = _error("Something failed here; it was logged.", shape)
            responses.setdefault("503", _error("Too much is under way, or Postgres is away: try again.", shape))
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document


def _error(description: str, shape: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{shape}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
