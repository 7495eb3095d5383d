"""LiteLLM as the client: `openai/` and the agent's name as model, the gateway as `api_base`."""

import json
import os
from pathlib import Path
from uuid import uuid4

import litellm

from nock_client import Nock

URL = os.environ.get("NOCK_URL", "http://127.0.0.1:8000")
KEYS = json.loads((Path(os.environ.get("NOCK_HOME", ".nock")) / "keys.json").read_text())

agent = {
    "model": "openai/demo",
    "api_base": f"{URL}/v1",
    "api_key": KEYS["chat"],
    "user": f"customer-{uuid4()}",
    "max_tokens": 24,
}
tool = {
    "type": "function",
    "function": {
        "name": "find_parcel",
        "description": "Where a parcel is",
        "parameters": {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]},
    },
}

messages = [{"role": "user", "content": "Hello! Who are you?"}]
reply = litellm.completion(messages=messages, **agent)
print("whole:", reply.id, reply.choices[0].message.content)

# The engine that comes along calls no tools, so "none"; leave `tool_choice` out where your engine does.
messages += [reply.choices[0].message.model_dump(), {"role": "user", "content": "Where is my parcel?"}]
chunks = list(litellm.completion(messages=messages, stream=True, tools=[tool], tool_choice="none", **agent))
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
turn = chunks[0].id
print("streamed:", turn, text)

with Nock(URL, KEYS["feedback"]) as nock:
    told = nock.feedback(turn_id=turn, value=1.0, source="example")
print("feedback:", told["state"], told["consequence"])

with Nock(URL, KEYS["chat"]) as nock:
    kept = nock.conversation(told["conversation_id"])
assert [each["turn_id"] for each in kept["turns"]] == [reply.id, turn], kept
assert kept["turns"][1]["reply"]["content"] == text
print("one conversation:", kept["conversation_id"])
