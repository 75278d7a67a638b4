"""Removes what the demo made: its segments, templates, campaigns and flows, its customers, and what is left
of its accounts with providers, which it deleted.

What others use of its segments and templates stays. With a customer goes whatever hangs on them: orders,
consents, messages and enrollments. Where some of those came from a campaign or flow that the demo did not
make, nothing is removed unless that is wished.
"""

from sqlalchemy import Connection, create_engine, text

from dev.process import StackError
from domain.workspaces import DEFAULT_WORKSPACE
from models.queries.memberships import COUNT_DOWN

# `theirs` are the profiles, `made` the sources and templates of the demo.
_OF_THE_DEMO = (
    r"""
    create temporary table theirs on commit drop as
    with named as (
        select profile_id as id from identities
        where workspace_id = :workspace and kind = 'email' and value ~ '^customer-[0-9]+@example\.com$'
    )
    select id from named
    union select id from profiles where workspace_id = :workspace and merged_into in (select id from named)
    """,
    """
    create temporary table made on commit drop as
    select id from campaigns where workspace_id = :workspace and name like :name
    union all select id from flows where workspace_id = :workspace and name like :name
    """,
    # Templates and segments that others use, too, stay.
    """
    insert into made
    with parts as (
        select id from templates where workspace_id = :workspace and name like :name
        union all select id from segments where workspace_id = :workspace and name like :name
    )
    select id from parts
    where not exists (select from campaigns c where c.workspace_id = :workspace
            and c.id not in (select id from made) and parts.id in (c.template_id, c.segment_id))
        and not exists (select from flows f where f.workspace_id = :workspace
            and f.id not in (select id from made) and strpos(f.definition::text, parts.id::text) > 0)
        and not exists (select from flow_versions v where v.workspace_id = :workspace
            and v.flow_id not in (select id from made) and strpos(v.definition::text, parts.id::text) > 0)
    """,
)
_OTHERS = """
    with lines as (
        select source_kind as kind, source_id as id from messages
        where workspace_id = :workspace
            and profile_id in (select id from theirs) and source_id not in (select id from made)
        union all
        select 'flow', flow_id from enrollments
        where workspace_id = :workspace
            and profile_id in (select id from theirs) and flow_id not in (select id from made)
    )
    select l.kind, coalesce(c.name, f.name) as name, count(*) as lines
    from lines l
    left join campaigns c on c.workspace_id = :workspace and c.id = l.id
    left join flows f on f.workspace_id = :workspace and f.id = l.id
    group by l.kind, l.id, c.name, f.name
    order by name, l.id
    limit 1
    """
# In the order in which they may go.
_FORGET = (
    """
    create temporary table sent on commit drop as
    select id from messages where workspace_id = :workspace
        and (source_id in (select id from made) or profile_id in (select id from theirs))
    """,
    *(
        f"delete from {table} where workspace_id = :workspace and message_id in (select id from sent)"
        for table in ("message_events", "message_notes", "attachments")
    ),
    "delete from messages where workspace_id = :workspace and id in (select id from sent)",
    "delete from queue where workspace_id = :workspace and message_id in (select id from sent)",
    """
    create temporary table journeys on commit drop as
    select id from enrollments where workspace_id = :workspace
        and (flow_id in (select id from made) or profile_id in (select id from theirs))
    for update
    """,
    "delete from agenda where workspace_id = :workspace and enrollment_id in (select id from journeys)",
    "delete from enrollments where workspace_id = :workspace and id in (select id from journeys)",
    "delete from campaigns where workspace_id = :workspace and id in (select id from made)",
    "delete from flow_versions where workspace_id = :workspace and flow_id in (select id from made)",
    "delete from flows where workspace_id = :workspace and id in (select id from made)",
    "delete from template_versions where workspace_id = :workspace and template_id in (select id from made)",
    "delete from templates where workspace_id = :workspace and id in (select id from made)",
    "delete from segment_members where workspace_id = :workspace and segment_id in (select id from made)",
    "delete from segments where workspace_id = :workspace and id in (select id from made)",
    "delete from cap_counters where workspace_id = :workspace and profile_id in (select id from theirs)",
    "delete from orders where workspace_id = :workspace and profile_id in (select id from theirs)",
    "delete from order_rollups where workspace_id = :workspace and profile_id in (select id from theirs)",
    "delete from events where workspace_id = :workspace and profile_id in (select id from theirs)",
    *(
        f"delete from {table} where workspace_id = :workspace and profile_id in (select id from theirs)"
        for table in ("profile_values", "profile_tags", "profile_notes", "list_members", "topic_consents")
    ),
    f"""
    with gone as (
        delete from segment_members
        where workspace_id = :workspace and profile_id in (select id from theirs)
        returning segment_id
    )
    {COUNT_DOWN}
    """,
    "delete from consents where workspace_id = :workspace and profile_id in (select id from theirs)",
    r"""
    delete from suppressions where workspace_id = :workspace
        and address ~ '^customer-[0-9]+@example\.com$'
    """,
    "delete from identities where workspace_id = :workspace and profile_id in (select id from theirs)",
    "delete from profiles where workspace_id = :workspace and id in (select id from theirs)",
    # Accounts that were deleted and explain no message any more.
    """
    create temporary table spent on commit drop as
    select id from providers p
    where workspace_id = :workspace and name like :name and deleted_at is not null
        and not exists (select from messages m where m.workspace_id = :workspace and m.provider = p.id)
    """,
    *(
        f"delete from {table} where workspace_id = :workspace and provider_id in (select id from spent)"
        for table in ("breakers", "breaker_changes", "provider_days")
    ),
    "delete from providers where workspace_id = :workspace and id in (select id from spent)",
)


def forget(admin_url: str, prefix: str, *, others_too: bool = False) -> None:
    """Remove what is named with this prefix, and the made-up customers. `admin_url` is the owner's.

    Raises `StackError`, with nothing removed, where lines of others would go with the customers, unless
    `others_too` go.
    """
    values = {"workspace": DEFAULT_WORKSPACE, "name": f"{prefix}%"}
    engine = create_engine(admin_url)
    with engine.begin() as connection:
        look(connection, prefix, others_too=others_too)
        for statement in _FORGET:
            connection.execute(text(statement), values)
    engine.dispose()


def check(admin_url: str, prefix: str) -> None:
    """Raises `StackError` where `forget` would."""
    engine = create_engine(admin_url)
    with engine.begin() as connection:
        look(connection, prefix, others_too=False)
    engine.dispose()


def look(connection: Connection, prefix: str, *, others_too: bool) -> None:
    """Find what is the demo's, and who else wrote to its customers."""
    values = {"workspace": DEFAULT_WORKSPACE, "name": f"{prefix}%"}
    connection.execute(
        text("select set_config('app.workspace', :workspace, true)"), {"workspace": str(DEFAULT_WORKSPACE)}
    )
    for statement in _OF_THE_DEMO:
        connection.execute(text(statement), values)
    other = connection.execute(text(_OTHERS), values).first()
    if other and not others_too:
        whose = f'your {other.kind} "{other.name}"' if other.name else "what you sent by POST /messages"
        lines = "1 line" if other.lines == 1 else f"{other.lines:,} lines"
        raise StackError(
            f"{whose} has {lines} about the demo's customers (messages and enrollments), and the demo begins "
            "by removing these customers: --forget (make demo FORGET=1) removes the lines with them"
        )
