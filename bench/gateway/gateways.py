"""Every target by its name, and how it is started."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from bench.gateway import bare, litellm, targets, tensorzero
from bench.gateway.stack import Ground
from bench.gateway.targets import Target


@contextmanager
def direct(ground: Ground) -> Iterator[Target]:
    yield targets.direct(ground.engine_url)


def nock(ground: Ground) -> AbstractContextManager[Target]:
    return targets.nock(ground.folder, ground.database_url, ground.engine_url, ground.key)


def nock_by_history(ground: Ground) -> AbstractContextManager[Target]:
    """The same for clients that say no conversation's id, and are known by the history that they resend."""
    return targets.nock(
        ground.folder, ground.database_url, ground.engine_url, ground.key, name="nock-by-history", named=False
    )


ALL: dict[str, Callable[[Ground], AbstractContextManager[Target]]] = {
    "direct": direct,
    "bare-proxy": bare.running,
    "nock": nock,
    "nock-by-history": nock_by_history,
    **{name: partial(tensorzero.running, name=name) for name in tensorzero.KEEPS},
    "litellm": litellm.running,
}


def chosen(names: str) -> list[str]:
    """The targets that are named, and `direct`, to which the others are compared."""
    given = [name.strip() for name in names.split(",")]
    if unknown := [name for name in given if name not in ALL]:
        raise SystemExit(f"There is no target {unknown[0]!r}: there are {', '.join(ALL)}.")
    return [name for name in ALL if name in given or name == "direct"]
