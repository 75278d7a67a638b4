"""Reports: webhooks, what is known of them, soft bounces, rates, and holds."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from models.base import ENGINE_ROLE, wall

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TENANT_TABLES = (
    "reported",
    "early_reports",
    "soft_bounces",
    "last_words",
    "deliveries",
    "holds",
    "hook_days",
)
WHEN = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "hooks",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("provider_id", sa.UUID(), nullable=False),
        sa.Column("received_at", WHEN, nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_hooks")),
    )
    op.create_table(
        "reported",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "key", name=op.f("pk_reported")),
    )
    op.create_index("ix_reported_at", "reported", ["at"], unique=False, postgresql_using="brin")
    op.create_table(
        "early_reports",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("since", WHEN, nullable=False),
        sa.Column("due_at", WHEN, nullable=False),
        sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_early_reports")),
    )
    op.create_index("ix_early_reports_due", "early_reports", ["due_at"], unique=False)
    op.create_table(
        "soft_bounces",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("message_id", sa.UUID(), nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.PrimaryKeyConstraint(
            "workspace_id", "channel", "address_hash", "message_id", name=op.f("pk_soft_bounces")
        ),
    )
    op.create_index("ix_soft_bounces_at", "soft_bounces", ["at"], unique=False, postgresql_using="brin")
    op.create_table(
        "last_words",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "about", "address_hash", name=op.f("pk_last_words")),
    )
    op.create_index("ix_last_words_at", "last_words", ["at"], unique=False, postgresql_using="brin")
    op.create_table(
        "deliveries",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        *_counts("delivered", "hard", "soft", "complained", "failed"),
        sa.PrimaryKeyConstraint("workspace_id", "channel", "day", name=op.f("pk_deliveries")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "holds",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("alerted_at", WHEN, nullable=True),
        sa.Column("released_at", WHEN, nullable=True),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("judged_from", sa.Date(), nullable=True),
        sa.Column("judged", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint(
            "channel in ('email', 'sms', 'whatsapp', 'push', 'webhook')", name=op.f("ck_holds_channel")
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_holds_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_holds")),
    )
    op.create_index(
        "uq_holds_open",
        "holds",
        ["workspace_id", "channel"],
        unique=True,
        postgresql_where=sa.text("released_at is null"),
    )
    op.create_index(
        "ix_holds_silent", "holds", ["at"], unique=False, postgresql_where=sa.text("alerted_at is null")
    )
    op.create_table(
        "hook_days",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("provider_id", sa.UUID(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        *_counts("reports", "repeated", "stray", "unread", "refused"),
        sa.PrimaryKeyConstraint("workspace_id", "provider_id", "day", name=op.f("pk_hook_days")),
        postgresql_with={"fillfactor": "50"},
    )
    op.add_column(
        "message_events",
        sa.Column("machine", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    for name, default in {"soft_bounce_limit": "5", "soft_bounce_days": "14"}.items():
        op.add_column(
            "workspaces", sa.Column(name, sa.Integer(), server_default=sa.text(default), nullable=False)
        )
    op.add_column("workspaces", sa.Column("sms_help", sa.Text(), nullable=True))
    op.create_check_constraint(
        "soft_bounces",
        "workspaces",
        "soft_bounce_limit between 1 and 100 and soft_bounce_days between 1 and 90",
    )
    for table in TENANT_TABLES:
        for statement in wall(table):
            op.execute(statement)
    op.execute(f"grant select, insert, update, delete on hooks to {ENGINE_ROLE}")
    op.execute(
        "create trigger audit after insert or update or delete on holds "
        "for each row execute function audit('hold')"
    )
    _bell()


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False) for name in names]


def _bell() -> None:
    """Whoever waits for webhooks hears of them with their commit, once however many they are."""
    op.execute(
        """
        create function ring_for_hooks() returns trigger language plpgsql
        set search_path = pg_catalog, public as $$
        begin
            perform pg_notify('campanile_hooks', '');
            return null;
        end $$
        """
    )
    op.execute(
        "create trigger ring after insert on hooks for each statement execute function ring_for_hooks()"
    )


def downgrade() -> None:
    raise NotImplementedError("What providers reported can't be taken back: restore the backup from before.")
