"""let changed outcomes teach again: when it changed, the chance of an outcome, demonstrations."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("outcome_chance", sa.Double(), nullable=True))
    op.add_column("conversations", sa.Column("taught_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("conversations", sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("adapter_versions", sa.Column("changed_share", sa.Double(), nullable=True))
    op.add_column("adapter_versions", sa.Column("changed_share_at", sa.DateTime(timezone=True), nullable=True))
    op.alter_column("run_turns", "reward", existing_type=sa.Double(), nullable=True)
    op.add_column("run_turns", sa.Column("demonstrated", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "outcome_chances",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("matured", sa.Integer(), nullable=False),
        sa.Column("decided", sa.Integer(), nullable=False),
        sa.Column("chance", sa.Double(), nullable=False),
        sa.Column("estimated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_outcome_chances_agent_id")),
        sa.PrimaryKeyConstraint("agent_id", "kind", name=op.f("pk_outcome_chances")),
    )
    op.create_table(
        "demonstrations",
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("base_model", sa.String(), nullable=True),
        sa.Column("completion", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_demonstrations_agent_id")),
        sa.ForeignKeyConstraint(["entry_id"], ["reward_entries.id"], name=op.f("fk_demonstrations_entry_id")),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_demonstrations")),
    )
    op.create_index("ix_demonstrations_agent_id_entry_id", "demonstrations", ["agent_id", "entry_id"], unique=False)
    op.execute(
        "INSERT INTO demonstrations (entry_id, agent_id) SELECT DISTINCT e.id, e.agent_id FROM reward_entries AS e "
        "JOIN metrics AS m ON m.agent_id = e.agent_id AND m.name = e.metric AND m.kind = 'demonstration' "
        "WHERE e.retracts IS NULL AND e.turn_id IS NOT NULL"
    )
    # What taught before this release counts as taught by its newest run.
    op.execute(
        "UPDATE conversations SET taught_at = taught.at FROM (SELECT turns.conversation_id, "
        "max(learner_runs.ended_at) AS at FROM run_turns JOIN turns ON turns.id = run_turns.turn_id "
        "JOIN learner_runs ON learner_runs.id = run_turns.run_id GROUP BY turns.conversation_id) AS taught "
        "WHERE taught.conversation_id = conversations.id"
    )


def downgrade() -> None:
    op.drop_table("demonstrations")
    op.drop_column("run_turns", "demonstrated")
    op.execute("DELETE FROM run_turns WHERE reward IS NULL")
    op.alter_column("run_turns", "reward", existing_type=sa.Double(), nullable=False)
    op.drop_table("outcome_chances")
    op.drop_column("adapter_versions", "changed_share_at")
    op.drop_column("adapter_versions", "changed_share")
    for column in ("changed_at", "taught_at", "outcome_chance"):
        op.drop_column("conversations", column)
