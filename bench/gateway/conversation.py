"""What one client says, turn after turn, resending the history as OpenAI's clients do."""

import os
from dataclasses import dataclass, field
from itertools import count

import orjson

RUN = os.urandom(4).hex()
"""No two processes of the load say the same thing, so that no conversation of one continues one of another."""
_numbers = count()


@dataclass(frozen=True, slots=True)
class Manner:
    """How the clients of one load speak. `named` says the conversation's id; without it only its history does."""

    model: str
    turns: int
    tokens: int
    stream: bool
    named: bool


@dataclass(slots=True)
class Conversation:
    """One conversation; `turn` counts its replies."""

    manner: Manner
    turn: int = 0
    name: str = field(default_factory=lambda: f"{RUN}-{next(_numbers)}")
    _said: list[bytes] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.turn == self.manner.turns

    def body(self) -> bytes:
        """The next request."""
        manner = self.manner
        said = b"Where is the order %s? I asked before, %d times." % (self.name.encode(), self.turn)
        self._said.append(b'{"role":"user","content":"%s"}' % said)
        parts = [
            b'{"model":"%s","max_tokens":%d,"messages":[' % (manner.model.encode(), manner.tokens),
            b",".join(self._said),
            b"]",
        ]
        if manner.stream:
            parts.append(b',"stream":true')
        if manner.named:
            parts.append(b',"metadata":{"conversation_id":"%s"}' % self.name.encode())
        return b"".join([*parts, b"}"])

    def hear(self, reply: str) -> None:
        self._said.append(b'{"role":"assistant","content":%s}' % orjson.dumps(reply))
        self.turn += 1
