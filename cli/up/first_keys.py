"""The keys that a laptop stack makes for itself: one of each scope, in a file that only its owner reads."""

from datetime import UTC, datetime
from pathlib import Path

from cli.keys_file import read_keys, write_keys
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
                known = None if held is None else await keys.find_key(session, hash_secret(held))
                if known is None or known.is_expired(datetime.now(UTC)) or not known.has([scope]):
                    secrets[scope.value] = new_secret()
                    renewed.append(scope.value)
                    await keys.add_key(
                        session,
                        secret_hash=hash_secret(secrets[scope]),
                        scopes=[scope],
                        name=f"nock up: {scope}",
                        by="nock up",
                    )
    finally:
        await engine.dispose()
    if renewed:
        write_keys(file, secrets)
    return renewed
