"""LangChain's `ChatOpenAI` in front of an agent: whole and streamed replies, a bound tool, feedback by the turn."""

import json
import os
from pathlib import Path
from uuid import uuid4

from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from nock_client import Nock

URL = os.environ.get("NOCK_URL", "http://127.0.0.1:8000")
KEYS = json.loads((Path(os.environ.get("NOCK_HOME", ".nock")) / "keys.json").read_text())


@tool
def find_parcel(number: str) -> str:
    """Where a parcel is."""
    return f"{number} is on its way"


model = ChatOpenAI(
    model="demo",
    base_url=f"{URL}/v1",
    api_key=KEYS["chat"],
    max_tokens=24,
    model_kwargs={"user": f"customer-{uuid4()}"},
    include_response_headers=True,  # LangChain gives streamed replies ids of its own; the turn's is in X-Turn-Id
)

messages = [HumanMessage("Hello! Who are you?")]
reply = model.invoke(messages)
first = reply.response_metadata["headers"]["x-turn-id"]
print("whole:", first, reply.text)

# The engine that comes along calls no tools, so "none"; leave `tool_choice` out where your engine does.
messages += [reply, HumanMessage("Where is my parcel?")]
streamed = AIMessageChunk("")
for chunk in model.bind_tools([find_parcel], tool_choice="none").stream(messages):
    streamed += chunk
turn = streamed.response_metadata["headers"]["x-turn-id"]
print("streamed:", turn, streamed.text)

with Nock(URL, KEYS["feedback"]) as nock:
    told = nock.feedback(turn_id=turn, value=1.0, source="example")
print("feedback:", told["state"], told["consequence"])

with Nock(URL, KEYS["chat"]) as nock:
    kept = nock.conversation(told["conversation_id"])
assert [each["turn_id"] for each in kept["turns"]] == [first, turn], kept
assert kept["turns"][1]["reply"]["content"] == streamed.text
print("one conversation:", kept["conversation_id"])
