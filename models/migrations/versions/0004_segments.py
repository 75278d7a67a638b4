"""Segments that keep themselves: versions, days, who reads what, and when everybody is looked at again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from models.base import APP_ROLE, ENGINE_ROLE, wall

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TENANT_TABLES = ("segment_versions", "segment_days")
HERE = "nullif(current_setting('app.workspace', true), '')::uuid"


def upgrade() -> None:
    op.add_column("segments", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column(
        "segments", sa.Column("reads", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False)
    )
    op.add_column("segments", sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("segments", sa.Column("announce", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("segments", sa.Column("members", sa.BigInteger(), nullable=True))
    op.add_column("segments", sa.Column("took_ms", sa.Integer(), nullable=True))
    op.add_column("segments", sa.Column("problem", sa.Text(), nullable=True))
    op.create_table(
        "segment_versions",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("segment_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rule", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "segment_id"],
            ["segments.workspace_id", "segments.id"],
            name=op.f("fk_segment_versions_workspace_id_segment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "segment_id", "number", name=op.f("pk_segment_versions")),
    )
    op.create_table(
        "segment_days",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("segment_id", sa.UUID(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("entered", sa.Integer(), server_default="0", nullable=False),
        sa.Column("left", sa.Integer(), server_default="0", nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "segment_id"],
            ["segments.workspace_id", "segments.id"],
            name=op.f("fk_segment_days_workspace_id_segment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "segment_id", "day", name=op.f("pk_segment_days")),
    )
    # A look at everybody adds them by the hundred thousand: see docs/decisions/0025.
    for key in ("profile_id", "segment_id"):
        name = f"fk_segment_members_workspace_id_{key}"
        op.drop_constraint(name, "segment_members", type_="foreignkey")
    op.add_column(
        "order_rollups",
        sa.Column("largest", sa.Numeric(precision=20, scale=4), server_default="0", nullable=False),
    )
    op.create_index(
        "ix_orders_when",
        "orders",
        ["workspace_id", "ordered_at"],
        unique=False,
        postgresql_include=["profile_id", "currency", "status"],
    )
    op.create_index(
        "ix_events_did",
        "events",
        ["workspace_id", "name", "occurred_at"],
        unique=False,
        postgresql_include=["profile_id"],
    )
    op.drop_index("ix_events_name", "events")
    for table in TENANT_TABLES:
        for statement in wall(table):
            op.execute(statement)
        op.execute(
            "select pg_restore_attribute_stats('schemaname', current_schema()::text, 'relname', "
            f"'{table}', 'attname', 'workspace_id', 'inherited', false, 'n_distinct', 1::real)"
        )
    _what_is_there()
    _bell()
    _changes()


def _what_is_there() -> None:
    """What these columns and tables say of the rows that exist. Their owner sees none while the wall binds it."""
    for table in ("segments", "segment_versions", "orders", "order_rollups"):
        op.execute(f"alter table {table} no force row level security")
    op.execute("update segments set materialized_at = null")
    op.execute(
        """
        insert into segment_versions (workspace_id, segment_id, number, rule, created_at)
        select workspace_id, id, 1, rule, created_at from segments
        """
    )
    op.execute(
        """
        update order_rollups r set largest = o.largest
        from (
            select workspace_id, profile_id, currency, max(total - refunded) as largest from orders
            where status <> 'cancelled' group by workspace_id, profile_id, currency
        ) o
        where r.workspace_id = o.workspace_id and r.profile_id = o.profile_id and r.currency = o.currency
        """
    )
    for table in ("segments", "segment_versions", "orders", "order_rollups"):
        op.execute(f"alter table {table} force row level security")


def _bell() -> None:
    """Whoever looks at everybody hears of a segment that is to be looked at sooner than it was."""
    op.execute(
        """
        create function ring_for_segments() returns trigger language plpgsql
        set search_path = pg_catalog, public as $$
        begin
            perform pg_notify('campanile_segments', '');
            return null;
        end $$
        """
    )
    op.execute(
        """
        create trigger ring_for_new after insert on segments for each row
        when (new.materialized_at is null or new.due_at is not null)
        execute function ring_for_segments()
        """
    )
    op.execute(
        """
        create trigger ring_for_changed after update of materialized_at, due_at on segments for each row
        when (
            new.materialized_at is null and new.due_at is null
            or new.due_at is not null and (old.due_at is null or new.due_at < old.due_at)
        )
        execute function ring_for_segments()
        """
    )


def _changes() -> None:
    """As before; and `reads` says what was changed, so that nothing is put there that no segment reads.

    Without `reads`, anything may have changed. `hops` counts what caused one another before, and `segment` is
    named where it is a member of that one alone who may be none.
    """
    op.execute("drop function note_changes(uuid[], timestamptz, boolean)")
    op.execute(
        f"""
        create function note_changes(
            people uuid[], at timestamptz, live boolean, reads text[] default null, hops int default 0,
            segment uuid default null
        ) returns void
        language sql security definer set search_path = pg_catalog, public
        begin atomic
            -- Whoever begins to follow a segment waits for those who were told that nobody follows it.
            select pg_advisory_xact_lock_shared(hashtextextended(
                'changes of ' || nullif(current_setting('app.workspace', true), ''), 0
            ));
            insert into inbox (workspace_id, id, received_at, kind, trusted, historical, occurred_at, properties)
            select {HERE}, uuidv7(), at, 'change', true, not live, at, jsonb_strip_nulls(jsonb_build_object(
                'profile_id', person, 'reads', to_jsonb(note_changes.reads), 'hops', nullif(hops, 0),
                'segment_id', segment
            ))
            from unnest(people) person
            where segment is not null or exists (
                select from segments s where s.workspace_id = {HERE} and s.materialized_at is not null
                    and (note_changes.reads is null or s.reads && note_changes.reads)
            ) or (
                note_changes.reads is null
                or exists (select from unnest(note_changes.reads) word where starts_with(word, 'attribute:'))
            ) and exists (select from attributes a where a.workspace_id = {HERE} and a.hot);
        end
        """
    )
    # Aliases are found without their rows, and so is who was erased.
    op.drop_index("ix_profiles_aliases", "profiles")
    op.execute(
        "create index ix_profiles_aliases on profiles (workspace_id, merged_into, id)"
        " where merged_into is not null"
    )
    op.execute("create index ix_profiles_erased on profiles (workspace_id, id) where erased_at is not null")
    # What double precision can't hold is kept as a text from now on.
    op.execute("update attributes set filled_to = '00000000-0000-0000-0000-000000000000' where hot")
    # Nobody else looks at the whole of a partitioned table, and the planner wants to know what is in it.
    op.execute(f"grant maintain on events to {ENGINE_ROLE}")
    signature = "note_changes(uuid[], timestamptz, boolean, text[], int, uuid)"
    op.execute(f"revoke execute on function {signature} from public")
    op.execute(f"grant execute on function {signature} to {APP_ROLE}, {ENGINE_ROLE}")


def downgrade() -> None:
    raise NotImplementedError("What people did can't be taken back: restore the backup from before.")
