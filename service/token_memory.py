"""The tokens of each conversation's latest turn, so that the next turn stores only what is new in its prompt."""

from array import array
from collections import OrderedDict
from collections.abc import Collection
from uuid import UUID

from core.domain.tokens import Tokens

MOST_FORGOTTEN = 10_000


class TokenMemory:
    """The `size` conversations that were used last. Losing it costs disk space, never correctness."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._latest: OrderedDict[UUID, tuple[UUID, array[int]]] = OrderedDict()
        self._forgotten: OrderedDict[UUID, None] = OrderedDict()

    def latest(self, conversation_id: UUID) -> tuple[UUID | None, Tokens | None]:
        """The conversation's latest turn and its transcript, as far as this process knows them."""
        turn_id, ids = self._latest.get(conversation_id, (None, None))
        return turn_id, None if ids is None else Tokens(tuple(ids), (), ())

    def remember(self, conversation_id: UUID, turn_id: UUID, transcript_ids: list[int]) -> None:
        if conversation_id in self._forgotten:  # the notice of its erasure has overtaken the turn before it
            return
        self._latest[conversation_id] = (turn_id, array("i", transcript_ids))
        self._latest.move_to_end(conversation_id)
        while len(self._latest) > self._size:
            self._latest.popitem(last=False)

    def forget(self, conversation_ids: Collection[UUID]) -> None:
        """Forget these for good: they were erased, and their ids never come back."""
        for conversation_id in conversation_ids:
            self._latest.pop(conversation_id, None)
            self._forgotten[conversation_id] = None
        while len(self._forgotten) > MOST_FORGOTTEN:
            self._forgotten.popitem(last=False)

    def follow(self, notice: str | None) -> None:
        """Forget the conversations that a notice of erasure names; all of them where one may have been missed."""
        if notice is None:
            self._latest.clear()
        else:
            self.forget([UUID(hex=one) for one in notice.split(",")])
