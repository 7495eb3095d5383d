"""declare what outcomes mean: level, direction, window and what none means; when a conversation is settled again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Defaults stay in the tables: a gateway of the release before writes rows without these columns.
WEEK_SECONDS = "604800"


def upgrade() -> None:
    op.add_column("agents", sa.Column("reward_version", sa.Integer(), server_default="1", nullable=False))
    op.add_column(
        "metrics",
        sa.Column(
            "level",
            sa.Enum("turn", "conversation", name="level", native_enum=False, create_constraint=True, length=32),
            nullable=True,
        ),
    )
    op.add_column(
        "metrics",
        sa.Column(
            "direction",
            sa.Enum("higher", "lower", name="direction", native_enum=False, create_constraint=True, length=32),
            server_default="higher",
            nullable=False,
        ),
    )
    # A cost was declared by its weight alone before.
    op.execute("UPDATE metrics SET direction = 'lower' WHERE weight < 0")
    op.add_column("metrics", sa.Column("window_seconds", sa.Double(), server_default=WEEK_SECONDS, nullable=False))
    op.add_column(
        "metrics",
        sa.Column("missing", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
    )
    op.add_column("metrics", sa.Column("guard", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("conversations", sa.Column("due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("conversations", sa.Column("reward_version", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "ix_conversations_due_at", "conversations", ["due_at"], unique=False, postgresql_where="due_at IS NOT NULL"
    )
    op.create_index(
        "ix_conversations_settled",
        "conversations",
        ["agent_id", "reward_version"],
        unique=False,
        postgresql_where="state <> 'open'",
    )


def downgrade() -> None:
    op.drop_index("ix_conversations_settled", table_name="conversations", postgresql_where="state <> 'open'")
    op.drop_index("ix_conversations_due_at", table_name="conversations", postgresql_where="due_at IS NOT NULL")
    op.drop_column("conversations", "reward_version")
    op.drop_column("conversations", "due_at")
    for column in ("guard", "missing", "window_seconds", "direction", "level"):
        op.drop_column("metrics", column)
    op.drop_column("agents", "reward_version")
