"""Scheduled campaigns: when one starts, by whom, and the alarms that Temporal is told of."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from models.base import wall

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.add_column("campaigns", sa.Column("scheduled_at", TIME, nullable=True))
    op.add_column("campaigns", sa.Column("schedule_time_zone", sa.Text(), nullable=True))
    op.add_column("campaigns", sa.Column("schedule_note", sa.Text(), nullable=True))
    op.add_column("campaigns", sa.Column("starter", sa.Text(), nullable=True))
    op.create_check_constraint(op.f("ck_campaigns_starter"), "campaigns", "starter in ('campanile', 'n8n')")
    op.create_check_constraint(
        op.f("ck_campaigns_scheduled"),
        "campaigns",
        "(scheduled_at is null) = (starter is null) and (starter is null) = (schedule_time_zone is null) "
        "and (state <> 'scheduled' or scheduled_at is not null)",
    )
    op.create_index(
        "ix_campaigns_scheduled_at",
        "campaigns",
        ["workspace_id", "scheduled_at"],
        postgresql_where=sa.text("scheduled_at is not null"),
    )
    op.create_table(
        "alarms",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("campaign_id", sa.UUID(), nullable=False),
        sa.Column("rings_at", TIME, nullable=True),
        sa.Column("set_for", TIME, nullable=True),
        sa.PrimaryKeyConstraint("workspace_id", "campaign_id", name=op.f("pk_alarms")),
    )
    op.create_index("ix_alarms_rings_at", "alarms", ["rings_at"])
    op.create_index(
        "ix_alarms_out_of_step",
        "alarms",
        ["campaign_id"],
        postgresql_where=sa.text("rings_at is null or set_for is null or rings_at <> set_for"),
    )
    for statement in wall("alarms"):
        op.execute(statement)
    _triggers()


def _triggers() -> None:
    """Whoever changes a campaign sets its alarm in the same transaction, and the poker hears of it."""
    op.execute(
        """
        create function set_alarm() returns trigger language plpgsql
        set search_path = pg_catalog, public as $$
        declare
            rang timestamptz;
            rings timestamptz;
            campaign campaigns := coalesce(new, old);
        begin
            if tg_op <> 'INSERT' and old.state = 'scheduled' and old.starter = 'campanile' then
                rang := old.scheduled_at;
            end if;
            if tg_op <> 'DELETE' and new.state = 'scheduled' and new.starter = 'campanile' then
                rings := new.scheduled_at;
            end if;
            if rings is distinct from rang then
                insert into alarms (workspace_id, campaign_id, rings_at)
                values (campaign.workspace_id, campaign.id, rings)
                on conflict (workspace_id, campaign_id) do update set rings_at = excluded.rings_at;
                perform pg_notify('campanile', '');
            end if;
            return null;
        end $$
        """
    )
    op.execute(
        """
        create trigger alarm after insert or delete or update of state, scheduled_at, starter on campaigns
        for each row execute function set_alarm()
        """
    )


def downgrade() -> None:
    raise NotImplementedError("What was planned can't be forgotten: restore the backup from before.")
