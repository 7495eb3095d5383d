"""A version as clients see it."""

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.storage.models import AdapterVersion
from core.storage.repositories import adapters
from service.adapters.evidence import evidence_of
from service.adapters.schemas import AdapterOut


async def show(session: AsyncSession, version: AdapterVersion) -> AdapterOut:
    names = await adapters.names_of(session, [row for row in (version.id, version.parent_id) if row])
    name = names[version.id]
    return AdapterOut(
        adapter=str(name),
        agent=name.agent,
        state=version.state,
        parent=str(names[version.parent_id]) if version.parent_id else None,
        run_id=ids.public(ids.Prefix.RUN, version.run_id) if version.run_id else None,
        path=version.path,
        sha256=version.sha256,
        evidence=await evidence_of(session, version),
        changed_share=version.changed_share,
        taught_by_erased=version.taught_by_erased,
        created_at=version.created_at,
    )
