"""Webhooks: where a workspace wants to be told of what, and what is on its way there."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from models.base import wall

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("event_types", postgresql.ARRAY(sa.TEXT()), nullable=False),
        sa.Column("state", sa.Text(), server_default="enabled", nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("disabled_at", TIME, nullable=True),
        sa.Column("alerted_at", TIME, nullable=True),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("old_secret", sa.Text(), nullable=True),
        sa.Column("old_secret_until", TIME, nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failing_since", TIME, nullable=True),
        sa.Column("rests_until", TIME, nullable=True),
        sa.Column("rests", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state in ('enabled', 'disabled')", name=op.f("ck_webhooks_state")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_webhooks_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_webhooks")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("webhook_id", sa.UUID(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("about", sa.UUID(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("replayed_at", TIME, nullable=True),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempt", sa.UUID(), nullable=True),
        sa.Column("leased_until", TIME, nullable=True),
        sa.Column("closed_at", TIME, nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("tries", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.CheckConstraint(
            "state in ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_state")
        ),
        sa.CheckConstraint(
            "(closed_at is null) = (state = 'pending')", name=op.f("ck_webhook_deliveries_closed")
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "webhook_id"],
            ["webhooks.workspace_id", "webhooks.id"],
            name=op.f("fk_webhook_deliveries_workspace_id_webhook_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_webhook_deliveries")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "ix_webhook_deliveries_pending",
        "webhook_deliveries",
        ["workspace_id", "webhook_id", "due_at", "id"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    log = ["workspace_id", "webhook_id", "created_at", "id"]
    op.create_index("ix_webhook_deliveries_log", "webhook_deliveries", log)
    op.create_index(
        "ix_webhook_deliveries_failed",
        "webhook_deliveries",
        log,
        postgresql_where=sa.text("state = 'failed'"),
    )
    op.create_index(
        "ix_webhook_deliveries_created_at", "webhook_deliveries", ["created_at"], postgresql_using="brin"
    )
    op.create_index(
        "ix_webhook_deliveries_about",
        "webhook_deliveries",
        ["workspace_id", "about"],
        postgresql_where=sa.text("about is not null"),
    )
    for table in ("webhooks", "webhook_deliveries"):
        for statement in wall(table):
            op.execute(statement)
    _audit()
    _pokes()


def _audit() -> None:
    """The log holds no secrets of webhooks, nor how each of them is doing."""
    op.execute(
        """
        do $$
        declare
            said text := pg_get_functiondef('audit()'::regprocedure);
        begin
            if said not like '%''old_secret''%' then
                execute replace(
                    said, '''client_secret''', '''client_secret'', ''secret'', ''old_secret'''
                );
            end if;
        end $$
        """
    )
    op.execute(
        "create trigger audit after insert or update or delete on webhooks "
        "for each row execute function audit('webhook')"
    )


def _pokes() -> None:
    """A workspace rings for its announcements, too."""
    op.drop_constraint(op.f("ck_pokes_work"), "pokes")
    op.create_check_constraint(op.f("ck_pokes_work"), "pokes", "work in ('advance', 'send', 'deliver')")
    here = "(select nullif(current_setting('app.workspace', true), '')::uuid)"
    op.execute(
        f"""
        create or replace function poke(queue uuid, work text) returns bigint language sql security definer
        set search_path = pg_catalog, public
        begin atomic
            insert into pokes (queue_id, work, workspace_id)
            select queue, poke.work, {here}
            where queue = {here}
                or queue in (md5({here} || ' express')::uuid, md5({here} || ' announcements')::uuid)
                or exists (select from flows f where f.workspace_id = {here} and f.id = queue)
            on conflict (queue_id, work) do update set seq = nextval('poke_seq')
            returning seq;
        end
        """
    )


def downgrade() -> None:
    raise NotImplementedError("What was told can't be taken back: restore the backup from before.")
