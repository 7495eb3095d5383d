"""How routes read their requests: the key before the body, and the body strictly, as JSON whatever type it declares."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from service.bodies import read_json
from service.dependencies import credentials_of, get_feedback_sender, get_gateway, get_key, get_sender


class StrictRequest(Request):
    """JSON by `read_json`."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = read_json(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route that reads a body, by StrictRequest, only of who has a key, or a feedback token where it takes one.

    FastAPI reads it first: whoever sends one slowly would hold a place. `curl -d` says that its JSON is a form.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_tokens = any(needed.call is get_feedback_sender for needed in self.dependant.dependencies)
        find = get_sender if takes_tokens else get_key

        async def strictly(request: Request) -> Response:
            if self.body_field is not None:
                await find(await get_gateway(request), credentials_of(request))
            others = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
            scope = dict(request.scope, headers=[*others, (b"content-type", b"application/json")])
            return await handle(StrictRequest(scope, request.receive))

        return strictly
