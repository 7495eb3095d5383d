"""Three ways to put a version into service while people speak with the one before."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench.outcomes.rows import AGENT
from bench.swap.model import NAME
from bench.swap.people import Met, People
from bench.swap.stack import Stack, engine
from core.engine.pool import open_pool
from core.rollouts import reconciling
from core.settings import EngineSettings
from core.storage.database import Database, connect

CLIENTS = 8
FOLLOW_SECONDS = 30.0
RECONCILE_SECONDS = 5.0
Span = tuple[float, float]


@dataclass(slots=True)
class Seen:
    """What people met, in quiet spans and in those in which versions were swapped."""

    met: list[Met] = field(default_factory=list)
    quiet: list[Span] = field(default_factory=list)
    busy: list[Span] = field(default_factory=list)
    follow: list[float] = field(default_factory=list)
    """Seconds from the answer to a move until the first new conversation on it had its reply, at the other gateway."""
    begun: list[float] = field(default_factory=list)
    """The same until the first of those conversations was begun by its client: they begin a fifth of a second apart."""
    stale: list[float] = field(default_factory=list)
    """Seconds from the answer until the last conversation was begun that still met the version before; 0 where none."""
    taken: list[float] = field(default_factory=list)
    """Seconds that each move, reload or restart took."""
    late: int = 0
    """New conversations on the version before, begun after one had been on the new one."""


@asynccontextmanager
async def speaking(groups: list[People]) -> AsyncIterator[None]:
    """All clients, shared out evenly."""
    tasks = [asyncio.create_task(groups[number % len(groups)].stream()) for number in range(CLIENTS)]
    try:
        yield
    finally:
        await end(tasks)


async def end(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def alternate(seen: Seen, rounds: int, seconds: float, swap: Callable[[int], Awaitable[None]]) -> None:
    """A quiet span after each one with a swap, as long as it: a machine that drifts slows both."""
    for number in range(rounds):
        began = time.perf_counter()
        await swap(number)
        await asyncio.sleep(max(0.0, seconds - (time.perf_counter() - began)))
        middle = time.perf_counter()
        seen.busy.append((began, middle))
        await asyncio.sleep(middle - began)
        seen.quiet.append((middle, time.perf_counter()))


async def move_pointer(stack: Stack, rounds: int, seconds: float) -> Seen:
    """Nock's way: a fresh version is promoted and rolled back, again and again; what nobody needs is unloaded."""
    seen, watched = Seen(), list[Met]()
    headers = {"Authorization": f"Bearer {stack.key}"}
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
    async with aiohttp.ClientSession(connector=connector) as http:
        groups = [People(http, url, AGENT, headers) for url in (stack.asked, stack.other)]

        async def post(path: str) -> str:
            body = {"reason": "bench"} if path.endswith("rollback") else {"reason": "bench", "force": True}
            async with http.post(f"{stack.asked}/admin/{path}", json=body, headers=headers) as answer:
                if answer.status != 200:
                    raise SystemExit(await answer.text())
                return str((await answer.json())["stable"])

        async def swap(number: int) -> None:
            began = time.perf_counter()
            back = number % 2 == 1
            stable = await post(f"agents/{AGENT}/rollback" if back else f"adapters/{AGENT}@v{number // 2 + 1}/promote")
            answered = time.perf_counter()
            seen.taken.append(answered - began)
            first = await first_on(watched, stable, answered)
            seen.follow.append(first.ended - answered)
            await asyncio.sleep(0.5)  # by then others that began earlier have ended too
            after = [one for one in watched if one.began > answered]
            seen.begun.append(min(one.began for one in after if one.by == stable) - answered)
            stale = [one for one in after if one.by != stable]
            seen.stale.append(max((one.began - answered for one in stale), default=0.0))
            seen.late += sum(one.began > first.ended for one in stale)

        watching = asyncio.create_task(groups[1].watch(watched))
        keeping = asyncio.create_task(keep_in_line(stack))
        async with speaking(groups):
            await asyncio.sleep(2)
            await alternate(seen, rounds, seconds, swap)
        await end([watching, keeping])
        seen.met = [one for group in groups for one in group.met] + [one for one in watched if one.failed]
    return seen


async def first_on(watched: list[Met], version: str, after: float) -> Met:
    """The first conversation on the version that ended after that moment."""
    while time.perf_counter() - after < FOLLOW_SECONDS:
        for one in watched:
            if one.began > after and one.by == version and not one.failed:
                return one
        await asyncio.sleep(0.005)
    raise SystemExit(f"No new conversation met {version}.")


async def keep_in_line(stack: Stack) -> None:
    """What the worker does."""
    opened = connect(stack.database_url)
    try:
        async with open_pool(EngineSettings(engine_urls=stack.engine, engine_timeout_seconds=5.0)) as pool:
            while True:
                await reconciling.reconcile(Database(opened), pool)
                await asyncio.sleep(RECONCILE_SECONDS)
    finally:
        await opened.dispose()


async def reload_in_place(url: str, folders: list[Path], rounds: int, seconds: float) -> Seen:
    """Under one name: unload it, load the new one."""
    seen = Seen()
    async with aiohttp.ClientSession() as http:
        people = People(http, url, "agent", closes=False)

        async def post(path: str, **body: str) -> None:
            async with http.post(f"{url}/v1/{path}", json={"lora_name": "agent", **body}) as answer:
                answer.raise_for_status()

        async def swap(number: int) -> None:
            began = time.perf_counter()
            await post("unload_lora_adapter")
            await post("load_lora_adapter", lora_path=str(folders[number % len(folders)]))
            seen.taken.append(time.perf_counter() - began)

        await post("load_lora_adapter", lora_path=str(folders[-1]))
        async with speaking([people]):
            await asyncio.sleep(1)
            await alternate(seen, rounds, seconds, swap)
        await post("unload_lora_adapter")
        seen.met = people.met
    return seen


async def restart(model: Path, port: int, folder: Path, rounds: int, seconds: float) -> Seen:
    """The engine ends and starts again; a request under way may finish."""
    seen = Seen()
    with ExitStack() as stack:
        running = stack.enter_context(ExitStack())
        url = await asyncio.to_thread(running.enter_context, engine(model, port, folder))

        async def swap(number: int) -> None:
            began = time.perf_counter()
            await asyncio.to_thread(running.close)
            await asyncio.to_thread(running.enter_context, engine(model, port, folder))
            seen.taken.append(time.perf_counter() - began)

        async with aiohttp.ClientSession() as http:
            people = People(http, url, NAME, closes=False)
            async with speaking([people]):
                await asyncio.sleep(1)
                await alternate(seen, rounds, seconds, swap)
            seen.met = people.met
    return seen
