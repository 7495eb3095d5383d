"""How a gateway's process ends: in two steps when it is told to, and never later than the process that started it."""

import asyncio
import multiprocessing
import os
import signal
from types import FrameType

from starlette.types import ASGIApp, Receive, Scope, Send

from service.capacity import Capacity

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class LeavingInSteps:
    """At the first signal it says that it is not ready and still serves, then the server drains.

    A second signal ends it at once; in one of several processes a third, for what their whole group is told comes again
    from the process that keeps them. Whatever that cuts was told to nobody, or is a stream that breaks.
    """

    def __init__(self, app: ASGIApp, capacity: Capacity, leave_seconds: float) -> None:
        self._app = app
        self._capacity = capacity
        self._leave_seconds = leave_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._listen(asyncio.get_running_loop())
        await self._app(scope, receive, send)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stand before the server's own handlers, which it has set by now."""
        servers_own = {number: signal.getsignal(number) for number in SIGNALS}
        parent = multiprocessing.parent_process()
        repeats = 0 if parent is None else 1

        def leave(number: int, frame: FrameType | None) -> None:
            nonlocal repeats
            if self._capacity.is_leaving:
                repeats -= 1
                if repeats < 0:
                    signal.signal(number, signal.SIG_DFL)
                    signal.raise_signal(number)
                return
            self._capacity.is_leaving = True
            drain = servers_own[signal.Signals(number)]
            if callable(drain):
                loop.call_soon_threadsafe(loop.call_later, self._leave_seconds, drain, number, frame)

        for number in SIGNALS:
            signal.signal(number, leave)
        if parent is not None:
            loop.add_reader(parent.sentinel, self._follow_parent, loop, parent.sentinel)

    def _follow_parent(self, loop: asyncio.AbstractEventLoop, sentinel: int) -> None:
        loop.remove_reader(sentinel)
        if self._capacity.is_leaving:  # who ended the parent did not wait for us
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
