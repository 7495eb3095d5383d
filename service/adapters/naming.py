"""A version as a path names it, as far as the key may see it."""

from core.domain.adapters import AdapterName, parse_adapter_name
from core.domain.errors import NotFoundError
from core.domain.keys import Key


def named(adapter: str, key: Key) -> AdapterName:
    """Raises NotFoundError for what is no name, and for versions of agents that the key does not see."""
    name = parse_adapter_name(adapter)
    if name is None or not key.sees(name.agent):
        raise NotFoundError(f"There is no adapter {adapter!r}.", code="adapter_not_found")
    return name
