"""try versions on some: canaries and their units, evaluations, what the webhook is told, and what an agent demands."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ARMS = ("stable", "pinned")


def upgrade() -> None:
    # First, and each statement by itself: nobody is kept from the largest table, and a migration that was cut begins
    # again.
    with op.get_context().autocommit_block():
        _allow_arms((*ARMS, "canary", "holdout"))
        op.execute("ALTER TABLE episodes ADD COLUMN IF NOT EXISTS canary_id uuid")
        op.execute("SET lock_timeout = '10min'")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_episodes_canary")  # one that was cut is there and not valid
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_episodes_canary ON episodes (canary_id, started_at) "
            "WHERE canary_id IS NOT NULL"
        )
        op.execute("SET lock_timeout = '4s'")
    op.create_table(
        "outbox",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_outbox_agent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(
        "ix_outbox_waiting", "outbox", ["next_attempt_at"], unique=False, postgresql_where="ended_at IS NULL"
    )
    op.create_table(
        "canaries",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("adapter_id", sa.Uuid(), nullable=False),
        sa.Column("stable_id", sa.Uuid(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "running",
                "promoted",
                "rolled_back",
                "inconclusive",
                "stopped",
                name="canarystate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("gates", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("measures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("weight_since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("entered_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("entered_id", sa.Uuid(), nullable=True),
        sa.Column("verdict", sa.String(), nullable=True),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["adapter_id"], ["adapter_versions.id"], name=op.f("fk_canaries_adapter_id")),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_canaries_agent_id")),
        sa.ForeignKeyConstraint(["stable_id"], ["adapter_versions.id"], name=op.f("fk_canaries_stable_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_canaries")),
    )
    op.create_index("ix_canaries_adapter_id", "canaries", ["adapter_id"], unique=False)
    op.create_index("uq_canaries_running", "canaries", ["agent_id"], unique=True, postgresql_where="state = 'running'")
    op.create_table(
        "evaluations",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("adapter_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("offline", "suite", name="evaluationkind", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "running",
                "passed",
                "worse",
                "undecided",
                "failed",
                name="evaluationstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_holder", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["adapter_id"], ["adapter_versions.id"], name=op.f("fk_evaluations_adapter_id")),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_evaluations_agent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
    )
    op.create_index("ix_evaluations_adapter_id_kind_id", "evaluations", ["adapter_id", "kind", "id"], unique=False)
    op.create_index(
        "uq_evaluations_active",
        "evaluations",
        ["adapter_id", "kind"],
        unique=True,
        postgresql_where="state IN ('queued', 'running')",
    )
    op.create_table(
        "canary_units",
        sa.Column("canary_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=True),
        sa.Column(
            "arm",
            sa.Enum(
                "stable",
                "pinned",
                "canary",
                "holdout",
                name="arm",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("outcomes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("entered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["canary_id"], ["canaries.id"], name=op.f("fk_canary_units_canary_id")),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name=op.f("fk_canary_units_conversation_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("canary_id", "ordinal", name=op.f("pk_canary_units")),
    )
    op.create_index(
        "ix_canary_units_conversation_id",
        "canary_units",
        ["conversation_id"],
        unique=False,
        postgresql_where="conversation_id IS NOT NULL",
    )
    op.add_column(
        "agents", sa.Column("gates", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False)
    )
    op.add_column(
        "agents", sa.Column("suite", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False)
    )
    op.add_column("rollouts", sa.Column("canary_id", sa.Uuid(), nullable=True))
    op.add_column("rollouts", sa.Column("weight", sa.Double(), server_default="0", nullable=False))
    op.create_foreign_key(op.f("fk_rollouts_canary_id"), "rollouts", "canaries", ["canary_id"], ["id"], use_alter=True)
    # Every row that is there has none, so nothing would be found by looking at each under this lock: NOT VALID.
    op.execute(
        "ALTER TABLE episodes ADD CONSTRAINT fk_episodes_canary_id FOREIGN KEY (canary_id) REFERENCES canaries (id) "
        "NOT VALID"
    )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("UPDATE episodes SET arm = 'stable' WHERE arm IN ('canary', 'holdout')")
        _allow_arms(ARMS)
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_episodes_canary")
    op.drop_constraint(op.f("fk_rollouts_canary_id"), "rollouts", type_="foreignkey")
    op.drop_column("rollouts", "weight")
    op.drop_column("rollouts", "canary_id")
    op.drop_constraint(op.f("fk_episodes_canary_id"), "episodes", type_="foreignkey")
    op.drop_column("episodes", "canary_id")
    op.drop_column("agents", "suite")
    op.drop_column("agents", "gates")
    op.drop_index(
        "ix_canary_units_conversation_id", table_name="canary_units", postgresql_where="conversation_id IS NOT NULL"
    )
    op.drop_table("canary_units")
    op.drop_index("uq_evaluations_active", table_name="evaluations", postgresql_where="state IN ('queued', 'running')")
    op.drop_index("ix_evaluations_adapter_id_kind_id", table_name="evaluations")
    op.drop_table("evaluations")
    op.drop_index("uq_canaries_running", table_name="canaries", postgresql_where="state = 'running'")
    op.drop_index("ix_canaries_adapter_id", table_name="canaries")
    op.drop_table("canaries")
    op.drop_index("ix_outbox_waiting", table_name="outbox", postgresql_where="ended_at IS NULL")
    op.drop_table("outbox")


def _allow_arms(arms: tuple[str, ...]) -> None:
    """Checked against the rows that are there without keeping anybody from the table."""
    allowed = ", ".join(f"'{arm}'" for arm in arms)
    op.execute(
        "ALTER TABLE episodes DROP CONSTRAINT IF EXISTS ck_episodes_arm, "
        f"ADD CONSTRAINT ck_episodes_arm CHECK (arm IN ({allowed})) NOT VALID"
    )
    op.execute("ALTER TABLE episodes VALIDATE CONSTRAINT ck_episodes_arm")
