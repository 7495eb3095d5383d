"""So many clients at once, as a process of its own that costs little itself and says how much that was."""

import argparse
import asyncio
import gc
import json
import resource
import time
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from bench.gateway.client import Client, Heard
from bench.gateway.conversation import Manner
from bench.gateway.spread import spread


async def load(given: argparse.Namespace) -> dict[str, object]:
    """Run it; figures of all of it, times in milliseconds."""
    heard = Heard()
    manner = Manner(given.model, given.conversation_turns, given.tokens, given.stream, given.named)
    loop = asyncio.get_running_loop()
    before, started = cpu_seconds(), time.perf_counter()
    until = started + given.seconds
    where = urlsplit(given.url)
    head = (
        f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {given.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
    clients = []
    for _ in range(given.in_flight):
        _, client = await loop.create_connection(
            lambda: Client(head, manner, heard, until=until, turns=given.turns), where.hostname, where.port
        )
        clients.append(client)
    await asyncio.gather(*(client.ended for client in clients))
    seconds = time.perf_counter() - started
    if refused := [client.refused for client in clients if client.refused]:
        raise SystemExit(refused[0])
    if heard.cut and not given.may_be_cut:
        raise SystemExit(f"{heard.cut} replies broke off")
    if given.ids is not None:
        given.ids.write_text(json.dumps(heard.ids))
    return {
        "requests": len(heard.ids),
        "seconds": seconds,
        "per_second": len(heard.ids) / seconds,
        "first_turn": spread(heard.first_turns),
        "later_turns": spread(heard.later_turns),
        "all_turns": spread(heard.first_turns + heard.later_turns),
        "first_event": spread(heard.first_events),
        "chunk_cost": spread(heard.chunk_costs),
        "gap": spread(heard.gaps),
        "events": heard.events,
        "cut": heard.cut,
        "client_cpu": (cpu_seconds() - before) / seconds,
    }


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway.load", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", default="none")
    parser.add_argument("--model", required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--turns", type=int, help="of each client, if time does not end it first")
    parser.add_argument("--conversation-turns", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=20, help="of each reply")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--named", action="store_true", help="say the conversation's id in the metadata")
    parser.add_argument("--ids", type=Path, help="file for the ids of the replies that were received whole")
    parser.add_argument("--may-be-cut", action="store_true", help="a gateway that dies is part of what is measured")
    given = parser.parse_args()
    gc.disable()  # its pauses would be measured with the gateway; what a load notes fits into memory
    print(json.dumps(uvloop.run(load(given))))


if __name__ == "__main__":
    main()
