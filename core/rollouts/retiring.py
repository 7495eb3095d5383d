"""Keep versions out of service that learned from what was erased: at once, or from the next move on."""

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import BASE_NUMBER, AdapterName, AdapterState
from core.domain.canaries import CanaryState
from core.domain.episodes import EpisodeEnd
from core.rollouts.moving import move, usable_before
from core.rollouts.trying import end
from core.storage.models import AdapterVersion, Agent
from core.storage.repositories import adapters, canaries, conversations, rollouts


async def bar(
    session: AsyncSession, agent: Agent, versions: Collection[AdapterVersion], *, cut: bool, by: str, reason: str
) -> AdapterVersion | None:
    """Candidates retire, and nobody is rolled back to one of these. With `cut` none of them serves any more.

    Gives back the version that was rolled back to: the newest that was in service before and bears no such mark, which
    at last is the base model. The caller has marked them.
    """
    rollout = await rollouts.lock_rollout(session, agent.id)
    barred = {version.id for version in versions}
    running = await canaries.find_canary(session, rollout.canary_id)
    if running is not None and running.adapter_id in barred:
        rollout = await end(session, rollout, CanaryState.STOPPED, by=by, reason=reason)
    for adapter_id in sorted(barred):
        version = await adapters.lock_version(session, adapter_id)
        if version.state is AdapterState.CANDIDATE:
            version.state = AdapterState.RETIRED
    await session.flush()
    if rollout.previous_id in barred:
        rollout.previous_id = await usable_before(session, agent.id, rollout.previous_id, but=rollout.stable_id)
        await session.flush()
    if not cut:
        return None
    to = None
    if rollout.stable_id in barred:
        back = rollout.previous_id or (await adapters.get_version(session, AdapterName(agent.name, BASE_NUMBER))).id
        to = await adapters.get_version_by_id(session, back)
        before = await usable_before(session, agent.id, to.id)
        await move(session, rollout, to.id, before, kind="erasure", by=by, reason=reason, evidence={})
    for adapter_id in sorted(barred):
        await conversations.end_episodes_of_adapter(session, adapter_id, EpisodeEnd.ERASED)
    return to
