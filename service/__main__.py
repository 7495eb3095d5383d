"""`python -m service`: the gateway as a process."""

import signal
import sys
import time
from contextlib import suppress
from types import FrameType

import uvicorn
from pydantic import ValidationError

from core.logging import configure_logging
from service.app import create_app
from service.capacity import Capacity
from service.connections import BoundedConnection
from service.settings import GatewaySettings

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than clients and balancers keep theirs (5 and 60 s are usual), for a
request that is sent while we close meets nobody."""


class Server(uvicorn.Server):
    """Leaves in two steps: at the first signal it says that it is not ready and still serves, then it drains.

    A second signal ends it at once. Whatever that cuts was told to nobody, or is a stream that breaks.
    """

    def __init__(self, config: uvicorn.Config, capacity: Capacity, leave_seconds: float) -> None:
        super().__init__(config)
        self._capacity = capacity
        self._leave_seconds = leave_seconds
        self._leaves_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._capacity.is_leaving:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self._capacity.is_leaving = True
        self._leaves_at = time.monotonic() + self._leave_seconds
        super().handle_exit(sig, frame)
        self.should_exit = False

    async def on_tick(self, counter: int) -> bool:
        self.should_exit = self.should_exit or time.monotonic() >= self._leaves_at
        return await super().on_tick(counter)


def main() -> int:
    configure_logging()
    try:
        settings = GatewaySettings()
        app = create_app(settings)
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            sys.stderr.write(f"NOCK_{name}: {problem['msg']}. See docs/settings.md.\n")
        return 2
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=BoundedConnection,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.drain_seconds,
        server_header=False,
    )
    server = Server(config, app.state.capacity, settings.leave_seconds)
    with suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
