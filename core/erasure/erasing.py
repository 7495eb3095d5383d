"""Erase conversations with all that repeats them: one transaction, set by set, and a report without a name in it.

Locks are taken in the order agents, dead letters, conversations by id, versions: as a learner that registers, a retried
dead letter, a turn and an outcome take theirs.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.erasure import ErasureSubject, Named
from core.domain.signatures import Signer
from core.erasure.consequences import follow
from core.erasure.report import Part, TakenExport
from core.erasure.tombstones import hash_of_id, hash_of_name
from core.storage.models import Agent, Conversation, Erasure
from core.storage.repositories import agents, conversations, erasures, exports, learner

HEX = re.compile("[0-9a-f]{32}")
ERASED = "(erased)"


async def with_what_repeats(session: AsyncSession, conversation_ids: Collection[UUID]) -> set[UUID]:
    """These conversations, and all others that hold what was said in them."""
    family = set(conversation_ids)
    while found := await erasures.list_repeating(session, family):
        family |= found
    return family


async def erase(
    session: AsyncSession,
    signer: Signer,
    roots: Collection[UUID],
    *,
    subject: ErasureSubject,
    by: str,
    end_user: str | None = None,
) -> Erasure | None:
    """Erase these conversations, all of an end user where one is named; None where another erasure was there first."""
    family = await with_what_repeats(session, roots)
    found = await conversations.list_by_id(session, family)
    owners = await agents.lock_agents(session, {row.agent_id for row in found})
    letters = await _forget_letters(session, owners, found)
    told: dict[UUID, Conversation] = {}
    while unlocked := family - told.keys():
        locked = await conversations.lock_conversations(session, unlocked)
        told |= locked
        family = await with_what_repeats(session, told)
    if not told:
        return None
    by_agent: dict[UUID, list[Conversation]] = defaultdict(list)
    for conversation in told.values():
        by_agent[conversation.agent_id].append(conversation)
    erasure_id = ids.new_id()
    parts, stones = [], {}
    for agent in sorted(owners.values(), key=lambda owner: owner.id):
        if rows := by_agent.get(agent.id):
            stones[agent.id] = await _hashes(session, signer, rows)
            if end_user is not None:
                stones[agent.id].add(hash_of_name(signer, Named.USER, agent.id, end_user))
            counts = {"letters": letters[agent.id], "tombstones": len(stones[agent.id])}
            parts.append(await _erase_of_agent(session, agent, rows, roots, by=by, **counts))
    erasure = await erasures.add_erasure(
        session,
        Erasure(
            id=erasure_id,
            subject=subject,
            by=by,
            agents=[part.agent for part in parts],
            parts=[part.to_json() for part in parts],
        ),
    )
    for agent_id, hashes in stones.items():
        await erasures.add_tombstones(session, hashes, agent_id=agent_id, erasure_id=erasure_id)
    await erasures.announce(session, list(told))
    return erasure


async def _forget_letters(
    session: AsyncSession, owners: Mapping[UUID, Agent], found: Collection[Conversation]
) -> dict[UUID, int]:
    """Take outcomes that named these conversations or their turns before they were there; how many, by agent."""
    forgotten = {}
    for agent in owners.values():
        rows = [row for row in found if row.agent_id == agent.id]
        names = [ids.public(ids.Prefix.CONVERSATION, row.id) for row in rows]
        names += [row.external_id for row in rows if row.external_id is not None]
        said = await erasures.list_turn_ids(session, [row.id for row in rows])
        turns = [ids.public(ids.Prefix.TURN, turn) for turn in said]
        forgotten[agent.id] = await erasures.remove_dead_letters(session, agent.name, conversations=names, turns=turns)
    return forgotten


async def _hashes(session: AsyncSession, signer: Signer, rows: Collection[Conversation]) -> set[bytes]:
    """The tombstones of conversations, their turns and the entries about them."""
    places = [row.id for row in rows]
    own = {
        Named.CONVERSATION: places,
        Named.TURN: await erasures.list_turn_ids(session, places),
        Named.FEEDBACK: await erasures.list_entry_ids(session, places),
    }
    hashes = {hash_of_id(signer, what, one) for what, some in own.items() for one in some}
    return hashes | {
        hash_of_name(signer, Named.EXTERNAL_ID, row.agent_id, row.external_id)
        for row in rows
        if row.external_id is not None
    }


async def _erase_of_agent(
    session: AsyncSession,
    agent: Agent,
    rows: Collection[Conversation],
    roots: Collection[UUID],
    *,
    letters: int,
    tombstones: int,
    by: str,
) -> Part:
    places = {row.id for row in rows}
    taken = await exports.list_covering(session, agent.id, [row.opened_at for row in rows])
    lessons = await erasures.count_lessons(session, places)
    await _forget_episodes(session, agent, places)
    removed = await erasures.remove(session, agent.id, places)
    # Last, since new conversations wait for the versions that it locks.
    consequences = await follow(session, agent, lessons, by=by)
    return Part(
        agent=agent.name,
        removed=removed | {"dead_letters": letters},
        tombstones=tombstones,
        repeating=len(places.difference(roots)),
        branched_off=sum(row.parent_id is not None and row.parent_id not in places for row in rows),
        consequences=consequences,
        exports=[
            TakenExport(str(row.id), row.place, row.snapshot_at.isoformat(), row.manifest_sha256) for row in taken
        ],
    )


async def _forget_episodes(session: AsyncSession, agent: Agent, places: Collection[UUID]) -> None:
    """Take erased episodes out of the sentences in which failed runs name those that they failed on."""
    erased = {row.id.hex for row in await conversations.list_episodes_of(session, places)}
    for run in await learner.list_all(session, agent.id):
        if run.reason is not None:
            run.reason = HEX.sub(lambda found: ERASED if found[0] in erased else found[0], run.reason)
    await session.flush()
