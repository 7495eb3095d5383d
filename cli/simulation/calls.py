"""What simulated users tell the service: a message, what a turn earned, that it is over; knows no task."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cli.gateway import Gateway

if TYPE_CHECKING:
    import httpx

SOURCE = "simulated user"


class OpenGateway(Gateway):
    """A gateway with one client for all calls and threads: opening one takes longer than a small model's turn."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Open the client; what breaks a call in here is told as for any other command."""
        with super()._client() as client:
            self._opened = client
            yield

    @contextmanager
    def _client(self) -> Iterator["httpx.Client"]:
        yield self._opened


class Calls:
    """The calls about one agent, each with a key of the scope that it needs."""

    def __init__(self, agent: str, url: str | None, key: str | None) -> None:
        self.agent = agent
        self._chat = OpenGateway(url, key, scope="chat")
        self._feedback = OpenGateway(url, key, scope="feedback")

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Calls are possible in here only."""
        with self._chat.opened(), self._feedback.opened():
            yield

    def say(self, message: str, conversation: str | None, user: str) -> dict[str, Any]:
        """The answer of `POST /chat`; a new conversation where none is named."""
        body = {"agent": self.agent, "message": message, "conversation_id": conversation, "user": user}
        return self._chat.call("POST", "/chat", body)

    def reward(self, turn: str, value: float) -> None:
        """Say what a turn earned."""
        self._feedback.call("POST", "/feedback", {"turn_id": turn, "value": value, "source": SOURCE})

    def close(self, conversation: str) -> str:
        """Say that no further turn will come; what its last episode ended by, which a cap may have done before."""
        closed = self._chat.call("POST", f"/conversations/{quote(conversation, safe='')}/close")
        return str(closed["episodes"][-1]["ended_by"])
