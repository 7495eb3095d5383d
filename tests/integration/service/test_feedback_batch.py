"""Many outcomes in one request: each answered by itself, all stored together, repeated without effect."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from core.domain.keys import Scope
from core.domain.metrics import Metric, MetricKind
from core.storage.database import Database
from tests.fixtures.builders import create_agent, create_key
from tests.fixtures.gateway import RunningGateway, client


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    resolved = Metric("resolved", MetricKind.BOOLEAN, weight=2.0)
    stars = Metric("stars", weight=0.5, required=False, low=1.0, high=5.0)
    await create_agent(database, "demo", metrics=[resolved, stars, Metric("note", MetricKind.COMMENT)])


@pytest.fixture
async def names(agent: None, gateway: RunningGateway) -> list[str]:
    """Three conversations, by the client's ids."""
    names = ["one", "two", "three"]
    for name in names:
        await talk(gateway, name)
    return names


async def talk(gateway: RunningGateway, name: str) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}], "metadata": {"conversation_id": name}}
    assert (await gateway.chat.post("/v1/chat/completions", json=body)).status_code == 200


async def post(gateway: RunningGateway, *entries: Any) -> list[dict[str, Any]]:
    answer = await gateway.feedback.post("/feedback/batch", json={"entries": list(entries)})
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    assert len(data) == len(entries)
    return data


def resolved(name: str, value: Any = True, **rest: Any) -> dict[str, Any]:
    return {"conversation_id": name, "metric": "resolved", "value": value, **rest}


async def count(database: Database, table: str) -> int:
    async with database.transaction() as session:
        return (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar() or 0


async def test_each_entry_is_answered_in_order_and_a_bad_one_blocks_no_other(
    gateway: RunningGateway, names: list[str], database: Database
) -> None:
    data = await post(
        gateway,
        resolved("one", final=True),
        {"value": 1},
        resolved("nobody"),
        resolved("two", "yes"),
        resolved("two", metric="fun"),
        resolved("three", occurred_at="2999-01-01T00:00:00Z"),
        resolved("three", occurred_at="2026-11-20T09:00:00Z"),
    )
    assert [item["status"] for item in data] == [201, 422, 404, 422, 422, 422, 201]
    assert [item.get("error", {}).get("code") for item in data] == [
        None,
        "invalid_value",
        "conversation_not_found",
        "invalid_value",
        "unknown_metric",
        "in_the_future",
        None,
    ]
    assert (data[0]["state"], data[0]["consequence"], data[0]["turn_id"]) == ("matured", "next_update", None)
    assert (data[6]["state"], data[6]["consequence"]) == ("open", "pending")
    assert await count(database, "reward_entries") == 2
    letters = (await gateway.feedback.get("/feedback/dead-letters")).json()["data"]
    assert [letter["body"]["conversation_id"] for letter in letters] == ["nobody"]


async def test_an_entry_of_a_batch_is_what_it_would_be_alone(gateway: RunningGateway, names: list[str]) -> None:
    alone = await gateway.feedback.post("/feedback", json=resolved("one"))
    (item,) = await post(gateway, resolved("two"))
    differing = {"feedback_id", "conversation_id"}
    assert {k: v for k, v in item.items() if k not in differing} == {"status": 201} | {
        k: v for k, v in alone.json().items() if k not in differing
    }


async def test_a_batch_that_is_sent_again_adds_nothing_and_gets_its_first_answers(
    gateway: RunningGateway, names: list[str], database: Database
) -> None:
    entries = [resolved(name, idempotency_key=f"crm-{name}") for name in names]
    first = await post(gateway, *entries)
    assert [item["status"] for item in first] == [201] * 3
    again = await post(gateway, *entries)
    assert [item["status"] for item in again] == [200] * 3
    assert [item | {"status": 201} for item in again] == first
    assert await count(database, "reward_entries") == 3


async def test_a_key_twice_in_one_batch_counts_once(
    gateway: RunningGateway, names: list[str], database: Database
) -> None:
    data = await post(
        gateway,
        resolved("one", "bad", idempotency_key="k"),
        resolved("one", idempotency_key="k"),
        resolved("one", idempotency_key="k"),
        resolved("two", idempotency_key="k"),
    )
    assert [item["status"] for item in data] == [422, 201, 200, 409]
    assert data[2] | {"status": 201} == data[1]
    assert await count(database, "reward_entries") == 1


async def test_whatever_is_wrong_with_it_an_entry_whose_key_an_earlier_one_used_is_told_that(
    gateway: RunningGateway, names: list[str]
) -> None:
    entries = [resolved("one", idempotency_key="k"), resolved("one", "bad", idempotency_key="k")]
    assert [item["status"] for item in await post(gateway, *entries)] == [201, 409]
    assert [item["status"] for item in await post(gateway, *entries)] == [200, 409]


async def test_batches_over_the_same_conversations_and_keys_in_other_orders_all_come_through(
    gateway: RunningGateway, names: list[str], database: Database
) -> None:
    entries = [resolved(name, idempotency_key=f"crm-{name}") for name in names]
    orders = [entries, entries[::-1], entries[1:] + entries[:1]] * 5
    answers = await asyncio.gather(*(post(gateway, *order) for order in orders))
    assert sorted(item["status"] for data in answers for item in data) == [200] * 42 + [201] * 3
    assert await count(database, "reward_entries") == 3


async def test_two_sources_of_one_batch_are_combined_as_the_metric_says(
    gateway: RunningGateway, names: list[str]
) -> None:
    stars = {"conversation_id": "one", "metric": "stars"}
    await post(gateway, stars | {"value": 1, "source": "a"}, stars | {"value": 4, "source": "b"}, resolved("one"))
    found = (await gateway.chat.get("/conversations/one")).json()
    assert found["return"] == 0.5 * 2.5 + 2.0
    assert [entry["source"] for entry in found["feedback"]] == ["a", "b", "api"]


async def test_a_batch_holds_at_least_one_entry_and_at_most_a_thousand(gateway: RunningGateway, agent: None) -> None:
    for entries in ([], [resolved("x")] * 1001, ["not an object"]):
        answer = await gateway.feedback.post("/feedback/batch", json={"entries": entries})
        assert answer.status_code == 422, answer.text


async def test_a_thousand_unknown_targets_become_a_thousand_dead_letters(
    gateway: RunningGateway, agent: None, database: Database
) -> None:
    data = await post(gateway, *(resolved(f"lost {number}") for number in range(1000)))
    assert {item["status"] for item in data} == {404}
    assert await count(database, "dead_letters") == 1000


async def test_a_key_that_sees_other_agents_finds_nothing_here(
    gateway: RunningGateway, names: list[str], database: Database
) -> None:
    secret, _ = await create_key(database, Scope.FEEDBACK, agents=["other"])
    async with client(gateway.url, secret) as stranger:
        answer = await stranger.post("/feedback/batch", json={"entries": [resolved("one")]})
    assert [item["status"] for item in answer.json()["data"]] == [404]
    assert await count(database, "reward_entries") == 0


async def test_a_dead_letter_that_is_retried_is_stored_once_its_target_is_known_and_then_gone(
    gateway: RunningGateway, agent: None, database: Database
) -> None:
    await post(gateway, resolved("early", idempotency_key="crm-1"))
    (letter,) = (await gateway.feedback.get("/feedback/dead-letters")).json()["data"]
    retry = f"/feedback/dead-letters/{letter['dead_letter_id']}/retry"
    assert (await gateway.feedback.post(retry)).status_code == 404
    assert (await gateway.feedback.get("/feedback/dead-letters")).json()["data"] == [letter]
    secret, _ = await create_key(database, Scope.FEEDBACK, agents=["other"])
    async with client(gateway.url, secret) as stranger:
        assert (await stranger.post(retry)).status_code == 404
    await talk(gateway, "early")
    answers = await asyncio.gather(*(gateway.feedback.post(retry) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201] + [404] * 4
    assert (await gateway.feedback.get("/feedback/dead-letters")).json()["data"] == []
    assert await count(database, "reward_entries") == 1


async def test_a_retry_reaches_no_agent_that_the_letters_sender_did_not_see(
    gateway: RunningGateway, agent: None, database: Database
) -> None:
    await create_agent(database, "other")
    secret, _ = await create_key(database, Scope.FEEDBACK, agents=["other"])
    async with client(gateway.url, secret) as stranger:
        assert (await stranger.post("/feedback", json=resolved("order-17", False))).status_code == 404
    await talk(gateway, "order-17")
    (letter,) = (await gateway.feedback.get("/feedback/dead-letters")).json()["data"]
    answer = await gateway.feedback.post(f"/feedback/dead-letters/{letter['dead_letter_id']}/retry")
    assert answer.status_code == 404
    assert await count(database, "reward_entries") == 0


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"])
async def test_a_time_that_no_clock_shows_spoils_no_batch(gateway: RunningGateway, names: list[str], at: str) -> None:
    for key in ({}, {"idempotency_key": "k"}):
        data = await post(gateway, resolved("one", occurred_at=at, **key), resolved("two"))
        assert [item["status"] for item in data] == [422, 201]


async def test_a_correction_by_a_metric_that_enters_no_reward_is_news_all_the_same(
    gateway: RunningGateway, names: list[str]
) -> None:
    (given,) = await post(gateway, resolved("one", final=True))
    note = {"conversation_id": "one", "metric": "note", "value": "not so"}
    data = await post(gateway, note | {"supersedes": given["feedback_id"]}, note)
    assert [item["consequence"] for item in data] == ["pending", "record_only"]
    assert data[0]["state"] == "awaiting"


async def test_a_reward_that_is_declared_without_weight_is_recorded_only(
    gateway: RunningGateway, names: list[str], database: Database
) -> None:
    resolved_only = [{"name": "resolved", "kind": "boolean", "weight": 2.0}, {"name": "reward", "weight": 0}]
    kept = [{"name": "stars", "weight": 0.5, "required": False}, {"name": "note", "kind": "comment"}]
    changed = await gateway.admin.patch("/admin/agents/demo", json={"metrics": resolved_only + kept})
    assert changed.status_code == 200, changed.text
    (item,) = await post(gateway, {"conversation_id": "one", "value": 1.0})
    assert item["consequence"] == "record_only"
    gone = await gateway.feedback.delete(f"/feedback/{item['feedback_id']}")
    assert gone.json()["consequence"] == "record_only"


async def test_a_dead_letter_that_no_longer_fits_its_metric_stays_and_says_why(
    gateway: RunningGateway, agent: None
) -> None:
    await post(gateway, {"conversation_id": "early", "metric": "fun", "value": 1})
    (letter,) = (await gateway.feedback.get("/feedback/dead-letters")).json()["data"]
    await talk(gateway, "early")
    answer = await gateway.feedback.post(f"/feedback/dead-letters/{letter['dead_letter_id']}/retry")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unknown_metric")
    assert (await gateway.feedback.get("/feedback/dead-letters")).json()["data"] == [letter]
