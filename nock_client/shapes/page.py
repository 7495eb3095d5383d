"""A page of a list, with the cursor of the next one."""

from typing import Generic, TypedDict, TypeVar

T = TypeVar("T")


class Page(TypedDict, Generic[T]):
    data: list[T]
    next: str | None
