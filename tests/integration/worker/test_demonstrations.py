"""What humans say should have been replied: read while it stands, tokenised once, learned, and written down."""

from typing import Any

import pytest
from sqlalchemy import select

from core.domain.erasure import ErasureSubject
from core.domain.metrics import Metric, MetricKind
from core.domain.sampling import Learnable
from core.domain.signatures import Signer
from core.domain.tokens import ids_of, ids_to_bytes
from core.erasure.erasing import erase
from core.settings import StoreSettings
from core.storage import models
from core.storage.database import Database
from core.storage.models import RunState
from core.storage.repositories import rewards, turns
from tests.fixtures.builders import create_agent, create_entry, reply_ids
from tests.fixtures.conversations import create_matured, create_mixed
from tests.fixtures.runs import QUICK, queue_run, read_run
from worker.replay.demonstrations import Shown, read_demonstrations

IDEAL = Metric("ideal", MetricKind.DEMONSTRATION)


@pytest.fixture
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, learner=QUICK, metrics=[IDEAL])


async def demonstrate(
    database: Database, told: models.Conversation, reply: str, *, metric: str = "ideal", **rest: Any
) -> models.RewardEntry:
    """Of the conversation's first turn, as the ledger takes it."""
    async with database.transaction() as session:
        first = (await turns.list_turns(session, told.id))[0]
    entry = await create_entry(database, told, reply, turn=first, metric=metric, **rest)
    async with database.transaction() as session:
        await rewards.add_demonstrations(session, [entry])
    return entry


async def read(database: Database, agent: models.Agent) -> list[Shown]:
    async with database.snapshot() as session:
        return await read_demonstrations(session, agent.id, "tiny", limit=100)


async def test_only_what_stands_is_shown_the_newest_first(database: Database, agent: models.Agent) -> None:
    one, two, three = [await create_matured(database, agent, reward=1.0) for _ in range(3)]
    wrong = await demonstrate(database, one, "Sorry, no.")
    await demonstrate(database, one, "It left today.", supersedes=wrong.id)
    withdrawn = await demonstrate(database, two, "Never mind.")
    await create_entry(database, two, None, metric="ideal", retracts=withdrawn.id)
    await demonstrate(database, three, "Of another metric.", metric="dropped")
    silent = await create_matured(database, agent, reward=1.0, learnable=Learnable.NONE)
    await demonstrate(database, silent, "Nobody may learn from this turn.")
    await demonstrate(database, three, "On its way.")
    assert [shown.text for shown in await read(database, agent)] == ["On its way.", "It left today."]


async def test_a_run_imitates_a_demonstration_and_writes_down_at_which_turn(
    database: Database, agent: models.Agent, step: Any
) -> None:
    told = await create_mixed(database, agent, count=4)
    entry = await demonstrate(database, told[0], "It left today.")
    run_id = await queue_run(database, agent)
    await step(run_id)
    run = await read_run(database, run_id)
    assert run.state is RunState.SUCCEEDED, run.reason
    assert run.figures is not None
    assert run.figures["demonstrations"]["imitated"] == 1
    async with database.transaction() as session:
        kept = await session.get_one(models.Demonstration, entry.id)
        taught = (await session.scalars(select(models.RunTurn).where(models.RunTurn.run_id == run_id))).all()
    assert kept.base_model == "tiny"
    assert kept.completion is not None
    assert list(ids_of(kept.completion)) == reply_ids("It left today.")
    assert [row.turn_id for row in taught if row.demonstrated] == [entry.turn_id]


async def test_tokens_that_were_made_once_are_never_made_anew_for_the_same_model(
    database: Database, agent: models.Agent, step: Any
) -> None:
    told = await create_mixed(database, agent, count=4)
    entry = await demonstrate(database, told[0], "It left today.")
    made_before = ids_to_bytes([*reply_ids("It left"), *reply_ids(" today.")][:-1])
    async with database.transaction() as session:
        await rewards.keep_demonstrated_tokens(session, "tiny", {entry.id: made_before})
    assert [shown.completion for shown in await read(database, agent)] == [made_before]
    await step(await queue_run(database, agent))
    async with database.transaction() as session:
        assert (await session.get_one(models.Demonstration, entry.id)).completion == made_before
        await rewards.keep_demonstrated_tokens(session, "another model", {entry.id: made_before})
    assert [shown.completion for shown in await read(database, agent)] == [None]


async def test_demonstrations_alone_are_something_to_learn_from_and_no_unit_for_a_critic(
    database: Database, agent: models.Agent, step: Any, store: StoreSettings
) -> None:
    told = [await create_matured(database, agent, reward=0.0) for _ in range(4)]
    for conversation in told:
        await demonstrate(database, conversation, "It left today.")
    run_id = await queue_run(database, agent)
    await step(run_id)
    run = await read_run(database, run_id)
    assert run.state is RunState.SUCCEEDED, run.reason
    assert run.adapter_id is not None
    assert not list(store.checkpoints_dir.rglob("critic.pt"))  # outcomes that are all alike say nothing of their size


async def test_what_was_demonstrated_goes_with_its_conversation(
    database: Database, agent: models.Agent, step: Any
) -> None:
    told = await create_mixed(database, agent, count=4)
    entry = await demonstrate(database, told[0], "It left today.")
    await step(await queue_run(database, agent))
    async with database.transaction() as session:
        signer = Signer("what the processes of one test share")
        erasure = await erase(session, signer, [told[0].id], subject=ErasureSubject.CONVERSATION, by="test")
        assert erasure is not None
        assert erasure.parts[0]["removed"]["demonstrations"] == 1
    async with database.transaction() as session:
        assert await session.get(models.Demonstration, entry.id) is None
    assert await read(database, agent) == []
