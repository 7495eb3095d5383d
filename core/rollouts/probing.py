"""Ask a loaded version something before anybody meets it: it must answer, and not with the base model's words."""

import asyncio
import math
from typing import Any

from core.domain.adapters import AdapterName
from core.domain.errors import ConflictError, EngineError
from core.engine.client import EngineClient

QUESTIONS = ("Hello", "Can you help me with my order?", "What is 2 + 2?")
LEAST_CHANGE = 1e-4
"""The smallest shift of a log-prob that counts: above the noise of batched kernels, below any adapter that learned."""


async def probe(client: EngineClient, base: str, name: AdapterName) -> dict[str, float]:
    """Compare the first token's distribution under the version with the base model's.

    Raises ConflictError (`probe_failed`) when the version does not answer, answers with numbers that are not finite,
    or answers exactly as the base model does: then the engine lies about having loaded it, or it learned nothing.
    """
    try:
        answers = await asyncio.gather(
            *(_first_token(client, model, question) for question in QUESTIONS for model in (base, str(name)))
        )
    except EngineError as error:
        raise ConflictError(f"{name} was loaded but does not answer: {error.message}", code="probe_failed") from error
    change = max(_distance(answers[i], answers[i + 1]) for i in range(0, len(answers), 2))
    if not math.isfinite(change):
        raise ConflictError(f"{name} answers with log-probs that are not finite.", code="probe_failed")
    if change < LEAST_CHANGE:
        raise ConflictError(f"{name} answers exactly as the base model does.", code="probe_failed")
    return {"largest_logprob_change": change}


async def _first_token(client: EngineClient, model: str, question: str) -> dict[str, float]:
    answer = await client.complete(
        {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 1,
            # Greedy: vLLM lists the sampled token first and four others; only then are they the likeliest five.
            "temperature": 0.0,
            "logprobs": True,
            "top_logprobs": 5,
        }
    )
    return _top(answer)


def _top(answer: dict[str, Any]) -> dict[str, float]:
    try:
        return {
            token["token"]: token["logprob"] for token in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        }
    except (KeyError, IndexError, TypeError) as error:
        raise EngineError("the answer has no log-probs") from error


def _distance(base: dict[str, float], adapted: dict[str, float]) -> float:
    """The largest shift among the base's likeliest tokens; a token that fell out of the list shifted to its end."""
    if not all(math.isfinite(value) for value in adapted.values()):
        return math.nan
    floor = min(adapted.values())
    return max(abs(value - adapted.get(token, min(floor, value))) for token, value in base.items())
