"""The tokens of each conversation's latest turn, so that the next turn stores only what is new in its prompt."""

from array import array
from collections import OrderedDict
from uuid import UUID

from core.domain.tokens import Tokens


class TokenMemory:
    """The `size` conversations that were used last. Losing it costs disk space, never correctness."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._latest: OrderedDict[UUID, tuple[UUID, array[int]]] = OrderedDict()

    def latest(self, conversation_id: UUID) -> tuple[UUID | None, Tokens | None]:
        """The conversation's latest turn and its transcript, as far as this process knows them."""
        turn_id, ids = self._latest.get(conversation_id, (None, None))
        return turn_id, None if ids is None else Tokens(tuple(ids), (), ())

    def remember(self, conversation_id: UUID, turn_id: UUID, transcript_ids: list[int]) -> None:
        self._latest[conversation_id] = (turn_id, array("i", transcript_ids))
        self._latest.move_to_end(conversation_id)
        while len(self._latest) > self._size:
            self._latest.popitem(last=False)
