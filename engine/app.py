"""The application around one engine: its routes, its decode loop's life, and vLLM's error bodies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from engine.errors import RequestError, error_body
from engine.routes import engine_version, router
from engine.serving import Engine


def create_app(engine: Engine) -> FastAPI:
    """Decoding starts and ends with the application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.scheduler.start(asyncio.get_running_loop())
        yield
        await asyncio.to_thread(engine.scheduler.stop)

    app = FastAPI(title="Nock's embedded engine", version=engine_version(), lifespan=lifespan)
    app.state.engine = engine
    app.include_router(router)
    add_error_handlers(app)
    return app


def add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def refuse(request: Request, error: RequestError) -> JSONResponse:
        return JSONResponse(error_body(str(error), error.type, error.status, error.param), error.status)

    @app.exception_handler(RequestValidationError)
    async def refuse_shape(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{where}: {first['msg']}" if where else str(first["msg"])
        return JSONResponse(error_body(message, "Bad Request", 400, where or None), 400)

    @app.exception_handler(HTTPException)
    async def refuse_route(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(error_body(str(error.detail), str(error.detail), error.status_code), error.status_code)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> JSONResponse:
        # The server's log has the traceback; the client gets no piece of it.
        return JSONResponse(error_body("Internal server error", "InternalServerError", 500), 500)
