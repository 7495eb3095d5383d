"""Put one prompt of a suite to a version, as the agent would be asked, but greedily; what is wrong with the reply."""

import json
from typing import Any

from core.domain.adapters import BASE_NUMBER, AdapterName
from core.domain.errors import EngineError, EngineRefusedError, EngineTimeoutError
from core.domain.suites import DEFAULT_MAX_TOKENS, Prompt, Reply, ToolCall, failures_of
from core.engine.client import EngineClient
from core.engine.generation import Generation
from core.storage.models import Agent

GREEDY = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}


async def ask(client: EngineClient, agent: Agent, name: AdapterName, prompt: Prompt) -> list[str]:
    """The sentences that say what the reply gets wrong. Raises EngineError where the engine is at fault."""
    try:
        answer = await client.complete(_request(agent, name, prompt))
    except EngineRefusedError as error:
        return [f"The engine refuses the prompt: {error.message}"]
    except EngineTimeoutError:
        return ["The engine did not come to the end of a reply in time."]
    return failures_of(prompt.checks, _read(answer))


def _request(agent: Agent, name: AdapterName, prompt: Prompt) -> dict[str, Any]:
    messages = list(prompt.messages)
    if agent.system_prompt and not any(message["role"] in ("system", "developer") for message in messages):
        messages = [{"role": "system", "content": agent.system_prompt}, *messages]
    request = {
        "max_tokens": DEFAULT_MAX_TOKENS,
        **agent.sampling,
        **GREEDY,
        "model": agent.base_model if name.number == BASE_NUMBER else str(name),
        "messages": messages,
    }
    if prompt.max_tokens is not None:
        request["max_tokens"] = prompt.max_tokens
    if prompt.tools:
        request["tools"] = list(prompt.tools)
    return request


def _read(answer: dict[str, Any]) -> Reply:
    try:
        generation = Generation()
        generation.add_answer(answer)
        calls = [
            ToolCall(call["function"]["name"], _arguments(call["function"]["arguments"]))
            for call in generation.tool_calls
        ]
        return Reply(generation.content, generation.token_usage()["completion_tokens"], calls)
    except (KeyError, IndexError, TypeError) as error:
        raise EngineError("The engine's answer is none.") from error


def _arguments(text: str) -> dict[str, Any] | None:
    try:
        arguments = json.loads(text)
    except ValueError:
        return None
    return arguments if isinstance(arguments, dict) else None
