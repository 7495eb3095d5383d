"""A gateway's latency while 0, 10,000, 100,000 and 1,000,000 turns lie in the tables, a database and a gateway each.

The gateways take turns, so that a machine that drifts slows all of them. Rows have the shapes, indexes and keys of real
turns: five to a conversation, each resending nothing, with 20 tokens.
"""

import argparse
import json
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from alembic import command

from bench.gateway import targets
from bench.gateway.cases import measure
from bench.gateway.stack import Ground, running
from cli.up import embedded_postgres
from core.storage import migrations
from service.app import libpq_address

RESULT = Path(__file__).parents[1] / "results" / "gateway_history.json"
TURNS = (0, 10_000, 100_000, 1_000_000)
TURNS_EACH = 5
LOADS = {"one at a time": "--in-flight=1", "16 in flight": "--in-flight=16"}

# Ids of version 7 out of the past year, as if the turns had come evenly through it. Foreign keys hold by construction,
# and checking each would take most of the time.
FILL = (
    "SET session_replication_role = replica",
    """
    INSERT INTO conversations (id, agent_id, external_id, end_user, key_id, tags, state, grouped, head_hash, opened_at,
                               last_turn_at, closed_at)
    SELECT uuidv7(-age), agents.id, format('past-%%s', number), format('user %%s', number %% (%(count)s / 3)),
           (SELECT id FROM api_keys LIMIT 1), '{"channel": "web"}', 'matured', 'client',
           sha256(uuid_send(gen_random_uuid())), now() - age, now() - age, now() - age
    FROM agents, generate_series(1, %(count)s) AS number, make_interval(secs => 31e6 * number / %(count)s) AS age
    """,
    """
    INSERT INTO episodes (id, agent_id, conversation_id, ordinal, adapter_id, arm, propensity, turn_count, started_at,
                          ended_at, ended_by)
    SELECT uuidv7(opened_at - now()), agent_id, conversations.id, 0, (SELECT id FROM adapter_versions LIMIT 1),
           'stable', 1.0, %(each)s, opened_at, closed_at, 'closed'
    FROM conversations
    """,
    """
    INSERT INTO turns (id, agent_id, conversation_id, episode_id, index, messages, reply, finish_reason, usage,
                       sampling, learnable, previous_head, request_hash, head_hash, engine_seconds, created_at)
    SELECT uuidv7(started_at - now()), agent_id, conversation_id, id, number,
           jsonb_build_array(jsonb_build_object('role', 'user', 'content', format('Where is the order %%s?', id))),
           jsonb_build_object('role', 'assistant', 'content', repeat('word ', 20)), 'stop',
           '{"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}',
           '{"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}', 'actor',
           sha256(uuid_send(gen_random_uuid())), sha256(uuid_send(gen_random_uuid())),
           sha256(uuid_send(gen_random_uuid())), 0.1, started_at
    FROM episodes, generate_series(0, %(each)s - 1) AS number
    """,
    """
    INSERT INTO turn_tokens (turn_id, prefix_length, prompt_tail, completion, logprobs, checksum)
    SELECT id, 0, decode(repeat('e8030000', 40), 'hex'), decode(repeat('e8030000', 20), 'hex'),
           decode(repeat('000080be', 20), 'hex'), 1
    FROM turns
    """,
    """
    INSERT INTO reward_entries (id, agent_id, conversation_id, metric, value, source)
    SELECT uuidv7(opened_at - now()), agent_id, id, 'reward', '1.0', 'crm' FROM conversations
    """,
    "VACUUM (ANALYZE)",
    "CHECKPOINT",
)


def filled(ground: Ground, turns: int) -> tuple[str, str]:
    """A database with so many turns: its address, and a key for its agent."""
    sockets, name = ground.folder / "sockets", f"past_{turns}"
    embedded_postgres.create_database(sockets, name)
    url = embedded_postgres.url(sockets, name)
    command.upgrade(migrations.configuration(url), "head")
    key = targets.add_agent(url)
    if turns:
        with psycopg.connect(libpq_address(url), autocommit=True) as connection:
            for statement in FILL:
                connection.execute(statement, {"count": turns // TURNS_EACH, "each": TURNS_EACH})
    return url, key


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway.history", description=__doc__)
    parser.add_argument("--turns", type=int, nargs="+", default=TURNS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    rounds: list[dict[str, dict[int, dict[str, Any]]]] = []
    with tempfile.TemporaryDirectory(prefix="nock-bench-") as name, ExitStack() as stack:
        ground = stack.enter_context(running(Path(name)))
        gateways = {}
        for turns in given.turns:
            print(f"{turns:,} turns …", flush=True)
            url, key = filled(ground, turns)
            gateways[turns] = stack.enter_context(
                targets.nock(ground.folder, url, ground.engine_url, key, name=f"past-{turns}")
            )
        for target in gateways.values():
            measure(target, ["--in-flight=16", "--seconds=2"], ground.bystanders)
        for _ in range(given.rounds):
            rounds.append(
                {
                    load: {
                        turns: measure(target, [argument, f"--seconds={given.seconds}"], ground.bystanders)
                        for turns, target in gateways.items()
                    }
                    for load, argument in LOADS.items()
                }
            )
    given.out.write_text(json.dumps({"rounds": rounds}, indent=1) + "\n")
    for load in LOADS:
        for turns in given.turns:
            p50, p99 = (
                statistics.median(played[load][turns]["all_turns"][share] for played in rounds)
                for share in ("p50", "p99")
            )
            ratio = statistics.median(
                played[load][turns]["all_turns"]["p99"] / played[load][given.turns[0]]["all_turns"]["p99"]
                for played in rounds
            )
            print(f"{load:<16}{turns:>10,} turns: p50 {p50:.2f} ms, p99 {p99:.2f} ms, p99 over the first {ratio:.2f}")


if __name__ == "__main__":
    main()
