"""Single messages are found by the address that was asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_messages_bare",
        "messages",
        ["workspace_id", "bare", "id"],
        postgresql_where=sa.text("profile_id is null"),
    )


def downgrade() -> None:
    op.drop_index("ix_messages_bare", "messages")
