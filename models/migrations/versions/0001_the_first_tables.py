"""The first tables, behind the wall.

There is no way back from the first migration but an empty database.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import APP_ROLE, ENGINE_ROLE, wall

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Each with the columns of its key that the planner is told of.
TENANT_TABLES = {
    "cap_counters": ("workspace_id",),
    "leases": ("workspace_id", "id"),
    "workspaces": (),
    "flows": ("workspace_id", "id"),
    "imports": ("workspace_id", "id"),
    "profiles": ("workspace_id", "id"),
    "segments": ("workspace_id", "id"),
    "suppressions": ("workspace_id", "id"),
    "templates": ("workspace_id", "id"),
    "consents": ("workspace_id", "id"),
    "flow_versions": ("workspace_id", "id"),
    "identities": ("workspace_id",),
    "import_chunks": ("workspace_id",),
    "import_keys": ("workspace_id",),
    "messages": ("workspace_id", "id"),
    "queue": ("workspace_id", "message_id"),
    "order_rollups": ("workspace_id",),
    "orders": ("workspace_id", "id"),
    "rejected_rows": ("workspace_id",),
    "template_versions": ("workspace_id", "id"),
    "campaigns": ("workspace_id", "id"),
    "enrollments": ("workspace_id", "id"),
    "agenda": ("workspace_id", "enrollment_id"),
    "message_events": ("workspace_id", "id"),
}


def upgrade() -> None:
    _roles()
    op.execute("create sequence poke_seq")
    op.create_table(
        "cap_counters",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "workspace_id", "profile_id", "channel", "period", "starts_on", name=op.f("pk_cap_counters")
        ),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "leases",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("queue_id", sa.UUID(), nullable=False),
        sa.Column("message_ids", postgresql.ARRAY(sa.UUID()), nullable=False),
        sa.Column("until", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_leases")),
    )
    op.create_index("ix_leases_queue", "leases", ["workspace_id", "queue_id", "until"], unique=False)
    op.create_table(
        "pokes",
        sa.Column("queue_id", sa.UUID(), nullable=False),
        sa.Column("work", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("nextval('poke_seq')"), nullable=False),
        sa.Column(
            "poked_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("work in ('advance', 'send')", name=op.f("ck_pokes_work")),
        sa.PrimaryKeyConstraint("queue_id", "work", name=op.f("pk_pokes")),
    )
    op.create_table(
        "workspaces",
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("currency", sa.Text(), server_default="USD", nullable=False),
        sa.Column("sender_name", sa.Text(), nullable=True),
        sa.Column("sender_email", sa.Text(), nullable=True),
        sa.Column("postal_address", sa.Text(), nullable=True),
        sa.Column("quiet_from", sa.Time(), nullable=True),
        sa.Column("quiet_until", sa.Time(), nullable=True),
        sa.Column("caps", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("unknown_policy", sa.Text(), server_default="leave", nullable=False),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint(
            "unknown_policy in ('leave', 'resend')", name=op.f("ck_workspaces_unknown_policy")
        ),
        sa.CheckConstraint(
            "(quiet_from is null) = (quiet_until is null)", name=op.f("ck_workspaces_quiet_hours")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workspaces")),
    )
    op.create_table(
        "flows",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("definition", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version_id", sa.UUID(), nullable=True),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint("state in ('draft', 'live', 'paused', 'archived')", name=op.f("ck_flows_state")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_flows_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_flows")),
    )
    op.create_table(
        "imports",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="uploaded", nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("position", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("line", sa.Integer(), server_default="0", nullable=False),
        sa.Column("columns", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("rows", sa.Integer(), server_default="0", nullable=False),
        sa.Column("imported", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unchanged", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rejected", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint("kind in ('customers', 'orders')", name=op.f("ck_imports_kind")),
        sa.CheckConstraint(
            "state in ('uploaded', 'running', 'completed', 'failed')", name=op.f("ck_imports_state")
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_imports_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_imports")),
    )
    op.create_table(
        "profiles",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=True),
        sa.Column("merged_into", sa.UUID(), nullable=True),
        sa.Column("erased_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "merged_into"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_profiles_workspace_id_merged_into"),
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_profiles_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_profiles")),
    )
    op.create_index(
        "ix_profiles_aliases",
        "profiles",
        ["workspace_id", "merged_into"],
        unique=False,
        postgresql_where=sa.text("merged_into is not null"),
    )
    op.create_table(
        "segments",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rule", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_segments_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_segments")),
    )
    op.create_table(
        "suppressions",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "reason in ('unsubscribed', 'hard bounce', 'complained', 'manual', 'erased')",
            name=op.f("ck_suppressions_reason"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_suppressions_workspace_id")
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_suppressions")),
    )
    op.create_index(
        "uq_suppressions_current",
        "suppressions",
        ["workspace_id", "channel", "address_hash"],
        unique=True,
        postgresql_where=sa.text("ended_at is null"),
    )
    op.create_table(
        "templates",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_templates_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_templates")),
    )
    op.create_table(
        "consents",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("purpose in ('email', 'tracking')", name=op.f("ck_consents_purpose")),
        sa.CheckConstraint("state in ('granted', 'denied')", name=op.f("ck_consents_state")),
        sa.ForeignKeyConstraint(
            ["workspace_id", "profile_id"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_consents_workspace_id_profile_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_consents")),
    )
    op.create_index(
        "uq_consents_current",
        "consents",
        ["workspace_id", "profile_id", "purpose"],
        unique=True,
        postgresql_where=sa.text("ended_at is null"),
    )
    op.create_table(
        "flow_versions",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("flow_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("definition", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("templates", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "flow_id"],
            ["flows.workspace_id", "flows.id"],
            name=op.f("fk_flow_versions_workspace_id_flow_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_flow_versions")),
        sa.UniqueConstraint(
            "workspace_id", "flow_id", "number", name=op.f("uq_flow_versions_workspace_id_flow_id_number")
        ),
    )
    op.create_table(
        "identities",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("is_primary", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint(
            "kind in ('email', 'phone', 'user_id', 'anonymous_id')", name=op.f("ck_identities_kind")
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "profile_id"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_identities_workspace_id_profile_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "kind", "value", name=op.f("pk_identities")),
    )
    op.create_index("ix_identities_profile", "identities", ["workspace_id", "profile_id"], unique=False)
    op.create_index(
        "uq_identities_primary",
        "identities",
        ["workspace_id", "profile_id", "kind"],
        unique=True,
        postgresql_where=sa.text("is_primary"),
    )
    op.create_table(
        "import_chunks",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("import_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "import_id"],
            ["imports.workspace_id", "imports.id"],
            name=op.f("fk_import_chunks_workspace_id_import_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "import_id", "number", name=op.f("pk_import_chunks")),
    )
    op.create_table(
        "import_keys",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("import_id", sa.UUID(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "import_id"],
            ["imports.workspace_id", "imports.id"],
            name=op.f("fk_import_keys_workspace_id_import_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "import_id", "key", name=op.f("pk_import_keys")),
    )
    op.create_table(
        "queue",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("queue_id", sa.UUID(), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("message_id", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "queue_id", "due_at", "message_id", name=op.f("pk_queue")),
    )
    op.create_table(
        "messages",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("queue_id", sa.UUID(), nullable=False),
        sa.Column("source_id", sa.UUID(), nullable=False),
        sa.Column("occasion", sa.UUID(), nullable=False),
        sa.Column("template_version_id", sa.UUID(), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("visit", sa.Integer(), server_default="0", nullable=False),
        sa.Column("resend", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("source_kind", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=True),
        sa.Column("bare", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("attempt", sa.UUID(), nullable=True),
        sa.Column("claimed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("marked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("reconcile_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("holes", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("tracked", sa.Boolean(), nullable=True),
        sa.Column("fate", sa.Text(), nullable=True),
        sa.Column("opened_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("clicked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(closed_at is null) = (state in ('queued', 'claimed', 'sending'))",
            name=op.f("ck_messages_closed"),
        ),
        sa.CheckConstraint("class in ('marketing', 'transactional', 'test')", name=op.f("ck_messages_class")),
        sa.CheckConstraint(
            "fate in ('deferred', 'soft bounce', 'delivered', 'read', 'failed', 'hard bounce', 'complained')",
            name=op.f("ck_messages_fate"),
        ),
        sa.CheckConstraint(
            "source_kind in ('campaign', 'flow', 'outbox')", name=op.f("ck_messages_source_kind")
        ),
        sa.CheckConstraint(
            "state <> 'skipped' or reason in ('suppressed', 'no consent', 'capped', 'no address', 'template error', 'too late', 'cancelled', 'erased', 'merged')",
            name=op.f("ck_messages_skip"),
        ),
        sa.CheckConstraint(
            "state in ('queued', 'claimed', 'sending', 'accepted', 'failed', 'skipped', 'unknown')",
            name=op.f("ck_messages_state"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "profile_id"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_messages_workspace_id_profile_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_messages")),
        postgresql_with={"fillfactor": "20"},
    )
    op.create_index(
        "ix_messages_reconcile",
        "messages",
        ["reconcile_at"],
        unique=False,
        postgresql_where=sa.text("reconcile_at is not null"),
    )
    op.create_index("ix_messages_source", "messages", ["workspace_id", "source_id", "id"], unique=False)
    op.create_index(
        "uq_messages_bare",
        "messages",
        ["workspace_id", "source_id", "occasion", "bare", "resend"],
        unique=True,
        postgresql_where=sa.text("profile_id is null"),
    )
    op.create_index(
        "uq_messages_decision",
        "messages",
        ["workspace_id", "profile_id", "source_id", "step", "occasion", "visit", "resend"],
        unique=True,
        postgresql_where=sa.text("profile_id is not null"),
    )
    op.create_table(
        "order_rollups",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("total", sa.Numeric(precision=20, scale=4), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "profile_id"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_order_rollups_workspace_id_profile_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "profile_id", "currency", name=op.f("pk_order_rollups")),
    )
    op.create_table(
        "orders",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("ordered_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("total", sa.Numeric(precision=20, scale=4), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "profile_id"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_orders_workspace_id_profile_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_orders")),
        sa.UniqueConstraint("workspace_id", "key", name=op.f("uq_orders_workspace_id_key")),
    )
    op.create_index("ix_orders_profile", "orders", ["workspace_id", "profile_id", "ordered_at"], unique=False)
    op.create_table(
        "rejected_rows",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("import_id", sa.UUID(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("column", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "import_id"],
            ["imports.workspace_id", "imports.id"],
            name=op.f("fk_rejected_rows_workspace_id_import_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "import_id", "line", "column", name=op.f("pk_rejected_rows")),
    )
    op.create_table(
        "template_versions",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("template_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("preheader", sa.Text(), nullable=True),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "template_id"],
            ["templates.workspace_id", "templates.id"],
            name=op.f("fk_template_versions_workspace_id_template_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_template_versions")),
        sa.UniqueConstraint(
            "workspace_id",
            "template_id",
            "number",
            name=op.f("uq_template_versions_workspace_id_template_id_number"),
        ),
    )
    op.create_table(
        "campaigns",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("class", sa.Text(), server_default="marketing", nullable=False),
        sa.Column("segment_id", sa.UUID(), nullable=False),
        sa.Column("template_id", sa.UUID(), nullable=False),
        sa.Column("template_version_id", sa.UUID(), nullable=True),
        sa.Column("rule", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("queued", sa.Integer(), nullable=True),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("frozen_to", sa.UUID(), nullable=True),
        sa.Column("frozen_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint(
            "class in ('marketing', 'transactional', 'test')", name=op.f("ck_campaigns_class")
        ),
        sa.CheckConstraint(
            "state in ('draft', 'scheduled', 'running', 'paused', 'completed', 'cancelled', 'failed')",
            name=op.f("ck_campaigns_state"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "segment_id"],
            ["segments.workspace_id", "segments.id"],
            name=op.f("fk_campaigns_workspace_id_segment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "template_id"],
            ["templates.workspace_id", "templates.id"],
            name=op.f("fk_campaigns_workspace_id_template_id"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "template_version_id"],
            ["template_versions.workspace_id", "template_versions.id"],
            name=op.f("fk_campaigns_workspace_id_template_version_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_campaigns")),
    )
    op.create_table(
        "enrollments",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("flow_id", sa.UUID(), nullable=False),
        sa.Column("version_id", sa.UUID(), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("entered_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("visit", sa.Integer(), server_default="0", nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("waiting_for", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("properties", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("history", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "profile_id"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_enrollments_workspace_id_profile_id"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "version_id"],
            ["flow_versions.workspace_id", "flow_versions.id"],
            name=op.f("fk_enrollments_workspace_id_version_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_enrollments")),
        sa.UniqueConstraint(
            "workspace_id",
            "flow_id",
            "profile_id",
            "entry",
            name=op.f("uq_enrollments_workspace_id_flow_id_profile_id_entry"),
        ),
        postgresql_with={"fillfactor": "20"},
    )
    op.create_table(
        "agenda",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("version_id", sa.UUID(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("enrollment_id", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint(
            "workspace_id", "version_id", "step", "due_at", "enrollment_id", name=op.f("pk_agenda")
        ),
    )
    op.create_table(
        "message_events",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("message_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("link", sa.Integer(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind in ('opened', 'clicked', 'unsubscribed')", name=op.f("ck_message_events_kind")
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "message_id"],
            ["messages.workspace_id", "messages.id"],
            name=op.f("fk_message_events_workspace_id_message_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_message_events")),
    )
    op.create_index(
        "ix_message_events_message", "message_events", ["workspace_id", "message_id", "kind"], unique=False
    )
    _first_workspace()
    _walls()
    _pokes()
    _statistics()


def _roles() -> None:
    """The roles are the cluster's, so another database may have made them already.

    They have no password here; the embedded stack and the deployment give them one.
    """
    for role in (APP_ROLE, ENGINE_ROLE):
        op.execute(
            f"do $$ begin create role {role} login; "
            "exception when duplicate_object or unique_violation then null; end $$"
        )
        op.execute(f"grant usage on schema public to {role}")


def _walls() -> None:
    for table in TENANT_TABLES:
        for statement in wall(table):
            op.execute(statement)
    op.execute(f"grant select, insert, update, delete on pokes to {ENGINE_ROLE}")


def _pokes() -> None:
    """The application's role may ring for queues of its own workspace and answer, and touch no other poke."""
    op.execute(f"grant usage on sequence poke_seq to {ENGINE_ROLE}")
    here = "nullif(current_setting('app.workspace', true), '')::uuid"
    op.execute(
        f"""
        create function poke(queue uuid, work text) returns bigint language sql security definer
        set search_path = pg_catalog, public
        begin atomic
            insert into pokes (queue_id, work, workspace_id)
            select queue, poke.work, {here}
            where queue = {here}
                or exists (select from flows f where f.workspace_id = {here} and f.id = queue)
            on conflict (queue_id, work) do update set seq = nextval('poke_seq')
            returning seq;
        end
        """
    )
    op.execute(
        f"""
        create function take_poke(queue uuid, work text) returns void language sql security definer
        set search_path = pg_catalog, public
        begin atomic
            delete from pokes p
            where p.queue_id = queue and p.work = take_poke.work and p.workspace_id = {here};
        end
        """
    )
    for function in ("poke", "take_poke"):
        op.execute(f"revoke execute on function {function} from public")
        op.execute(f"grant execute on function {function} to {APP_ROLE}, {ENGINE_ROLE}")


def _statistics() -> None:
    """Tell the planner what it can't know of an empty table: ids tell rows apart, a workspace does not.

    Otherwise a young installation walks a whole workspace for each batch of keys, until the first ANALYZE
    of a table that has rows.
    """
    for table, columns in TENANT_TABLES.items():
        for column in columns:
            distinct = 1 if column == "workspace_id" else -1
            op.execute(
                "select pg_restore_attribute_stats('schemaname', current_schema()::text, 'relname', "
                f"'{table}', 'attname', '{column}', 'inherited', false, 'n_distinct', {distinct}::real)"
            )


def _first_workspace() -> None:
    op.execute(f"insert into workspaces (id, name) values ('{DEFAULT_WORKSPACE}', 'Campanile')")
