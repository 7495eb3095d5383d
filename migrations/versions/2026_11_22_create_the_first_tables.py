"""create the first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agents",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("system_prompt", sa.String(), nullable=True),
        sa.Column("sampling", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("discount", sa.Double(), nullable=False),
        sa.Column("max_turns", sa.Integer(), nullable=False),
        sa.Column("idle_seconds", sa.Double(), nullable=False),
        sa.Column("schedule", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("learner", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agents")),
        sa.UniqueConstraint("name", name=op.f("uq_agents_name")),
    )
    op.create_table(
        "api_keys",
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("agents", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_api_keys_secret_hash")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("agents", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("answer", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "adapter_versions",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "candidate",
                "canary",
                "stable",
                "retired",
                "rejected",
                name="adapterstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("path", sa.String(), nullable=True),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_adapter_versions_agent_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["adapter_versions.id"], name=op.f("fk_adapter_versions_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adapter_versions")),
        sa.UniqueConstraint("agent_id", "number", name=op.f("uq_adapter_versions_agent_id_number")),
    )
    op.create_table(
        "conversations",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=True),
        sa.Column("end_user", sa.String(), nullable=True),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "open",
                "awaiting",
                "matured",
                "expired",
                name="conversationstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "grouped",
            sa.Enum(
                "client",
                "history",
                "new",
                "branch",
                "ambiguous",
                name="grouping",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("head_hash", sa.LargeBinary(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_turn_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("matured_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_conversations_agent_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["conversations.id"], name=op.f("fk_conversations_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
        sa.UniqueConstraint("agent_id", "external_id", name=op.f("uq_conversations_agent_id_external_id")),
    )
    op.create_index("ix_conversations_agent_id_head_hash", "conversations", ["agent_id", "head_hash"], unique=False)
    op.create_index(
        "ix_conversations_matured",
        "conversations",
        ["agent_id", "matured_at"],
        unique=False,
        postgresql_where="state = 'matured'",
    )
    op.create_index(
        "ix_conversations_open", "conversations", ["last_turn_at"], unique=False, postgresql_where="state = 'open'"
    )
    op.create_table(
        "metrics",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "float",
                "boolean",
                "comment",
                "demonstration",
                name="metrickind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column(
            "combine",
            sa.Enum("mean", "sum", "last", "max", name="combine", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("required", sa.Boolean(), nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("dropped", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_metrics_agent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metrics")),
        sa.UniqueConstraint("agent_id", "name", "version", name=op.f("uq_metrics_agent_id_name_version")),
    )
    op.create_table(
        "rollout_events",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("from_id", sa.Uuid(), nullable=True),
        sa.Column("to_id", sa.Uuid(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_rollout_events_agent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout_events")),
    )
    op.create_index("ix_rollout_events_agent_id", "rollout_events", ["agent_id"], unique=False)
    op.create_table(
        "engine_residency",
        sa.Column("engine_url", sa.String(), nullable=False),
        sa.Column("adapter_id", sa.Uuid(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wanted_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["adapter_id"], ["adapter_versions.id"], name=op.f("fk_engine_residency_adapter_id")),
        sa.PrimaryKeyConstraint("engine_url", "adapter_id", name=op.f("pk_engine_residency")),
    )
    op.create_table(
        "episodes",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("adapter_id", sa.Uuid(), nullable=False),
        sa.Column(
            "arm",
            sa.Enum("stable", "pinned", name="arm", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.Column("turn_count", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "ended_by",
            sa.Enum(
                "closed",
                "final",
                "idle",
                "cap",
                "rejected",
                "pinned",
                name="episodeend",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["adapter_id"], ["adapter_versions.id"], name=op.f("fk_episodes_adapter_id")),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_episodes_agent_id")),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name=op.f("fk_episodes_conversation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_episodes")),
        sa.UniqueConstraint("conversation_id", "ordinal", name=op.f("uq_episodes_conversation_id_ordinal")),
    )
    op.create_index(
        "ix_episodes_open_adapter", "episodes", ["adapter_id"], unique=False, postgresql_where="ended_at IS NULL"
    )
    op.create_table(
        "learner_runs",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "running",
                "succeeded",
                "skipped",
                "failed",
                name="runstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_holder", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("configuration", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("watermark", sa.DateTime(timezone=True), nullable=True),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("adapter_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["adapter_id"], ["adapter_versions.id"], name=op.f("fk_learner_runs_adapter_id")),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_learner_runs_agent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_learner_runs")),
    )
    op.create_index("ix_learner_runs_agent_id_created_at", "learner_runs", ["agent_id", "created_at"], unique=False)
    op.create_index(
        "uq_learner_runs_active",
        "learner_runs",
        ["agent_id"],
        unique=True,
        postgresql_where="state IN ('queued', 'running')",
    )
    op.create_table(
        "reward_entries",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("turn_id", sa.Uuid(), nullable=True),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("value", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("supersedes", sa.Uuid(), nullable=True),
        sa.Column("retracts", sa.Uuid(), nullable=True),
        sa.Column("comment", sa.String(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name=op.f("fk_reward_entries_conversation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reward_entries")),
    )
    op.create_index("ix_reward_entries_conversation_id", "reward_entries", ["conversation_id"], unique=False)
    op.create_index(op.f("ix_reward_entries_sequence"), "reward_entries", ["sequence"], unique=False)
    op.create_table(
        "rollouts",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("stable_id", sa.Uuid(), nullable=False),
        sa.Column("previous_id", sa.Uuid(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_rollouts_agent_id")),
        sa.ForeignKeyConstraint(["previous_id"], ["adapter_versions.id"], name=op.f("fk_rollouts_previous_id")),
        sa.ForeignKeyConstraint(["stable_id"], ["adapter_versions.id"], name=op.f("fk_rollouts_stable_id")),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_rollouts")),
    )
    op.create_table(
        "turns",
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("episode_id", sa.Uuid(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("messages", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reply", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("finish_reason", sa.String(), nullable=False),
        sa.Column("usage", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sampling", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "learnable",
            sa.Enum("actor", "critic", "none", name="learnable", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("learnable_reason", sa.String(), nullable=True),
        sa.Column("previous_head", sa.LargeBinary(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("head_hash", sa.LargeBinary(), nullable=False),
        sa.Column("engine_seconds", sa.Double(), nullable=False),
        sa.Column("first_token_seconds", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name=op.f("fk_turns_conversation_id")),
        sa.ForeignKeyConstraint(["episode_id"], ["episodes.id"], name=op.f("fk_turns_episode_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_turns")),
    )
    op.create_index("ix_turns_agent_id_head_hash", "turns", ["agent_id", "head_hash"], unique=False)
    op.create_index("ix_turns_agent_id_previous_head", "turns", ["agent_id", "previous_head"], unique=False)
    op.create_index("ix_turns_conversation_id_index", "turns", ["conversation_id", "index"], unique=False)
    op.create_table(
        "run_turns",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("turn_id", sa.Uuid(), nullable=False),
        sa.Column("reward", sa.Double(), nullable=False),
        sa.Column("trained_actor", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["learner_runs.id"], name=op.f("fk_run_turns_run_id")),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("fk_run_turns_turn_id")),
        sa.PrimaryKeyConstraint("run_id", "turn_id", name=op.f("pk_run_turns")),
    )
    op.create_index("ix_run_turns_turn_id", "run_turns", ["turn_id"], unique=False)
    op.create_table(
        "turn_tokens",
        sa.Column("turn_id", sa.Uuid(), nullable=False),
        sa.Column("prefix_turn_id", sa.Uuid(), nullable=True),
        sa.Column("prefix_length", sa.Integer(), nullable=False),
        sa.Column("prompt_tail", sa.LargeBinary(), nullable=False),
        sa.Column("completion", sa.LargeBinary(), nullable=False),
        sa.Column("logprobs", sa.LargeBinary(), nullable=False),
        sa.Column("checksum", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("fk_turn_tokens_turn_id")),
        sa.PrimaryKeyConstraint("turn_id", name=op.f("pk_turn_tokens")),
    )


def downgrade() -> None:
    op.drop_table("turn_tokens")
    op.drop_index("ix_run_turns_turn_id", table_name="run_turns")
    op.drop_table("run_turns")
    op.drop_index("ix_turns_conversation_id_index", table_name="turns")
    op.drop_index("ix_turns_agent_id_previous_head", table_name="turns")
    op.drop_index("ix_turns_agent_id_head_hash", table_name="turns")
    op.drop_table("turns")
    op.drop_table("rollouts")
    op.drop_index(op.f("ix_reward_entries_sequence"), table_name="reward_entries")
    op.drop_index("ix_reward_entries_conversation_id", table_name="reward_entries")
    op.drop_table("reward_entries")
    op.drop_index(
        "uq_learner_runs_active", table_name="learner_runs", postgresql_where="state IN ('queued', 'running')"
    )
    op.drop_index("ix_learner_runs_agent_id_created_at", table_name="learner_runs")
    op.drop_table("learner_runs")
    op.drop_index("ix_episodes_open_adapter", table_name="episodes", postgresql_where="ended_at IS NULL")
    op.drop_table("episodes")
    op.drop_table("engine_residency")
    op.drop_index("ix_rollout_events_agent_id", table_name="rollout_events")
    op.drop_table("rollout_events")
    op.drop_table("metrics")
    op.drop_index("ix_conversations_open", table_name="conversations", postgresql_where="state = 'open'")
    op.drop_index("ix_conversations_matured", table_name="conversations", postgresql_where="state = 'matured'")
    op.drop_index("ix_conversations_agent_id_head_hash", table_name="conversations")
    op.drop_table("conversations")
    op.drop_table("adapter_versions")
    op.drop_table("leases")
    op.drop_table("idempotency_keys")
    op.drop_table("dead_letters")
    op.drop_table("api_keys")
    op.drop_table("agents")
