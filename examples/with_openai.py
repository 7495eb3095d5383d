"""The official `openai` package, unmodified: whole and streamed replies, tools, two ways to name a conversation."""

import json
import os
from pathlib import Path
from uuid import uuid4

import httpx
from openai import OpenAI

URL = os.environ.get("NOCK_URL", "http://127.0.0.1:8000")
KEYS = json.loads((Path(os.environ.get("NOCK_HOME", ".nock")) / "keys.json").read_text())

client = OpenAI(base_url=f"{URL}/v1", api_key=KEYS["chat"])
customer = f"customer-{uuid4()}"
tool = {
    "type": "function",
    "function": {
        "name": "find_parcel",
        "description": "Where a parcel is",
        "parameters": {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]},
    },
}

# A whole reply. Its id is the turn's; `user` names the end user.
messages = [{"role": "user", "content": "Hello! Who are you?"}]
reply = client.chat.completions.create(model="demo", messages=messages, user=customer, max_tokens=24)
print("whole:", reply.id, reply.choices[0].message.content)

# The next turn, streamed. The history that is sent again tells Nock which conversation it is. The engine that comes
# along calls no tools, so "none"; leave `tool_choice` out where your engine does.
messages += [reply.choices[0].message.model_dump(), {"role": "user", "content": "Where is my parcel?"}]
text, turn = "", ""
for chunk in client.chat.completions.create(
    model="demo", messages=messages, user=customer, max_tokens=24, stream=True, tools=[tool], tool_choice="none"
):
    turn = chunk.id
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
print("streamed:", turn, text)

# How it went, said of the turn; `nock_client` does this with retries.
nock = httpx.Client(base_url=URL, timeout=60)
told = nock.post(
    "/feedback",
    json={"turn_id": turn, "value": 1.0, "source": "example"},
    headers={"Authorization": f"Bearer {KEYS['feedback']}"},
).raise_for_status()
print("feedback:", told.json()["state"], told.json()["consequence"])

chat_key = {"Authorization": f"Bearer {KEYS['chat']}"}
kept = nock.get(f"/conversations/{told.json()['conversation_id']}", headers=chat_key).raise_for_status().json()
assert [each["turn_id"] for each in kept["turns"]] == [reply.id, turn], kept
assert kept["turns"][1]["reply"]["content"] == text
assert kept["turns"][1]["reward"] == 1.0

# The other way: a conversation id of your own, and no history to send again than your own prompt needs.
for question in ("Good morning!", "And good night!"):
    client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": question}],
        metadata={"conversation_id": f"order/{customer}"},
        user=customer,
        max_tokens=8,
    )
named = nock.get(f"/conversations/order%2F{customer}", headers=chat_key).raise_for_status().json()
assert len(named["turns"]) == 2, named
print(f"one conversation each: {kept['conversation_id']}, {named['conversation_id']}")
