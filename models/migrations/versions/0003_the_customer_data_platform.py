"""What a site, a shop or a server tells us: the inbox, events, catalogues, lists, topics, and who is where."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from models.base import APP_ROLE, ENGINE_ROLE, ENGINE_TABLES, wall

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# With the columns of which the planner is told that they tell rows apart.
TENANT_TABLES: dict[str, tuple[str, ...]] = {
    "events": ("workspace_id", "id", "profile_id"),
    "seen": ("workspace_id", "message_id"),
    "quarantine": ("workspace_id", "id"),
    "refusals": ("workspace_id", "id"),
    "event_names": ("workspace_id", "name"),
    "attributes": ("workspace_id", "name"),
    "profile_values": ("workspace_id", "profile_id"),
    "profile_tags": ("workspace_id", "profile_id"),
    "profile_notes": ("workspace_id", "profile_id"),
    "lists": ("workspace_id", "id"),
    "list_members": ("workspace_id", "profile_id"),
    "topics": ("workspace_id", "id"),
    "topic_consents": ("workspace_id", "profile_id"),
    "segment_members": ("workspace_id", "profile_id"),
}
AUDITED = {"lists": "list", "topics": "topic"}
PURPOSES = "'email', 'sms', 'whatsapp', 'push', 'tracking'"


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("historical", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("hops", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cause", sa.UUID(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("properties", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("context", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("workspace_id", "id", "received_at", name=op.f("pk_events")),
        postgresql_partition_by="RANGE (received_at)",
    )
    op.create_index("ix_events_name", "events", ["workspace_id", "name", "received_at"], unique=False)
    op.create_index(
        "ix_events_profile", "events", ["workspace_id", "profile_id", "occurred_at"], unique=False
    )
    op.create_table(
        "inbox",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("trusted", sa.Boolean(), nullable=False),
        sa.Column("historical", sa.Boolean(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("anonymous_id", sa.Text(), nullable=True),
        sa.Column("properties", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("context", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("consents", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_inbox")),
    )
    op.create_table(
        "seen",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "message_id", name=op.f("pk_seen")),
    )
    op.create_index("ix_seen_at", "seen", ["at"], unique=False, postgresql_using="brin")
    op.create_table(
        "attributes",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("values", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("conflicts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("first_seen_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("server_only", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("hot", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("filled_to", sa.UUID(), nullable=True),
        sa.CheckConstraint(
            "type in ('string', 'number', 'boolean', 'date', 'list', 'object')",
            name=op.f("ck_attributes_type"),
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_attributes_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "name", name=op.f("pk_attributes")),
    )
    op.create_table(
        "event_names",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("volume", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("first_seen_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("properties", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("server_only", sa.Boolean(), server_default="false", nullable=False),
        sa.CheckConstraint(
            "kind in ('track', 'page', 'screen', 'group', 'identify', 'alias', 'order', 'order change', 'change', 'system')",
            name=op.f("ck_event_names_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_event_names_workspace_id")
        ),
        sa.PrimaryKeyConstraint("workspace_id", "name", name=op.f("pk_event_names")),
    )
    op.create_table(
        "lists",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("opt_in", sa.Text(), server_default="double", nullable=False),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint("opt_in in ('single', 'double')", name=op.f("ck_lists_opt_in")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_lists_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_lists")),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_lists_workspace_id_name")),
    )
    op.create_table(
        "quarantine",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("arrival", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("replayed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_quarantine_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "refusals",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("pointer", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.CheckConstraint("stage in ('request', 'name', 'field')", name=op.f("ck_refusals_stage")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_refusals_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_refusals")),
    )
    op.create_index("ix_refusals_at", "refusals", ["at"], unique=False, postgresql_using="brin")
    op.create_table(
        "topics",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint(
            "purpose in ('email', 'sms', 'whatsapp', 'push', 'tracking')", name=op.f("ck_topics_purpose")
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_topics_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_topics")),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_topics_workspace_id_name")),
    )
    op.create_table(
        "list_members",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("list_id", sa.UUID(), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("state in ('pending', 'member', 'left')", name=op.f("ck_list_members_state")),
        sa.ForeignKeyConstraint(
            ["workspace_id", "list_id"],
            ["lists.workspace_id", "lists.id"],
            name=op.f("fk_list_members_workspace_id_list_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "profile_id"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_list_members_workspace_id_profile_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "list_id", "profile_id", name=op.f("pk_list_members")),
    )
    op.create_index("ix_list_members_profile", "list_members", ["workspace_id", "profile_id"], unique=False)
    op.create_table(
        "profile_notes",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "profile_id"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_profile_notes_workspace_id_profile_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_profile_notes")),
    )
    op.create_index("ix_profile_notes_profile", "profile_notes", ["workspace_id", "profile_id"], unique=False)
    op.create_table(
        "profile_tags",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "profile_id"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_profile_tags_workspace_id_profile_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "profile_id", "tag", name=op.f("pk_profile_tags")),
    )
    op.create_index(
        "ix_profile_tags_tag", "profile_tags", ["workspace_id", "tag", "profile_id"], unique=False
    )
    op.create_table(
        "profile_values",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("attribute", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(collation="C"), nullable=True),
        sa.Column("number", sa.Double(), nullable=True),
        sa.Column("time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id", "profile_id"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_profile_values_workspace_id_profile_id"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "profile_id", "attribute", name=op.f("pk_profile_values")),
    )
    op.create_index(
        "ix_profile_values_number",
        "profile_values",
        ["workspace_id", "attribute", "number", "profile_id"],
        unique=False,
        postgresql_where=sa.text("number is not null"),
    )
    op.create_index(
        "ix_profile_values_text",
        "profile_values",
        ["workspace_id", "attribute", "text", "profile_id"],
        unique=False,
        postgresql_where=sa.text("text is not null"),
    )
    op.create_index(
        "ix_profile_values_time",
        "profile_values",
        ["workspace_id", "attribute", "time", "profile_id"],
        unique=False,
        postgresql_where=sa.text("time is not null"),
    )
    op.create_table(
        "segment_members",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("segment_id", sa.UUID(), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("entered_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "profile_id"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_segment_members_workspace_id_profile_id"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "segment_id"],
            ["segments.workspace_id", "segments.id"],
            name=op.f("fk_segment_members_workspace_id_segment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "segment_id", "profile_id", name=op.f("pk_segment_members")),
    )
    op.create_index(
        "ix_segment_members_profile", "segment_members", ["workspace_id", "profile_id"], unique=False
    )
    op.create_table(
        "topic_consents",
        sa.Column("workspace_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("profile_id", sa.UUID(), nullable=False),
        sa.Column("topic_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("state in ('granted', 'denied')", name=op.f("ck_topic_consents_state")),
        sa.ForeignKeyConstraint(
            ["workspace_id", "profile_id"],
            ["profiles.workspace_id", "profiles.id"],
            name=op.f("fk_topic_consents_workspace_id_profile_id"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id", "topic_id"],
            ["topics.workspace_id", "topics.id"],
            name=op.f("fk_topic_consents_workspace_id_topic_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name=op.f("pk_topic_consents")),
    )
    op.create_index(
        "uq_topic_consents_current",
        "topic_consents",
        ["workspace_id", "profile_id", "topic_id"],
        unique=True,
        postgresql_where=sa.text("ended_at is null"),
    )
    # Beside the indexes of what holds now: of what held before, somebody's history is read.
    for table in ("consents", "topic_consents"):
        op.create_index(
            f"ix_{table}_ended",
            table,
            ["workspace_id", "profile_id"],
            unique=False,
            postgresql_where=sa.text("ended_at is not null"),
        )
    op.add_column("imports", sa.Column("format", sa.Text(), server_default="csv", nullable=False))
    op.add_column("imports", sa.Column("mapping", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("imports", sa.Column("dry_run", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("imports", sa.Column("list_id", sa.UUID(), nullable=True))
    op.add_column("orders", sa.Column("status", sa.Text(), server_default="placed", nullable=False))
    op.add_column(
        "orders", sa.Column("refunded", sa.Numeric(precision=20, scale=4), server_default="0", nullable=False)
    )
    op.add_column("orders", sa.Column("lines", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("orders", sa.Column("changed_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("profiles", sa.Column("attributes_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("profiles", sa.Column("locale", sa.Text(), nullable=True))
    op.add_column("profiles", sa.Column("country", sa.Text(), nullable=True))
    op.add_column("profiles", sa.Column("owner_id", sa.UUID(), nullable=True))
    op.create_index(
        "ix_profiles_owner",
        "profiles",
        ["workspace_id", "owner_id", "id"],
        unique=False,
        postgresql_where=sa.text("owner_id is not null"),
    )
    # Names are searched by how they begin: by code points that is a range of the primary key.
    op.alter_column("identities", "value", type_=sa.Text(collation="C"), existing_nullable=False)
    op.add_column(
        "segments", sa.Column("materialized_at", postgresql.TIMESTAMP(timezone=True), nullable=True)
    )
    _words()
    for table, kind in AUDITED.items():
        op.execute(
            f"create trigger audit after insert or update or delete on {table} "
            f"for each row execute function audit('{kind}')"
        )
    _walls()
    _months()
    _bell()
    _changes()
    _statistics()


def _words() -> None:
    op.execute("alter table order_rollups alter column total type numeric(30, 4)")
    op.execute(
        "alter table orders add constraint ck_orders_status "
        "check (status in ('placed', 'refunded', 'cancelled'))"
    )
    op.execute(
        "alter table consents drop constraint ck_consents_purpose, "
        f"add constraint ck_consents_purpose check (purpose in ({PURPOSES}))"
    )


def _walls() -> None:
    for table in TENANT_TABLES:
        for statement in wall(table):
            op.execute(statement)
    op.execute(f"grant select, insert, update, delete on inbox to {ENGINE_ROLE}")
    # The pump materialises segments as the engine. A database that began with this version has it so already.
    assert "segments" in ENGINE_TABLES
    op.execute("drop policy if exists engine on segments")
    op.execute(f"create policy engine on segments to {ENGINE_ROLE} using (true) with check (true)")


def _months() -> None:
    """Partitions are made and dropped by the engine, which owns nothing: so by functions of the owner's.

    What comes in outside of all months, by a clock that is wrong, is kept in a partition of its own.
    """
    op.execute("create table events_beyond partition of events default")
    op.execute(
        """
        create function make_event_months(since timestamptz, months int) returns int language plpgsql
        security definer set search_path = pg_catalog, public as $$
        declare
            made int := 0;
            month timestamp := date_trunc('month', since at time zone 'UTC');
            name text;
        begin
            for i in 0 .. months loop
                name := 'events_' || to_char(month, 'YYYY_MM');
                if to_regclass('public.' || name) is null then
                    execute format(
                        'create table public.%I partition of public.events for values from (%L) to (%L)',
                        name, month at time zone 'UTC', (month + interval '1 month') at time zone 'UTC'
                    );
                    made := made + 1;
                end if;
                month := month + interval '1 month';
            end loop;
            return made;
        end $$
        """
    )
    op.execute(
        """
        create function drop_event_months(before timestamptz) returns int language plpgsql
        security definer set search_path = pg_catalog, public as $$
        declare
            dropped int := 0;
            part record;
        begin
            for part in
                select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
                where i.inhparent = 'public.events'::regclass and c.relname ~ '^events_[0-9]{4}_[0-9]{2}$'
                    and (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC'
                        <= before
            loop
                execute format('drop table public.%I', part.relname);
                dropped := dropped + 1;
            end loop;
            return dropped;
        end $$
        """
    )
    for function in ("make_event_months(timestamptz, int)", "drop_event_months(timestamptz)"):
        op.execute(f"revoke execute on function {function} from public")
        op.execute(f"grant execute on function {function} to {ENGINE_ROLE}")
    op.execute("select make_event_months(now(), 3)")


def _bell() -> None:
    """Whoever waits for arrivals hears of them with their commit, once however many they are."""
    op.execute(
        """
        create function ring_for_arrivals() returns trigger language plpgsql
        set search_path = pg_catalog, public as $$
        begin
            perform pg_notify('campanile_inbox', '');
            return null;
        end $$
        """
    )
    op.execute(
        "create trigger ring after insert on inbox for each statement execute function ring_for_arrivals()"
    )


def _changes() -> None:
    """Whoever changed profiles leaves it to the pump to follow that up, if there is anything to follow up."""
    here = "nullif(current_setting('app.workspace', true), '')::uuid"
    op.execute(
        f"""
        create function note_changes(people uuid[], at timestamptz, live boolean) returns void
        language sql security definer set search_path = pg_catalog, public
        begin atomic
            insert into inbox (workspace_id, id, received_at, kind, trusted, historical, occurred_at, properties)
            select {here}, uuidv7(), at, 'change', true, not live, at,
                jsonb_build_object('profile_id', person)
            from unnest(people) person
            where exists (
                select from segments s where s.workspace_id = {here} and s.materialized_at is not null
            ) or exists (select from attributes a where a.workspace_id = {here} and a.hot);
        end
        """
    )
    op.execute("revoke execute on function note_changes from public")
    op.execute(f"grant execute on function note_changes to {APP_ROLE}, {ENGINE_ROLE}")


def _statistics() -> None:
    """As in 0001: ids tell rows apart, a workspace does not."""
    for table, columns in TENANT_TABLES.items():
        for column in columns:
            distinct = 1 if column == "workspace_id" else -1
            op.execute(
                "select pg_restore_attribute_stats('schemaname', current_schema()::text, 'relname', "
                f"'{table}', 'attname', '{column}', 'inherited', false, 'n_distinct', {distinct}::real)"
            )


def downgrade() -> None:
    raise NotImplementedError("What people did can't be taken back: restore the backup from before.")
