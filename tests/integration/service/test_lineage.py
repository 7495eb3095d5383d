"""Which turns taught a version, with which reward, and what has become of it since."""

from typing import Any

import pytest

from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.ids import Prefix, public
from core.domain.keys import Scope
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import learner
from tests.fixtures.builders import (
    create_adapter,
    create_agent,
    create_conversation,
    create_entry,
    create_episode,
    create_key,
    create_turn,
)
from tests.fixtures.gateway import RunningGateway, client


@pytest.fixture
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, "demo")


@pytest.fixture
async def taught(database: Database, agent: models.Agent) -> list[models.Turn]:
    """Two matured conversations of two turns, each with reward 1 at its end, that taught demo@v1."""
    told = []
    for _ in range(2):
        conversation = await create_conversation(database, agent, state=ConversationState.MATURED)
        episode = await create_episode(database, conversation, ended_by=EpisodeEnd.CLOSED)
        told += [await create_turn(database, episode), await create_turn(database, episode)]
        await create_entry(database, conversation, 1.0)
    async with database.transaction() as session:
        run = await learner.queue_run(session, agent.id, requested_by="test")
        assert run is not None
        run_id = run.id
        lessons = [
            models.RunTurn(run_id=run_id, turn_id=turn.id, reward=float(place % 2), trained_actor=place != 0)
            for place, turn in enumerate(told)
        ]
        await learner.add_run_turns(session, lessons)
    version = await create_adapter(database, agent, run_id=run_id)
    async with database.transaction() as session:
        (await session.get_one(models.LearnerRun, run_id)).adapter_id = version.id
    return told


async def lineage(gateway: RunningGateway, **query: Any) -> dict[str, Any]:
    answer = await gateway.admin.get("/admin/adapters/demo@v1/lineage", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def names(turns: list[models.Turn]) -> list[str]:
    return [public(Prefix.TURN, turn.id) for turn in turns]


async def test_a_versions_lineage_is_the_turns_that_taught_it_with_their_rewards(
    gateway: RunningGateway, taught: list[models.Turn]
) -> None:
    found = await lineage(gateway)
    assert (found["adapter"], found["parent"], found["next"]) == ("demo@v1", "demo@base", None)
    assert (found["turns"], found["changed"], found["changed_share"]) == (4, 0, 0.0)
    assert [line["turn_id"] for line in found["data"]] == names(taught)
    assert [(line["reward_then"], line["reward_now"]) for line in found["data"]] == [(0, 0), (1, 1)] * 2
    assert [line["trained_actor"] for line in found["data"]] == [False, True, True, True]


async def test_a_correction_shows_in_the_lineage_and_asks_for_learning_again(
    gateway: RunningGateway, taught: list[models.Turn]
) -> None:
    conversation = public(Prefix.CONVERSATION, taught[0].conversation_id)
    given = await gateway.feedback.post(
        "/feedback", json={"conversation_id": conversation, "value": -1, "source": "test"}
    )
    assert given.json()["consequence"] == "relearn"
    found = await lineage(gateway)
    assert [line["changed"] for line in found["data"]] == [False, True, False, False]
    assert (found["data"][1]["reward_then"], found["data"][1]["reward_now"]) == (1.0, -1.0)
    assert found["changed_share"] == 0.25


async def test_a_withdrawn_outcome_leaves_its_turns_with_none(
    gateway: RunningGateway, taught: list[models.Turn]
) -> None:
    conversation = (
        await gateway.chat.get(f"/conversations/{public(Prefix.CONVERSATION, taught[0].conversation_id)}")
    ).json()
    await gateway.feedback.delete(f"/feedback/{conversation['feedback'][0]['feedback_id']}")
    found = await lineage(gateway)
    assert [line["reward_now"] for line in found["data"]] == [None, None, 0.0, 1.0]
    assert (found["changed"], found["changed_share"]) == (2, 0.5)


async def test_a_user_who_returns_changes_no_reward_of_what_was_learned(
    gateway: RunningGateway, taught: list[models.Turn], database: Database
) -> None:
    async with database.transaction() as session:
        conversation = await session.get_one(models.Conversation, taught[0].conversation_id)
        conversation.state = ConversationState.OPEN
    assert (await lineage(gateway))["changed"] == 0


async def test_each_turn_names_the_outcomes_that_speak_of_it(
    gateway: RunningGateway, taught: list[models.Turn]
) -> None:
    turn = public(Prefix.TURN, taught[0].id)
    given = (await gateway.feedback.post("/feedback", json={"turn_id": turn, "value": 0.5})).json()["feedback_id"]
    found = (await lineage(gateway))["data"]
    assert found[0]["feedback_ids"] == [given]
    assert [len(line["feedback_ids"]) for line in found] == [1, 1, 0, 1]
    assert (found[0]["reward_now"], found[0]["changed"]) == (0.5, True)


async def test_a_conversation_names_the_runs_and_versions_that_its_turns_taught(
    gateway: RunningGateway, taught: list[models.Turn], database: Database, agent: models.Agent
) -> None:
    found = (await gateway.chat.get(f"/conversations/{public(Prefix.CONVERSATION, taught[2].conversation_id)}")).json()
    lessons = [lesson for turn in found["turns"] for lesson in turn["taught"]]
    assert [(lesson["adapter"], lesson["reward"], lesson["trained_actor"]) for lesson in lessons] == [
        ("demo@v1", 0.0, True),
        ("demo@v1", 1.0, True),
    ]
    assert len({lesson["run_id"] for lesson in lessons}) == 1
    other = await create_conversation(database, agent)
    await create_turn(database, await create_episode(database, other))
    untold = (await gateway.chat.get(f"/conversations/{public(Prefix.CONVERSATION, other.id)}")).json()
    assert [turn["taught"] for turn in untold["turns"]] == [[]]


async def test_a_lineage_comes_in_pages_and_counts_all_of_it(
    gateway: RunningGateway, taught: list[models.Turn]
) -> None:
    seen: list[str] = []
    after = None
    for _ in range(2):
        page = await lineage(gateway, limit=2, **({"after": after} if after else {}))
        assert page["turns"] == 4
        seen += [line["turn_id"] for line in page["data"]]
        after = page["next"]
    assert (seen, after) == (names(taught), None)


async def test_a_base_model_learned_from_nothing_here_and_strangers_see_none(
    gateway: RunningGateway, taught: list[models.Turn], database: Database
) -> None:
    base = (await gateway.admin.get("/admin/adapters/demo@base/lineage")).json()
    assert (base["turns"], base["changed_share"], base["data"]) == (0, None, [])
    assert (await gateway.admin.get("/admin/adapters/demo@v9/lineage")).status_code == 404
    secret, _ = await create_key(database, Scope.ADMIN, agents=["other"])
    async with client(gateway.url, secret) as stranger:
        assert (await stranger.get("/admin/adapters/demo@v1/lineage")).status_code == 404
