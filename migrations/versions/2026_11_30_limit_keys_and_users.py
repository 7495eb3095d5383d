"""limit keys and users: what each may use up, secrets that rotate, and a log of what administrators did."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = postgresql.JSONB(astext_type=sa.Text())
    for table in ("agents", "api_keys"):
        op.add_column(table, sa.Column("limits", json, server_default="{}", nullable=False))
    op.add_column("api_keys", sa.Column("old_secret_hash", sa.LargeBinary(), nullable=True))
    op.add_column("api_keys", sa.Column("old_valid_until", sa.DateTime(timezone=True), nullable=True))
    op.create_unique_constraint(op.f("uq_api_keys_old_secret_hash"), "api_keys", ["old_secret_hash"])
    op.create_table(
        "audit_log",
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("agents", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("subject", sa.String(), nullable=True),
        sa.Column("details", json, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )


def downgrade() -> None:
    op.drop_table("audit_log")
    op.drop_constraint(op.f("uq_api_keys_old_secret_hash"), "api_keys")
    op.drop_column("api_keys", "old_valid_until")
    op.drop_column("api_keys", "old_secret_hash")
    for table in ("api_keys", "agents"):
        op.drop_column(table, "limits")
