"""Conversations to speak of, written straight into the database, and a bare copy of the ledger's table."""

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import BASE_NUMBER, AdapterState
from core.domain.keys import Scope, hash_secret, new_secret
from core.storage.database import Database, connect
from core.storage.models import AdapterVersion, Agent, Rollout
from core.storage.repositories import adapters, keys

AGENT = "bench"
TURNS = 3
CONVERSATIONS = """
INSERT INTO conversations (id, agent_id, external_id, key_id, tags, state, grouped)
SELECT gen_random_uuid(), %(agent)s, format('c-%%s', number), gen_random_uuid(), '{}', 'open', 'new'
FROM generate_series(0, %(count)s - 1) AS number
"""
EPISODES = """
INSERT INTO episodes (id, agent_id, conversation_id, ordinal, adapter_id, arm, propensity, turn_count)
SELECT gen_random_uuid(), agent_id, id, 0, %(adapter)s, 'stable', 1.0, %(turns)s FROM conversations
"""
SPOKEN = """
INSERT INTO turns (id, agent_id, conversation_id, episode_id, index, messages, reply, finish_reason, usage, sampling,
                   learnable, previous_head, request_hash, head_hash, engine_seconds)
SELECT gen_random_uuid(), agent_id, conversation_id, id, number,
       '[{"role": "user", "content": "Where is my order?"}]', '{"role": "assistant", "content": "It left on Monday."}',
       'stop', '{}', '{"temperature": 1.0}', 'actor', uuid_send(gen_random_uuid()), uuid_send(gen_random_uuid()),
       uuid_send(gen_random_uuid()), 0.1
FROM episodes, generate_series(0, %(turns)s - 1) AS number
"""
BARE = "CREATE TABLE bare_entries (LIKE reward_entries INCLUDING ALL)"


async def fill(url: str, libpq: str, conversations: int) -> tuple[str, str]:
    """Fill the database; the secret of a key for feedback, and the agent's id.

    Conversations are open, of three turns each, and are called `c-0`, `c-1` …
    """
    engine = connect(url)
    async with Database(engine).transaction() as session:
        agent, base = await add_agent(session, "none")
        secret = new_secret()
        await keys.add_key(session, by="bench", secret_hash=hash_secret(secret), scopes=[Scope.FEEDBACK])
    await engine.dispose()
    given = {"agent": agent.id, "adapter": base.id, "count": conversations, "turns": TURNS}
    with psycopg.connect(libpq, autocommit=True) as connection:
        for statement in (CONVERSATIONS, EPISODES, SPOKEN, BARE):
            connection.execute(statement, given)
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
    return secret, str(agent.id)


async def add_agent(session: AsyncSession, base_model: str) -> tuple[Agent, AdapterVersion]:
    """The agent `bench` with its base version in service."""
    agent = Agent(name=AGENT, base_model=base_model, sampling={}, discount=0.95, max_turns=20, idle_seconds=86400.0)
    agent.schedule, agent.learner = {"enabled": False}, {}
    session.add(agent)
    await session.flush()
    base = AdapterVersion(agent_id=agent.id, number=BASE_NUMBER, state=AdapterState.STABLE)
    await adapters.add_version(session, base)
    session.add(Rollout(agent_id=agent.id, stable_id=base.id, by="bench", reason="the agent was created"))
    return agent, base
