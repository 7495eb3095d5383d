"""Write down what happened to a version, for its history and for the webhook, in the transaction of its happening."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.storage.models import Canary, OutboxMessage, RolloutEvent
from core.storage.repositories import adapters, agents, audit, rollouts


async def record(session: AsyncSession, event: RolloutEvent) -> None:
    """The event, and one message about it, which leaves only if the transaction commits, and then at least once."""
    await rollouts.add_event(session, event)
    if ids.parse(ids.Prefix.KEY, event.by) is not None:  # what Nock does by itself is nobody's act
        await _note(session, event)
    about = {"by": event.by, "reason": event.reason, "evidence": event.evidence}
    await _tell(session, event.agent_id, event.kind, event.from_id, event.to_id, about)


async def announce_verdict(session: AsyncSession, canary: Canary) -> None:
    """The same for a verdict, whoever carries it out."""
    about = {"verdict": canary.verdict, "evidence": canary.evidence}
    await _tell(session, canary.agent_id, "verdict", canary.stable_id, canary.adapter_id, about)


async def _note(session: AsyncSession, event: RolloutEvent) -> None:
    """An administrator's move also stands in the log of all acts."""
    agent = await agents.get_agent_by_id(session, event.agent_id)
    moved = event.from_id if event.kind == "reject" and event.from_id else event.to_id
    version = (await adapters.names_of(session, [moved]))[moved]
    acted = f"rollout.{event.kind}"
    await audit.record(session, acted, by=event.by, agents=[agent.name], subject=str(version))


async def _tell(
    session: AsyncSession, agent_id: UUID, kind: str, stable_id: UUID | None, adapter_id: UUID, about: dict[str, Any]
) -> None:
    names = await adapters.names_of(session, [one for one in (stable_id, adapter_id) if one])
    agent = await agents.get_agent_by_id(session, agent_id)
    beside = str(names[stable_id]) if stable_id else None
    body = {"kind": kind, "agent": agent.name, "adapter": str(names[adapter_id]), "beside": beside, **about}
    session.add(OutboxMessage(id=ids.new_id(), agent_id=agent_id, kind=kind, body=body))
    await session.flush()
