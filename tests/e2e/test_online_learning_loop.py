"""The story: people talk, say how it went, the agent learns, what it learned is promoted, and nobody is interrupted."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.stack import Stack, running_stack
from tests.fixtures.tiny_encoder import write_tiny_encoder

CONVERSATIONS = 24
LEARN_SECONDS = 600
TINY_REPLY_SECONDS = 30
TICK_SECONDS = 30
"""More than the worker takes to see that a version is needed no more."""


@pytest.fixture(params=["embedded", pytest.param("vllm", marks=pytest.mark.vllm)])
def tiny_stack(
    request: pytest.FixtureRequest, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The product on a tiny random model, on its own engine or on a real vLLM."""
    engine = request.getfixturevalue("vllm_url") if request.param == "vllm" else None
    encoder = write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "letters")
    home = tmp_path_factory.mktemp("home")
    with running_stack(
        home, model=tiny_model_folder, encoder=encoder, engine=engine, reply_seconds=TINY_REPLY_SECONDS
    ) as stack:
        yield stack


def test_an_agent_learns_from_outcomes_and_is_swapped_under_its_users(tiny_stack: Stack) -> None:
    tell_the_story(tiny_stack, drained_after=TINY_REPLY_SECONDS + TICK_SECONDS)


@pytest.mark.smollm
@pytest.mark.timeout(1500)
def test_the_same_story_on_a_real_language_model(tmp_path: Path) -> None:
    with running_stack(tmp_path / "home") as stack:
        tell_the_story(stack, drained_after=120 + TICK_SECONDS)


def tell_the_story(stack: Stack, *, drained_after: float) -> None:
    chat, admin = stack.client("chat"), stack.client("admin")
    pids = stack.pids()

    # People talk to the base model, each in a way that a client may; their outcomes come in.
    talk_in_three_ways(stack)
    with ThreadPoolExecutor(4) as people:
        list(people.map(lambda number: talk_and_rate(stack, number), range(CONVERSATIONS)))

    # The agent learns: a candidate with its lineage, while everybody is still served by the base model.
    run = learn(admin)
    assert run["state"] == "succeeded", (run, stack.logs())
    assert run["adapter"] == "demo@v1"
    assert run["figures"]["actor_turns"] >= 2 * CONVERSATIONS
    candidate = admin.get("/admin/adapters/demo@v1").json()
    assert (candidate["state"], candidate["parent"]) == ("candidate", "demo@base")
    assert changes_the_logits(admin)

    # One conversation is under way when the candidate is promoted. It stays; the next new one meets the new version.
    old = say(chat, "running", "Hello")
    assert old == "demo@base"
    promoted = admin.post("/admin/adapters/demo@v1/promote", json={"reason": "the story", "force": True})
    assert promoted.status_code == 200, promoted.text
    assert promoted.json()["stable"] == "demo@v1"
    assert say(chat, "new", "Hello") == "demo@v1"
    assert say(chat, "running", "And now?") == "demo@base"
    assert admin.get("/admin/agents/demo/rollout").json()["reason"] == "the story"

    # Going back is immediate. The version leaves the engine once its last conversation has ended and no reply of it can
    # be under way any more.
    assert admin.post("/admin/agents/demo/rollback").json()["stable"] == "demo@base"
    assert say(chat, "newest", "Hello") == "demo@base"
    assert say(chat, "new", "Still you?") == "demo@v1"
    assert "demo@v1" in loaded(stack)
    assert chat.post("/conversations/new/close").status_code == 200
    wait_until(lambda: "demo@v1" not in loaded(stack), seconds=drained_after)

    # No process was restarted for any of it.
    assert stack.pids() == pids


def talk_in_three_ways(stack: Stack) -> None:
    """The official client, unmodified: grouped by metadata, by its resent history alone, and streamed."""
    client, admin = stack.openai(), stack.client("admin")
    named = [
        client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": text}],
            metadata={"conversation_id": "by-name"},
            max_tokens=8,
        ).id
        for text in ("One", "Two", "Three")
    ]
    history: list[Any] = []
    resent = []
    for text in ("Uno", "Dos", "Tres"):
        history.append({"role": "user", "content": text})
        answer = client.chat.completions.create(model="demo", messages=history, max_tokens=8)
        history.append({"role": "assistant", "content": answer.choices[0].message.content})
        resent.append(answer.id)
    streamed = list(
        client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "Stream"}], stream=True, max_tokens=8
        )
    )
    assert streamed[-1].choices[0].finish_reason in ("stop", "length")
    for turns in (named, resent, [streamed[0].id]):
        outcome = stack.client("feedback").post("/feedback", json={"turn_id": turns[-1], "value": 0.5}).json()
        found = admin.get(f"/conversations/{outcome['conversation_id']}", params={"tokens": True}).json()
        assert [turn["turn_id"] for turn in found["turns"]] == turns
        for turn in found["turns"]:
            assert turn["adapter"] == "demo@base"
            assert turn["learnable"] == "actor"
            assert len(turn["completion_token_ids"]) == len(turn["logprobs"]) == turn["usage"]["completion_tokens"]
            assert len(turn["prompt_token_ids"]) == turn["usage"]["prompt_tokens"]


def talk_and_rate(stack: Stack, number: int) -> None:
    """Two turns and an outcome: longer words please."""
    chat, feedback = stack.client("chat"), stack.client("feedback")
    conversation, replies = None, []
    for text in ("Hello, how are you?", "Tell me more."):
        body = {"agent": "demo", "message": f"{text} ({number})", "conversation_id": conversation}
        answer = chat.post("/chat", json=body)
        assert answer.status_code == 200, (answer.text, stack.logs())
        conversation = answer.json()["conversation_id"]
        replies.append(answer.json()["reply"])
    value = sum(len(reply) for reply in replies) / 100
    stored = feedback.post("/feedback", json={"conversation_id": conversation, "value": value, "final": True})
    assert stored.status_code == 201, stored.text
    assert stored.json()["state"] == "matured"


def learn(admin: httpx.Client) -> dict[str, Any]:
    """Start a learner step and follow it to its end."""
    asked = admin.post("/admin/agents/demo/learn")
    assert asked.status_code == 202, asked.text
    assert admin.post("/admin/agents/demo/learn").status_code == 409
    deadline, seen = time.monotonic() + LEARN_SECONDS, [0.0]
    while time.monotonic() < deadline:
        run: dict[str, Any] = admin.get(f"/admin/runs/{asked.json()['run_id']}").json()
        seen.append(run["progress"])
        if run["state"] not in ("queued", "running"):
            assert seen == sorted(seen)
            return run
        time.sleep(0.2)
    raise TimeoutError(f"no candidate within {LEARN_SECONDS} s")


def changes_the_logits(admin: httpx.Client) -> bool:
    """Whether the pinned candidate gives the same seeded request other log-probs than the base model does."""
    body = {"messages": [{"role": "user", "content": "Hello"}], "seed": 1, "max_tokens": 1, "logprobs": True}
    said = []
    for model in ("demo@base", "demo@v1"):
        answer = admin.post("/v1/chat/completions", json=body | {"model": model, "top_logprobs": 5, "store": False})
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Adapter"] == model
        said.append(answer.json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"])
    return bool(said[0] != said[1])


def say(chat: httpx.Client, conversation: str, text: str) -> str:
    """The version that answers one message of a conversation."""
    body = {"model": "demo", "messages": [{"role": "user", "content": text}], "max_tokens": 8}
    answer = chat.post("/v1/chat/completions", json=body, headers={"X-Conversation-Id": conversation})
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Adapter"]


def loaded(stack: Stack) -> set[str]:
    """The models that the stack's engine serves now."""
    engine = stack.environment.get("NOCK_ENGINE_URLS", f"http://127.0.0.1:{stack.environment['NOCK_ENGINE_PORT']}")
    return {card["id"] for card in httpx.get(f"{engine}/v1/models").json()["data"]}


def wait_until(holds: Any, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.2)
