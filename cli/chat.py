"""`nock chat`: talk to an agent from a terminal, its replies shown as they are made."""

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from cli.gateway import FAILURES, Gateway, Refused, clear_errors
from cli.options import Key, Url


def chat(
    agent: Annotated[str, typer.Argument(help="An agent, or with an admin key one version of it: demo@v3.")],
    message: Annotated[str | None, typer.Option("--message", "-m", help="Say this, and leave.")] = None,
    conversation: Annotated[str | None, typer.Option("--conversation", "-c", help="Go on with this one.")] = None,
    user: Annotated[str | None, typer.Option(help="Who is talking.")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Talk to an agent. Leave with an empty line or Ctrl-D."""
    talk = Talk(Gateway(url, key, scope="admin" if "@" in agent else "chat"), agent, conversation, user)
    if message is not None:
        with clear_errors():
            talk.say(message)
        return
    while text := _ask():
        try:
            talk.say(text)
        except FAILURES as error:
            typer.secho(f"error: {error}", fg="red", err=True)
    if talk.conversation:
        typer.secho(f"Say how it went: nock feedback {talk.conversation} --value 1.0 --final", dim=True, err=True)


class Talk:
    """One conversation. The service keeps its history; the messages are resent because the wire format asks for it."""

    def __init__(self, gateway: Gateway, agent: str, conversation: str | None, user: str | None) -> None:
        self.gateway = gateway
        self.agent = agent
        self.conversation = conversation
        self.user = user
        self.messages: list[dict[str, str]] = []

    def say(self, text: str) -> None:
        """Print the reply as it comes, then who made it."""
        if self.conversation and not self.messages:
            self.messages = self._history(self.conversation)
        asked = [*self.messages, {"role": "user", "content": text}]
        body: dict[str, Any] = {"model": self.agent, "messages": asked, "stream": True}
        if self.user:
            body["user"] = self.user
        headers = {"X-Conversation-Id": self.conversation} if self.conversation else {}
        reply = ""
        with self.gateway.stream("/v1/chat/completions", body, headers) as answer:
            self.conversation = answer.headers.get("X-Conversation-Id", self.conversation)
            for line in _lines(answer.iter_bytes()):
                piece = _piece(line)
                typer.echo(piece, nl=False)
                reply += piece
        typer.echo()
        made_by = f"{answer.headers.get('X-Turn-Id')} in {self.conversation} by {answer.headers.get('X-Adapter')}"
        typer.secho(made_by, dim=True, err=True)
        self.messages = [*asked, {"role": "assistant", "content": reply}]

    def _history(self, conversation: str) -> list[dict[str, str]]:
        from urllib.parse import quote

        found = self.gateway.call("GET", f"/conversations/{quote(conversation, safe='')}")
        return [message for turn in found["turns"] for message in (*turn["messages"], turn["reply"])]


def _ask() -> str:
    try:
        return input("> ").strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Split at line feeds only: a reply may hold other characters that Python takes for the end of a line."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


def _piece(line: bytes) -> str:
    """The text in one line of the event stream."""
    data = line.removeprefix(b"data:").strip()
    if data == line.strip() or data == b"[DONE]":
        return ""
    chunk = json.loads(data)
    if "error" in chunk:
        raise Refused(502, str(chunk["error"].get("code")), str(chunk["error"].get("message")))
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
