"""Good sending: domains with their keys, senders that must be verified, tracking under a name of one's own.

Who sends already goes on: the address that a workspace uses today counts as verified.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from models.base import wall

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

AUDITED = {"domains": "domain", "senders": "sender"}


def upgrade() -> None:
    op.create_table(
        "domains",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("dkim_selector", sa.Text(), nullable=False),
        sa.Column("dkim_record", sa.Text(), nullable=False),
        sa.Column("dkim_key", sa.Text(), nullable=False),
        sa.Column("verified_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("return_path_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("checked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("findings", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_domains_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_domains")),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_domains_workspace_id_name")),
    )
    op.create_table(
        "senders",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("reply_to", sa.Text(), nullable=True),
        sa.Column("domain_id", sa.UUID(), nullable=True),
        sa.Column("verified_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("verify_token_hash", sa.LargeBinary(), nullable=True),
        sa.Column("verify_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_senders_workspace_id")),
        sa.ForeignKeyConstraint(
            ["workspace_id", "domain_id"],
            ["domains.workspace_id", "domains.id"],
            name=op.f("fk_senders_workspace_id_domain_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_senders")),
        sa.UniqueConstraint("workspace_id", "email", name=op.f("uq_senders_workspace_id_email")),
    )
    op.add_column("workspaces", sa.Column("sending_email", sa.Text(), nullable=True))
    op.add_column("workspaces", sa.Column("tracking_host", sa.Text(), nullable=True))
    op.execute(
        "insert into senders (workspace_id, email, verified_at) "
        "select id, sender_email, now() from workspaces where sender_email is not null"
    )
    op.execute("update workspaces set sending_email = sender_email where sender_email is not null")
    for table in AUDITED:
        for statement in wall(table):
            op.execute(statement)
    _audit()


def _audit() -> None:
    """The log holds neither keys nor hashes of links, whichever release made its function."""
    op.execute(
        """
        do $$
        declare
            said text := pg_get_functiondef('audit()'::regprocedure);
        begin
            if said not like '%''dkim_key''%' then
                execute replace(
                    said, '''client_secret''', '''client_secret'', ''dkim_key'', ''verify_token_hash'''
                );
            end if;
        end $$
        """
    )
    for table, kind in AUDITED.items():
        op.execute(
            f"create trigger audit after insert or update or delete on {table} "
            f"for each row execute function audit('{kind}')"
        )


def downgrade() -> None:
    raise NotImplementedError("Keys that were published can't be taken back: restore the backup from before.")
