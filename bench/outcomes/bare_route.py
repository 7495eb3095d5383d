"""What FastAPI and psycopg cost without Nock: a route that writes one row and answers with its id."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
import uvicorn
from fastapi import FastAPI
from psycopg.types.json import Jsonb

from bench.outcomes.bare_inserts import INSERT
from core.domain.ids import new_id

CONNECTIONS = 16


def create_app(libpq: str, agent: UUID) -> FastAPI:
    """The one route, called as the gateway's is."""
    free: asyncio.Queue[psycopg.AsyncConnection] = asyncio.Queue()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for _ in range(CONNECTIONS):
            free.put_nowait(await psycopg.AsyncConnection.connect(libpq, autocommit=True, prepare_threshold=0))
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/feedback", status_code=201)
    async def insert(body: dict[str, Any]) -> dict[str, str]:
        entry = new_id()
        connection = await free.get()
        try:
            await connection.execute(INSERT, (entry, agent, new_id(), "reward", Jsonb(body["value"]), body["source"]))
        finally:
            free.put_nowait(connection)
        return {"feedback_id": str(entry)}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--libpq", required=True)
    parser.add_argument("--agent", type=UUID, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    app = create_app(given.libpq, given.agent)
    uvicorn.run(app, port=given.port, log_config=None, access_log=False, server_header=False)


if __name__ == "__main__":
    main()
