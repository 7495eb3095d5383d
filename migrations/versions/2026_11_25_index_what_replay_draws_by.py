"""index what replay draws by, while people talk: one statement each, which a killed attempt leaves to the next."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDICES: dict[str, tuple[list[str | sa.TextClause], str]] = {
    "ix_conversations_changed": (["changed_at"], "changed_at IS NOT NULL AND state = 'matured'"),
    "ix_conversations_lot": ([sa.text("substring(uuid_send(id), 13)")], "state = 'matured'"),
    "ix_conversations_closed": (["closed_at"], "state <> 'open'"),
}


def upgrade() -> None:
    _drop()  # what a killed attempt has left is not valid, and is never used
    with op.get_context().autocommit_block():
        for name, (columns, where) in INDICES.items():
            op.create_index(
                name,
                "conversations",
                ["agent_id", *columns],
                unique=False,
                postgresql_where=where,
                postgresql_concurrently=True,
            )


def downgrade() -> None:
    _drop()


def _drop() -> None:
    with op.get_context().autocommit_block():
        for name in INDICES:
            op.drop_index(name, table_name="conversations", postgresql_concurrently=True, if_exists=True)
