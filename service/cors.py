"""Which web pages may call the gateway: those of the configured origins, and of its paths those made for browsers."""

from collections.abc import Collection

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from service.chat.headers import DESCRIBED
from service.openapi import LATER

PATHS = {"/feedback", "/chat", "/v1/chat/completions"}


class BrowserPaths:
    """CORS on the paths that browsers may call; on others no page of another origin reads an answer."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self.app = app
        # No credentials: a bearer is no cookie, and `*` must not open anybody's session.
        self.with_cors = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["POST"],
            allow_headers=["Authorization", "X-Conversation-Id"],
            expose_headers=[*DESCRIBED, *LATER],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_for_browsers = scope["type"] == "http" and scope["path"] in PATHS
        await (self.with_cors if is_for_browsers else self.app)(scope, receive, send)


def allow(app: FastAPI, origins: Collection[str]) -> None:
    """Let pages of these origins in.

    Around everything: added as a middleware it would stand inside the handler of unforeseen errors, and a page could
    not read that the gateway failed.
    """
    if not origins:
        return
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: BrowserPaths(build(), origins)  # type: ignore[method-assign]
