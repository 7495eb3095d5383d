"""erase: reports, tombstones, what learned from what was erased, and the look-ups that erasing needs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDICES = {
    "ix_conversations_agent_id_last_turn_at": "conversations (agent_id, last_turn_at)",
    "ix_conversations_end_user": "conversations (end_user) WHERE end_user IS NOT NULL",
    "ix_conversations_parent_id": "conversations (parent_id) WHERE parent_id IS NOT NULL",
    "ix_turns_episode_id": "turns (episode_id)",
    "ix_turn_tokens_prefix_turn_id": "turn_tokens (prefix_turn_id) WHERE prefix_turn_id IS NOT NULL",
    "ix_idempotency_keys_conversation": "idempotency_keys ((answer ->> 'conversation_id'))",
    "ix_dead_letters_conversation": "dead_letters ((body ->> 'conversation_id'))",
    "ix_dead_letters_turn": "dead_letters ((body ->> 'turn_id'))",
}
ENDS = ("closed", "final", "idle", "cap", "rejected", "pinned")


def upgrade() -> None:
    # First, and each statement by itself: no table is locked while its index is built, and a migration that was cut
    # begins again. Building waits for transactions that are open; nobody waits behind it meanwhile.
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '10min'")
        for name, place in INDICES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # one that was cut is there and not valid
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {place}")
        op.execute("SET lock_timeout = '4s'")
        _allow_ends((*ENDS, "erased"))
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column)
    op.execute(
        "UPDATE learner_runs SET critic_run_id = substring(figures ->> 'critic_start' from '^checkpoint of run "
        "([0-9a-f]{32})$')::uuid WHERE figures ->> 'critic_start' LIKE 'checkpoint of run %'"
    )
    op.create_table(
        "erasures",
        sa.Column(
            "subject",
            sa.Enum(
                "conversation",
                "user",
                "retention",
                name="erasuresubject",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("agents", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("parts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_table(
        "tombstones",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("erasure_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["erasure_id"], ["erasures.id"], name=op.f("fk_tombstones_erasure_id")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_tombstones")),
    )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("UPDATE episodes SET ended_by = 'rejected' WHERE ended_by = 'erased'")
        _allow_ends(ENDS)
        for name in INDICES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    op.drop_table("tombstones")
    op.drop_table("erasures")
    for table, columns in _columns().items():
        for column in columns:
            op.drop_column(table, column.name)


def _columns() -> dict[str, list["sa.Column[object]"]]:
    """New columns of small tables; defaults stay, since a gateway of the release before writes rows without them."""

    def policy(name: str, **options: object) -> "sa.Column[object]":
        kind = sa.Enum(
            "keep", "retrain", "retire", name="erasurepolicy", native_enum=False, create_constraint=True, length=32
        )
        return sa.Column(name, kind, **options)  # type: ignore[arg-type]  # what Column takes

    return {
        "agents": [
            policy("erasure", server_default="keep", nullable=False),
            sa.Column("retention_days", sa.Double(), nullable=True),
        ],
        "adapter_versions": [policy("taught_by_erased", nullable=True)],
        "learner_runs": [
            sa.Column("critic_run_id", sa.Uuid(), nullable=True),
            sa.Column("erased_turns", sa.Integer(), server_default="0", nullable=False),
            policy("taught_by_erased", nullable=True),
            sa.Column("another_after", sa.Boolean(), server_default=sa.false(), nullable=False),
        ],
    }


def _allow_ends(ends: tuple[str, ...]) -> None:
    """Checked against the rows that are there without keeping anybody from the table."""
    allowed = ", ".join(f"'{end}'" for end in ends)
    op.execute(
        "ALTER TABLE episodes DROP CONSTRAINT IF EXISTS ck_episodes_episodeend, "
        f"ADD CONSTRAINT ck_episodes_episodeend CHECK (ended_by IN ({allowed})) NOT VALID"
    )
    op.execute("ALTER TABLE episodes VALIDATE CONSTRAINT ck_episodes_episodeend")
