"""`nock_client`, with threads and with an event loop: outcomes, conversations, and what an admin asks."""

import asyncio
import json
import os
from pathlib import Path
from uuid import uuid4

from openai import OpenAI

from nock_client import AsyncNock, ConflictError, Nock, NotFoundError, calls

URL = os.environ.get("NOCK_URL", "http://127.0.0.1:8000")
KEYS = json.loads((Path(os.environ.get("NOCK_HOME", ".nock")) / "keys.json").read_text())

# Talking is any OpenAI client's work.
conversation = f"example-{uuid4()}"
turns = [
    OpenAI(base_url=f"{URL}/v1", api_key=KEYS["chat"])
    .chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": question}],
        metadata={"conversation_id": conversation},
        max_tokens=8,
    )
    .id
    for question in ("Hello!", "Where is my parcel?")
]

with Nock(URL, KEYS["feedback"]) as nock:
    told = nock.feedback(turn_id=turns[0], value=0.0, source="example")
    better = nock.feedback(turn_id=turns[0], value=1.0, source="example", supersedes=told["feedback_id"])
    batch = nock.feedback_batch([{"turn_id": turn, "value": 0.5, "source": "batch"} for turn in turns])
    print("feedback:", better["consequence"], [item["status"] for item in batch["data"]])
    try:
        nock.feedback(conversation_id="nobody's", agent="demo", value=1.0)
    except NotFoundError as error:
        print("refused:", error)
    letter = [each for each in nock.every(calls.dead_letters()) if each["body"]["conversation_id"] == "nobody's"][-1]
    print("kept as:", letter["dead_letter_id"], letter["reason"])


async def look_after() -> None:
    async with AsyncNock(URL, KEYS["admin"]) as nock:
        kept = await nock.conversation(conversation, agent="demo")
        assert [turn["turn_id"] for turn in kept["turns"]] == turns, kept
        assert kept["turns"][0]["reward"] == 0.75, "the mean of what two sources say"
        await nock.close_conversation(conversation)
        print("in service:", (await nock.rollout("demo"))["stable"])
        try:
            run = await nock.wait_for_run((await nock.learn("demo"))["run_id"], seconds=600)
            print("run:", run["state"], run["adapter"] or run["reason"])
        except ConflictError as error:
            print("run:", error)
        print("one conversation:", kept["conversation_id"])


asyncio.run(look_after())
