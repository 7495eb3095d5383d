"""Speak HTTP with the gateway: find address and key, turn refusals into one clear line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import typer

from cli.keys_file import read_keys
from cli.up.home import Home

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 180.0


class Refused(Exception):
    """The gateway said no."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({status} {code})")
        self.status = status
        self.code = code


class Unreachable(Exception):
    """Nothing answers there."""


class NoKey(Exception):
    """There is no key to present."""


FAILURES = (Refused, Unreachable, NoKey)


class Gateway:
    """A client with one key."""

    def __init__(self, url: str | None, key: str | None, *, scope: str) -> None:
        self.url = (url or default_url()).rstrip("/")
        self.key = key or read_keys(Home.from_environment().keys).get(scope)
        self.scope = scope

    def call(self, method: str, path: str, body: object = None, **query: object) -> dict[str, Any]:
        """The answer's JSON object; `Refused` for any error."""
        with self._client() as client:
            answer = client.request(method, path, json=body, params=_given(query))
            _raise_refusal(answer)
            content = answer.json() if answer.content else {}
        assert isinstance(content, dict)
        return content

    def upload(self, path: str, files: dict[str, BinaryIO], fields: dict[str, str]) -> dict[str, Any]:
        """POST a form whose files are named as they are on the disk, without reading them into memory."""
        with self._client() as client:
            form = {name: (name, file, "application/octet-stream") for name, file in files.items()}
            answer = client.post(path, files=form, data=fields)
            _raise_refusal(answer)
            content = answer.json()
        assert isinstance(content, dict)
        return content

    @contextmanager
    def stream(self, path: str, body: object, headers: dict[str, str]) -> Iterator["httpx.Response"]:
        """POST and read the answer while it comes."""
        with self._client() as client, client.stream("POST", path, json=body, headers=headers) as answer:
            if answer.is_error:
                answer.read()
            _raise_refusal(answer)
            yield answer

    @contextmanager
    def _client(self) -> Iterator["httpx.Client"]:
        import httpx

        if self.key is None:
            raise NoKey(f"No {self.scope} key at hand: `nock up` makes one; or give --key, or set NOCK_API_KEY.")
        try:
            with httpx.Client(
                base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=TIMEOUT_SECONDS
            ) as client:
                yield client
        except httpx.ConnectError as error:
            raise Unreachable(
                f"Nothing answers at {self.url}: start it with `nock up`, or name another with --url."
            ) from error
        except httpx.TransportError as error:
            raise Unreachable(f"{self.url} broke off: {error or type(error).__name__}.") from error
        except httpx.InvalidURL as error:
            raise Unreachable(f"{self.url} is no address: {error}.") from error


def default_url() -> str:
    """Where NOCK_PORT says, else where the stack of this NOCK_HOME was told to listen when it was started."""
    address = Home.from_environment().address
    if not os.environ.get("NOCK_PORT") and address.is_file():
        return address.read_text().strip()
    return f"http://127.0.0.1:{os.environ.get('NOCK_PORT') or 8000}"


def _given(query: dict[str, object]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _raise_refusal(answer: "httpx.Response") -> None:
    if not answer.is_error:
        return
    try:
        error = answer.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "unexpected", f"{answer.request.url} answered {answer.text[:200]!r}"
    raise Refused(answer.status_code, code, message)


def fail(message: object) -> NoReturn:
    """Say why in one line, and end with status 1."""
    typer.secho(f"error: {message}", fg="red", err=True)
    raise typer.Exit(1)


@contextmanager
def clear_errors() -> Iterator[None]:
    """What was refused or did not answer ends the command with one line."""
    try:
        yield
    except FAILURES as error:
        fail(error)
