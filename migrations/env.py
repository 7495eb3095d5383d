"""How Alembic reaches the database: one connection, one lock so that two deployers do not race, short lock waits."""

import time

from alembic import context
from sqlalchemy import create_engine, text

from core.settings import DatabaseSettings
from core.storage.models import Base

MIGRATION_LOCK = 7_355_608


def run() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or DatabaseSettings().database_url
    engine = create_engine(url)
    with engine.connect() as connection:
        # Asked for again and again: whoever waits inside Postgres holds a snapshot, for whose end an index that the
        # other one builds concurrently would wait in turn.
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": MIGRATION_LOCK}):
            connection.commit()
            time.sleep(0.2)
        connection.commit()
        # A migration that cannot get its lock at once would queue every request behind itself.
        connection.execute(text("SET lock_timeout = '4s'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_server_default=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    run()
