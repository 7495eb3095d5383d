"""One call of the API as plain data: method, path, what is sent, what comes back. It knows no network."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from nock_client.shapes.page import Page

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """`repeatable`: sent twice it does no more than sent once, so that a lost answer may be asked for again."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    files: Mapping[str, Path] = field(default_factory=dict)
    repeatable: bool = False


def get(path: str, **query: Any) -> Call[Any]:
    return Call("GET", path, given(query), repeatable=True)


def delete(path: str, **query: Any) -> Call[Any]:
    return Call("DELETE", path, given(query), repeatable=True)


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What was said; the service has its own default for the rest."""
    return {name: value for name, value in fields.items() if value is not None}


def part(name: str) -> str:
    """A name as one part of a path: ids that clients choose may hold any character, a slash too."""
    return quote(name, safe="")


def next_page(call: Call[Page[T]], page: Page[T]) -> Call[Page[T]] | None:
    """The call for what follows this page, if anything does."""
    return replace(call, query={**call.query, "after": page["next"]}) if page["next"] else None
