"""let changed outcomes teach again: when it changed, the chance of an outcome, demonstrations as tokens."""

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
        "demonstration_tokens",
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("completion", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["reward_entries.id"], name=op.f("fk_demonstration_tokens_entry_id")),
        sa.PrimaryKeyConstraint("entry_id", "base_model", name=op.f("pk_demonstration_tokens")),
    )
    # What taught before this release counts as taught by its newest run.
    op.execute(
        "UPDATE conversations SET taught_at = taught.at FROM (SELECT turns.conversation_id, "
        "max(learner_runs.ended_at) AS at FROM run_turns JOIN turns ON turns.id = run_turns.turn_id "
        "JOIN learner_runs ON learner_runs.id = run_turns.run_id GROUP BY turns.conversation_id) AS taught "
        "WHERE taught.conversation_id = conversations.id"
    )


def downgrade() -> None:
    op.drop_table("demonstration_tokens")
    op.drop_table("outcome_chances")
    op.drop_column("adapter_versions", "changed_share_at")
    op.drop_column("adapter_versions", "changed_share")
    for column in ("changed_at", "taught_at", "outcome_chance"):
        op.drop_column("conversations", column)
