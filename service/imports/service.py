"""Register an adapter that was trained elsewhere: received, checked and flushed before any row tells of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from core.adapters.folders import publish, seal
from core.adapters.places import version_name
from core.domain.adapters import AdapterName, AdapterState
from core.domain.errors import InvalidValueError
from core.rollouts.asking import ask_for_all
from core.rollouts.loading import CONFIGURATION, WEIGHTS
from core.storage.database import Database
from core.storage.models import AdapterVersion
from core.storage.repositories import adapters, agents, audit, leases
from service.imports.peft_files import check_weights, read_configuration
from service.imports.receiving import Received, boundary_of, receive
from service.imports.sites import Site, open_site, sweep

log = structlog.get_logger()

MOST_NAME = 256


async def import_adapter(
    database: Database,
    adapters_dir: Path,
    agent_name: str,
    chunks: AsyncIterator[bytes],
    content_type: str | None,
    *,
    by: str,
) -> tuple[AdapterVersion, bool]:
    """The candidate that the upload became, and whether it is a new one: the same files again are the same version."""
    async with database.transaction() as session:
        base_model = (await agents.get_agent(session, agent_name)).base_model
    boundary = boundary_of(content_type)
    await sweep(database, adapters_dir)
    async with open_site(database, adapters_dir, agent_name) as site:
        received = await receive(chunks, boundary, site.folder, site.keep)
        layers = await asyncio.to_thread(_check, site.folder, received, base_model)
        await asyncio.to_thread(seal, site.folder)
        async with database.transaction() as session:
            version, is_new = await _register(session, site, received, layers, by)
    if is_new:
        log.info("adapter imported", agent=agent_name, number=version.number, layers=layers)
    return version, is_new


def _check(folder: Path, received: Received, base_model: str) -> int:
    """How many layers it adapts."""
    declared = received.fields.get("sha256")
    if declared is not None and declared.lower() != received.sha256:
        raise InvalidValueError(
            f"{WEIGHTS} arrived with the SHA-256 {received.sha256}, which is not the one declared: it is damaged.",
            code="adapter_damaged",
            param="sha256",
        )
    if len(received.fields.get("name", "")) > MOST_NAME:
        raise InvalidValueError(f"name is longer than {MOST_NAME} characters.", param="name")
    configuration = read_configuration(received.configuration, base_model, received.fields.get("base_model"))
    return check_weights(folder / WEIGHTS, configuration)


async def _register(
    session: AsyncSession, site: Site, received: Received, layers: int, by: str
) -> tuple[AdapterVersion, bool]:
    """Under the agent's lock: the newest candidate supersedes the others, and two uploads of one adapter are one."""
    agent = await agents.lock_agent(session, site.agent)
    await site.hold(session)
    for known in await adapters.list_of_weights(session, agent.id, received.sha256):
        if await asyncio.to_thread(_configuration_of, known) == received.configuration:
            return known, False
    name = AdapterName(agent.name, await adapters.next_number(session, agent.id))
    site.published = site.place / version_name(name, site.import_id)
    await asyncio.to_thread(publish, site.folder, site.published)
    imported = {"by": by, "name": received.fields.get("name"), "layers": layers}
    version = await adapters.add_version(
        session,
        AdapterVersion(
            id=site.import_id,
            agent_id=agent.id,
            number=name.number,
            state=AdapterState.CANDIDATE,
            path=str(site.published),
            sha256=received.sha256,
            evidence={"imported": imported},
        ),
    )
    await audit.record(session, "adapter.import", by=by, agents=[agent.name], subject=str(name))
    await adapters.retire_candidates(session, agent.id, but=version.id)
    await ask_for_all(session, agent, version.id)
    await leases.drop(session, site.lease, holder=site.holder)
    return version, True


def _configuration_of(version: AdapterVersion) -> bytes | None:
    """The same weights scaled otherwise are another adapter, so the configuration counts too."""
    try:
        return (Path(version.path or "") / CONFIGURATION).read_bytes()
    except OSError:
        return None
