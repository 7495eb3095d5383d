"""The keys that a laptop stack makes for itself: one of each scope, in a file that only its owner reads."""

import json
import os
from pathlib import Path

from core.domain.keys import Scope, hash_secret, new_secret
from core.storage.database import Database, connect
from core.storage.repositories import keys


async def ensure_keys(file: Path, database_url: str) -> list[str]:
    """See to it that the file holds a valid key of each scope; the scopes that got a new one."""
    secrets = read_keys(file)
    engine = connect(database_url)
    try:
        async with Database(engine).transaction() as session:
            renewed = []
            for scope in Scope:
                held = secrets.get(scope)
                known = None if held is None else await keys.find_valid_key(session, hash_secret(held))
                if known is None or not known.has([scope]):
                    secrets[scope.value] = new_secret()
                    renewed.append(scope.value)
                    await keys.add_key(
                        session, secret_hash=hash_secret(secrets[scope]), scopes=[scope], name=f"nock up: {scope}"
                    )
    finally:
        await engine.dispose()
    if renewed:
        write_keys(file, secrets)
    return renewed


def read_keys(file: Path) -> dict[str, str]:
    """The keys by scope; none where the file is lost or damaged, for then new ones are made."""
    try:
        content = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {scope: key for scope, key in content.items() if isinstance(key, str)}


def write_keys(file: Path, secrets: dict[str, str]) -> None:
    """Write all or nothing, unreadable to others from the first byte on."""
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        json.dump(secrets, opened, indent=2)
        opened.write("\n")
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)
