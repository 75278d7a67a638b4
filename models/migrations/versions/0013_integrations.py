"""Integrations: where another program is that works with a workspace."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from models.base import wall

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "integrations",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("credentials", sa.Text(), nullable=True),
        sa.Column("key_id", sa.UUID(), nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind in ('n8n')", name=op.f("ck_integrations_kind")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_integrations_workspace_id")
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "key_id"],
            ["keys.workspace_id", "keys.id"],
            name=op.f("fk_integrations_workspace_id_key_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_integrations")),
        sa.UniqueConstraint("workspace_id", "kind", name=op.f("uq_integrations_workspace_id_kind")),
    )
    for statement in wall("integrations"):
        op.execute(statement)
    op.execute(
        "create trigger audit after insert or update or delete on integrations "
        "for each row execute function audit('integration')"
    )


def downgrade() -> None:
    raise NotImplementedError("Integrations would be lost: restore the backup from before.")
