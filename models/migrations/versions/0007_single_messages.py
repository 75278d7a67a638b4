"""Single messages: their files, their stories, and a queue in which they wait for nobody."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from models.base import wall

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TENANT_TABLES = ("attachments", "message_notes")


def upgrade() -> None:
    op.create_table(
        "attachments",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("message_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "message_id"],
            ["messages.workspace_id", "messages.id"],
            name=op.f("fk_attachments_workspace_id_message_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_attachments")),
    )
    op.create_index("ix_attachments_message", "attachments", ["workspace_id", "message_id", "id"])
    op.create_index("ix_attachments_created_at", "attachments", ["created_at"])
    op.create_table(
        "message_notes",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("message_id", sa.UUID(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "message_id"],
            ["messages.workspace_id", "messages.id"],
            name=op.f("fk_message_notes_workspace_id_message_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_message_notes")),
    )
    op.create_index("ix_message_notes_message", "message_notes", ["workspace_id", "message_id", "id"])
    # What is packed already is not packed again.
    op.execute("alter table attachments alter column content set storage external")
    op.create_index(
        "uq_templates_hidden",
        "templates",
        ["workspace_id", "channel"],
        unique=True,
        postgresql_where=sa.text("hidden"),
    )
    for table in TENANT_TABLES:
        for statement in wall(table):
            op.execute(statement)
    _pokes()


def _pokes() -> None:
    """A workspace rings for both queues of its outbox."""
    here = "(select nullif(current_setting('app.workspace', true), '')::uuid)"
    op.execute(
        f"""
        create or replace function poke(queue uuid, work text) returns bigint language sql security definer
        set search_path = pg_catalog, public
        begin atomic
            insert into pokes (queue_id, work, workspace_id)
            select queue, poke.work, {here}
            where queue = {here} or queue = md5({here} || ' express')::uuid
                or exists (select from flows f where f.workspace_id = {here} and f.id = queue)
            on conflict (queue_id, work) do update set seq = nextval('poke_seq')
            returning seq;
        end
        """
    )


def downgrade() -> None:
    raise NotImplementedError("What was sent can't be taken back: restore the backup from before.")
