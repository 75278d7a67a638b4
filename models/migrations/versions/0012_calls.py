"""Calls: steps of flows that ask somebody else's program, and go on by what it answers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from models.base import wall

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "calls",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("flow_id", sa.UUID(), nullable=False),
        sa.Column("version_id", sa.UUID(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.UUID(), nullable=False),
        sa.Column("delivery_id", sa.UUID(), nullable=True),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), server_default="0", nullable=False),
        sa.Column("deadline", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("ends_at", TIME, nullable=False),
        sa.Column("closed_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id", "flow_id"],
            ["flows.workspace_id", "flows.id"],
            name=op.f("fk_calls_workspace_id_flow_id"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "version_id"],
            ["flow_versions.workspace_id", "flow_versions.id"],
            name=op.f("fk_calls_workspace_id_version_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_calls")),
    )
    op.create_index("ix_calls_ends_at", "calls", ["ends_at"])
    op.create_table(
        "call_members",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("call_id", sa.UUID(), nullable=False),
        sa.Column("enrollment_id", sa.UUID(), nullable=False),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("answered_at", TIME, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("outcome in ('done', 'failed')", name=op.f("ck_call_members_outcome")),
        sa.CheckConstraint(
            "(answered_at is null) = (outcome is null)", name=op.f("ck_call_members_answered")
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "call_id"],
            ["calls.workspace_id", "calls.id"],
            name=op.f("fk_call_members_workspace_id_call_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "call_id", "enrollment_id", name=op.f("pk_call_members")),
    )
    op.create_index(
        "ix_call_members_enrollment_id", "call_members", ["workspace_id", "enrollment_id", "visit"]
    )
    for table in ("calls", "call_members"):
        for statement in wall(table):
            op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("What was called can't be taken back: restore the backup from before.")
