"""What the outside sees of a turn: its figures, its span, its lines in the log; never what was said."""

import time
from typing import TYPE_CHECKING

import structlog

from core import tracing
from core.domain import ids
from core.engine.generation import TRUNCATED, Generation
from service import metrics
from service.chat.recording import Timing
from service.shown_versions import SHOWN
from service.turn_figures import figures_of

if TYPE_CHECKING:
    from service.chat.service import OpenTurn

log = structlog.get_logger()


def opened(turn: "OpenTurn") -> "OpenTurn":
    """Let the lines and the span of this request say which turn they are of."""
    named = {"turn": turn.public_id}
    if turn.place is not None:
        named["conversation"] = ids.public(ids.Prefix.CONVERSATION, turn.place.conversation_id)
    structlog.contextvars.bind_contextvars(**named)
    span = tracing.current()
    if span.is_recording():
        agent = turn.route.agent.name
        span.update_name(f"chat {agent}")
        span.set_attributes(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": agent,
                "gen_ai.response.model": str(turn.adapter),
                "gen_ai.response.id": turn.public_id,
                "nock.agent": agent,
                "nock.adapter": str(turn.adapter),
            }
        )
        if turn.place is not None:
            span.set_attribute("nock.conversation_id", named["conversation"])
    return turn


def answered(turn: "OpenTurn", generation: Generation, timing: Timing) -> None:
    """Count a turn, kept or not, whose finish may leave now."""
    seconds = time.monotonic() - turn.arrived
    usage, finish_reason = generation.token_usage(), generation.finish_reason or TRUNCATED
    agent, adapter = turn.route.agent.name, str(turn.adapter)
    figures = figures_of(agent, adapter)
    figures.turns(finish_reason).inc()
    figures.prompt_tokens.inc(usage["prompt_tokens"])
    figures.completion_tokens.inc(usage["completion_tokens"])
    figures.seconds.observe(seconds)
    figures.gateway_seconds.observe(seconds - timing.engine)
    figures.engine_seconds.observe(timing.engine)
    if timing.first_token is not None:
        figures.first_token_seconds.observe(timing.first_token)
    span = tracing.current()
    if span.is_recording():  # it has ended, where the client has gone
        span.set_attributes(
            {
                "gen_ai.usage.input_tokens": usage["prompt_tokens"],
                "gen_ai.usage.output_tokens": usage["completion_tokens"],
                "gen_ai.response.finish_reasons": (finish_reason,),
            }
        )
    log.debug(
        "turn answered",
        agent=agent,
        adapter=adapter,
        finish_reason=finish_reason,
        seconds=seconds,
        engine_seconds=timing.engine,
        **usage,
    )


def failed(turn: "OpenTurn", code: str) -> None:
    """Count a turn that got no reply. No row will say what became of it, so a line does."""
    metrics.FAILED_TURNS.labels(SHOWN.agent(turn.route.agent.name), code).inc()
    log.warning("turn failed", agent=turn.route.agent.name, adapter=str(turn.adapter), code=code)
