"""Pages of other origins: the configured ones may chat and give feedback, read errors too, and reach nothing else."""

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import ValidationError

from core.domain.metrics import Metric, MetricKind
from core.storage.database import Database
from service.settings import GatewaySettings
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.scripted_engine import ScriptedEngine

SHOP, OTHER = "https://shop.example", "https://shop.example:8443"
EXPOSED = {
    *("X-Conversation-Id", "X-Turn-Id", "X-Adapter", "X-Feedback-Token"),
    *("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    *("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    *("Retry-After", "x-should-retry"),
}


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    thumb = Metric("thumb", MetricKind.BOOLEAN, required=False)
    await create_agent(database, "demo", metrics=[thumb], browser_metric="thumb")


@pytest.fixture
async def open_to_shop(
    agent: None, start_gateway: StartGateway, scripted_engine: ScriptedEngine
) -> AsyncIterator[RunningGateway]:
    async with start_gateway(scripted_engine.url, cors_origins=f" {SHOP}, http://127.0.0.1:5173 ") as running:
        yield running


async def preflight(gateway: RunningGateway, path: str, *, origin: str = SHOP, method: str = "POST") -> httpx.Response:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}
    return await gateway.nobody.options(path, headers={"Origin": origin, **asked})


async def test_a_page_may_ask_and_post_and_reads_the_headers_of_a_reply(open_to_shop: RunningGateway) -> None:
    for path in ("/feedback", "/chat", "/v1/chat/completions"):
        allowed = await preflight(open_to_shop, path)
        assert allowed.status_code == 200
        assert allowed.headers["Access-Control-Allow-Origin"] == SHOP
        assert "Access-Control-Allow-Credentials" not in allowed.headers
    chat = {"agent": "demo", "message": "hello"}
    reply = await open_to_shop.chat.post("/chat", json=chat, headers={"Origin": SHOP})
    assert reply.headers["Access-Control-Allow-Origin"] == SHOP
    assert set(reply.headers["Access-Control-Expose-Headers"].split(", ")) >= EXPOSED
    token = {"Authorization": f"Bearer {reply.headers['X-Feedback-Token']}", "Origin": SHOP}
    stored = await open_to_shop.nobody.post("/feedback", json={"value": True}, headers=token)
    assert stored.status_code == 201
    assert stored.headers["Access-Control-Allow-Origin"] == SHOP
    assert "Origin" in stored.headers["Vary"]


async def test_a_stream_carries_the_headers_too(open_to_shop: RunningGateway) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "x"}], "stream": True}
    answer = await open_to_shop.chat.post("/v1/chat/completions", json=body, headers={"Origin": SHOP})
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert answer.headers["X-Feedback-Token"].startswith("nkf_")
    assert answer.text.endswith("data: [DONE]\n\n")


async def test_a_page_reads_why_it_was_refused(open_to_shop: RunningGateway) -> None:
    for headers, content, status in (
        ({}, b"{}", 401),
        ({"Authorization": "Bearer nkf_x"}, b'{"value": true}', 401),
        ({"Authorization": f"Bearer {open_to_shop.keys.chat}"}, b'{"value": true}', 403),
        ({"Authorization": f"Bearer {open_to_shop.keys.feedback}"}, b"no JSON", 422),
        ({}, b"x" * 2_000_000, 413),
    ):
        answer = await open_to_shop.nobody.post("/feedback", content=content, headers={"Origin": SHOP, **headers})
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP, status


async def test_a_page_reads_that_the_gateway_failed(
    open_to_shop: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("service.key_ring.KeyRing.find", fail)
    answer = await open_to_shop.feedback.post("/feedback", json={"value": 1}, headers={"Origin": SHOP})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP


@pytest.mark.parametrize("origin", [OTHER, "http://shop.example", "https://shop.example.evil.example", "null"])
async def test_a_page_of_another_origin_reads_nothing(open_to_shop: RunningGateway, origin: str) -> None:
    refused = await preflight(open_to_shop, "/feedback", origin=origin)
    assert refused.status_code == 400
    assert "Access-Control-Allow-Origin" not in refused.headers
    answer = await open_to_shop.feedback.post("/feedback", json={"value": 1}, headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", ["/admin/keys", "/conversations/x", "/feedback/batch", "/feedback/dead-letters"])
async def test_other_paths_open_to_no_page(open_to_shop: RunningGateway, path: str) -> None:
    assert "Access-Control-Allow-Origin" not in (await preflight(open_to_shop, path)).headers
    answer = await open_to_shop.admin.get(path, headers={"Origin": SHOP})
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_only_posts_are_allowed(open_to_shop: RunningGateway) -> None:
    assert (await preflight(open_to_shop, "/feedback", method="DELETE")).status_code == 400


async def test_any_page_may_be_let_in_without_credentials(
    agent: None, start_gateway: StartGateway, scripted_engine: ScriptedEngine
) -> None:
    async with start_gateway(scripted_engine.url, cors_origins="*") as gateway:
        assert (await preflight(gateway, "/feedback", origin="null")).headers["Access-Control-Allow-Origin"] == "*"
        answer = await gateway.nobody.post("/feedback", json={"value": 1}, headers={"Origin": OTHER})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, "*")
        assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_nobody_is_let_in_by_default(gateway: RunningGateway) -> None:
    refused = await preflight(gateway, "/feedback")
    assert refused.status_code == 405
    answer = await gateway.feedback.post("/feedback", json={"value": 1}, headers={"Origin": SHOP})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "origins", ["shop.example", f"{SHOP}/", f"{SHOP}/app", "https://Shop.example", "null", "*.a.b"]
)
def test_what_is_no_origin_is_refused_at_the_start(origins: str) -> None:
    with pytest.raises(ValidationError, match="is no origin"):
        GatewaySettings(cors_origins=origins)
