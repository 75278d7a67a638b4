"""Failures, the alerts that tell of them, and messages that are sent again by one provider."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from models.base import wall

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "failure_logs",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("occasion", sa.Text(), server_default="", nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.Column("source_kind", sa.Text(), nullable=True),
        sa.Column("source_id", sa.UUID(), nullable=True),
        sa.Column("provider_id", sa.UUID(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("origin", sa.Text(), server_default="campanile", nullable=False),
        sa.Column("quiet", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("alert_id", sa.UUID(), nullable=True),
        sa.Column("acknowledged_at", TIME, nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("retried_at", TIME, nullable=True),
        sa.Column("retried_as", sa.UUID(), nullable=True),
        sa.CheckConstraint(
            "subject in ('message', 'slice', 'workflow', 'provider', 'webhook', 'import', 'outside')",
            name=op.f("ck_failure_logs_subject"),
        ),
        sa.CheckConstraint(
            "category in ('address', 'content', 'configuration', 'provider', 'limit', 'ours')",
            name=op.f("ck_failure_logs_category"),
        ),
        sa.CheckConstraint("origin in ('campanile', 'api')", name=op.f("ck_failure_logs_origin")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_failure_logs_workspace_id")
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_failure_logs")),
        postgresql_with={"fillfactor": "80"},
    )
    for name, columns, unique, where in (
        ("uq_failure_logs_subject", ["workspace_id", "subject", "subject_id", "occasion"], True, None),
        ("ix_failure_logs_untold", ["workspace_id", "id"], False, "alert_id is null and not quiet"),
        ("ix_failure_logs_alert", ["workspace_id", "alert_id", "id"], False, None),
        ("ix_failure_logs_source", ["workspace_id", "source_id", "id"], False, None),
        ("ix_failure_logs_open", ["workspace_id", "id"], False, "acknowledged_at is null"),
        ("ix_failure_logs_at", ["at"], False, None),
    ):
        op.create_index(
            name, "failure_logs", columns, unique=unique, postgresql_where=sa.text(where) if where else None
        )
    op.create_table(
        "alerts",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("source_kind", sa.Text(), nullable=True),
        sa.Column("source_id", sa.UUID(), nullable=True),
        sa.Column("provider_id", sa.UUID(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("untold", sa.Integer(), server_default="0", nullable=False),
        sa.Column("digests", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_at", TIME, nullable=False),
        sa.Column("last_at", TIME, nullable=False),
        sa.Column("told_at", TIME, nullable=True),
        sa.Column("next_at", TIME, nullable=False),
        sa.Column("closed_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_alerts_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_alerts")),
        postgresql_with={"fillfactor": "50"},
    )
    is_open = sa.text("closed_at is null")
    op.create_index(
        "uq_alerts_open", "alerts", ["workspace_id", "kind"], unique=True, postgresql_where=is_open
    )
    op.create_index("ix_alerts_next_at", "alerts", ["next_at"], postgresql_where=is_open)
    op.create_index("ix_alerts_last_at", "alerts", ["last_at"])
    for table in ("failure_logs", "alerts"):
        for statement in wall(table):
            op.execute(statement)
    op.add_column("messages", sa.Column("only_by", sa.UUID(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("What failed would be forgotten: restore the backup from before.")
