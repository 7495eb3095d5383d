"""Keys change under their holders: rotated with a grace, renamed, ended, found by pages."""

import asyncio
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from core.domain.keys import Scope, hash_secret, new_secret
from core.storage.database import Database
from core.storage.repositories import keys
from tests.fixtures.builders import create_agent, create_key
from tests.fixtures.gateway import RunningGateway, StartGateway, client
from tests.fixtures.scripted_engine import ScriptedEngine


async def answer(gateway: RunningGateway, secret: str) -> httpx.Response:
    async with client(gateway.url, secret) as holder:
        return await holder.get("/v1/models")


async def status(gateway: RunningGateway, secret: str) -> int:
    return (await answer(gateway, secret)).status_code


async def make(gateway: RunningGateway, **fields: Any) -> dict[str, Any]:
    made = await gateway.admin.post("/admin/keys", json={"scopes": ["chat"], **fields})
    assert made.status_code == 201, made.text
    body: dict[str, Any] = made.json()
    return body


async def rotate(gateway: RunningGateway, key: dict[str, Any], **body: float) -> dict[str, Any]:
    made = await gateway.admin.post(f"/admin/keys/{key['key_id']}/rotate", json=body or None)
    assert made.status_code == 200, made.text
    rotated: dict[str, Any] = made.json()
    return rotated


async def test_both_secrets_are_good_during_the_grace_and_the_old_one_ends_with_it(
    gateway: RunningGateway, start_gateway: StartGateway, scripted_engine: ScriptedEngine
) -> None:
    async with start_gateway(scripted_engine.url) as second:
        first = await make(gateway)
        assert await status(second, first["secret"]) == 200
        rotated = await rotate(gateway, first, grace_seconds=2.0)
        assert rotated["key_id"] == first["key_id"]
        for each in (gateway, second):
            assert [await status(each, one["secret"]) for one in (first, rotated)] == [200, 200]
        left = datetime.fromisoformat(rotated["old_valid_until"]) - datetime.now(UTC)
        await asyncio.sleep(max(0.0, left.total_seconds()) + 0.2)
        for each in (gateway, second):
            refused = await answer(each, first["secret"])
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "expired_api_key")
            assert await status(each, rotated["secret"]) == 200


async def test_without_a_grace_the_old_secret_ends_at_once_and_by_default_after_a_day(gateway: RunningGateway) -> None:
    first = await make(gateway)
    second = await rotate(gateway, first, grace_seconds=0)
    assert [await status(gateway, one["secret"]) for one in (first, second)] == [401, 200]
    third = await rotate(gateway, second)
    left = datetime.fromisoformat(third["old_valid_until"]) - datetime.now(UTC)
    assert left.total_seconds() == pytest.approx(86_400, abs=60)


async def test_a_second_rotation_ends_the_first_ones_grace(gateway: RunningGateway) -> None:
    first = await make(gateway)
    second = await rotate(gateway, first)
    third = await rotate(gateway, second)
    assert [await status(gateway, one["secret"]) for one in (first, second, third)] == [401, 200, 200]


async def test_a_revoked_key_is_refused_with_every_secret_and_rotates_no_more(gateway: RunningGateway) -> None:
    first = await make(gateway)
    second = await rotate(gateway, first)
    await gateway.admin.delete(f"/admin/keys/{first['key_id']}")
    assert [await status(gateway, one["secret"]) for one in (first, second)] == [401, 401]
    again = await gateway.admin.post(f"/admin/keys/{first['key_id']}/rotate", json={})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "key_revoked")


async def test_the_grace_outlives_no_key(gateway: RunningGateway, database: Database) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1.0)
    first = await make(gateway, expires_at=soon.isoformat())
    await rotate(gateway, first)
    await asyncio.sleep(1.1)
    assert (await answer(gateway, first["secret"])).json()["error"]["code"] == "expired_api_key"


async def test_a_key_is_renamed_ended_and_continued(gateway: RunningGateway) -> None:
    key = await make(gateway, name="shop")
    path = f"/admin/keys/{key['key_id']}"
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    ended = await gateway.admin.patch(path, json={"expires_at": past})
    assert (ended.status_code, ended.json()["name"]) == (200, "shop")
    assert await status(gateway, key["secret"]) == 401
    continued = await gateway.admin.patch(path, json={"expires_at": None, "name": None})
    assert (continued.json()["name"], continued.json()["expires_at"]) == (None, None)
    assert await status(gateway, key["secret"]) == 200
    assert (await gateway.admin.patch(path, json={"scopes": ["admin"]})).status_code == 422


async def test_a_key_of_some_agents_changes_and_rotates_none_that_sees_more(
    gateway: RunningGateway, database: Database
) -> None:
    await create_agent(database, "demo")
    secret, _ = await create_key(database, Scope.ADMIN, agents=["demo"])
    mine, wide, everywhere = [await make(gateway, agents=some) for some in (["demo"], ["demo", "other"], None)]
    async with client(gateway.url, secret) as ours:
        for key, expected in ((mine, 200), (wide, 404), (everywhere, 404)):
            path = f"/admin/keys/{key['key_id']}"
            assert (await ours.patch(path, json={"name": "x"})).status_code == expected
            assert (await ours.post(f"{path}/rotate", json={})).status_code == expected
            assert (await ours.delete(path)).status_code == expected


async def test_keys_are_listed_by_pages_that_meet(gateway: RunningGateway) -> None:
    made = [(await make(gateway))["key_id"] for _ in range(5)]
    found: list[str] = []
    after = None
    while True:
        page = (
            await gateway.admin.get("/admin/keys", params={"limit": 3} | ({"after": after} if after else {}))
        ).json()
        found += [key["key_id"] for key in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert found[-5:] == made
    assert len(found) == len(set(found)) == 8


async def test_hashes_are_compared_in_a_time_that_tells_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    really = hmac.compare_digest

    def watch(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return really(one, other)

    secret, row = await create_key(database)
    monkeypatch.setattr(hmac, "compare_digest", watch)
    async with database.transaction() as session:
        assert await keys.find_key(session, hash_secret(secret)) is not None
    assert compared == [(row.secret_hash, hash_secret(secret))]


def test_a_secret_that_shares_all_but_a_letter_shares_nothing_of_the_hash_that_is_looked_up() -> None:
    secret = new_secret()
    near = [secret[:-1] + letter for letter in "abcdefghijklmnopqrstuvwxyz" if letter != secret[-1]]
    common = [_common_prefix(hash_secret(secret), hash_secret(one)) for one in near]
    assert max(common) <= 3, "bytes that agree by chance: the first in one of 256, and so on"


def _common_prefix(one: bytes, other: bytes) -> int:
    return next(place for place, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1])
