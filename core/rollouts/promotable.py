"""Which versions may serve at all, whatever the evidence says."""

from core.domain.adapters import AdapterName, AdapterState
from core.domain.erasure import BARRING
from core.domain.errors import ConflictError
from core.storage.models import AdapterVersion


def check_usable(version: AdapterVersion, name: AdapterName) -> None:
    """Raise ConflictError for a version that was rejected, or learned from what was erased."""
    if version.state is AdapterState.REJECTED:
        raise ConflictError(f"{name} was rejected; a rejected version never serves again.", code="adapter_rejected")
    if version.taught_by_erased in BARRING:
        raise ConflictError(f"{name} learned from what was erased since.", code="taught_by_erased")
