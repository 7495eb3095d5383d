"""Clients that stream without a pause, and one that begins conversation after conversation: what each of them met."""

import asyncio
import itertools
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp

from bench.swap.model import WORDS

PAUSE_SECONDS = 1.0
"""The most that a client reads before it says the next thing."""
TOKENS = 24
WATCH_SECONDS = 0.2
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Met:
    """One request: when it began, when its first token came and when it ended; by whom, or that it failed."""

    began: float
    first: float
    ended: float
    by: str
    failed: str = ""


@dataclass(slots=True)
class People:
    """Those who speak with one address; `tell` is what they met."""

    http: aiohttp.ClientSession
    url: str
    model: str
    headers: dict[str, str] = field(default_factory=dict)
    closes: bool = True
    met: list[Met] = field(default_factory=list)

    async def stream(self) -> None:
        """One client, until it is cancelled. What is refused is asked again at once, and each refusal counts."""
        while True:
            if not (await self._ask(self.met, TOKENS)).failed:
                await asyncio.sleep(random.uniform(0, PAUSE_SECONDS))
            else:
                await asyncio.sleep(0.05)

    async def watch(self, seen: list[Met]) -> None:
        """Begin five conversations a second, each a single token, until it is cancelled; none waits for the one before,
        or its reply would be measured with the swap."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._ask(seen, 1))
                await asyncio.sleep(WATCH_SECONDS)

    async def _ask(self, into: list[Met], tokens: int) -> Met:
        said = " ".join(random.choices(WORDS, k=12))
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": f"{said} number {next(_numbers)}"}],
            "max_tokens": tokens,
            "stream": True,
        }
        began, first, by, failed, conversation = time.perf_counter(), 0.0, "", "", ""
        try:
            async with self.http.post(f"{self.url}/v1/chat/completions", json=body, headers=self.headers) as answer:
                by = answer.headers.get("X-Adapter", "")
                conversation = answer.headers.get("X-Conversation-Id", "")
                if answer.status != 200:
                    failed = f"status {answer.status}"
                last = b""
                async for line in answer.content:
                    if line.startswith(b"data:"):
                        last, first = line, first or time.perf_counter()
                if not failed and b"[DONE]" not in last:
                    failed = "cut"
        except (aiohttp.ClientError, TimeoutError) as error:
            failed = type(error).__name__
        met = Met(began, first or time.perf_counter(), time.perf_counter(), by, failed)
        into.append(met)
        if self.closes and conversation:
            with suppress(aiohttp.ClientError):
                async with self.http.post(f"{self.url}/conversations/{conversation}/close", headers=self.headers):
                    pass
        return met
