"""Removes what the demo made, and nothing else: its customers, segments, templates, campaigns and flows."""

from sqlalchemy import create_engine, text

from domain.workspaces import DEFAULT_WORKSPACE

# In the order in which they may go. `theirs` are the profiles, `made` the sources and templates of the demo.
_FORGET = (
    r"""
    create temporary table theirs on commit drop as
    select profile_id as id from identities
    where workspace_id = :workspace and kind = 'email' and value ~ '^customer-[0-9]+@example\.com$'
    """,
    """
    create temporary table made on commit drop as
    select id from campaigns where workspace_id = :workspace and name like :name
    union all select id from flows where workspace_id = :workspace and name like :name
    union all select id from templates where workspace_id = :workspace and name like :name
    union all select id from segments where workspace_id = :workspace and name like :name
    """,
    """
    create temporary table sent on commit drop as
    select id from messages where workspace_id = :workspace
        and (source_id in (select id from made) or profile_id in (select id from theirs))
    """,
    "delete from message_events where workspace_id = :workspace and message_id in (select id from sent)",
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
    "delete from segments where workspace_id = :workspace and id in (select id from made)",
    "delete from cap_counters where workspace_id = :workspace and profile_id in (select id from theirs)",
    "delete from orders where workspace_id = :workspace and profile_id in (select id from theirs)",
    "delete from order_rollups where workspace_id = :workspace and profile_id in (select id from theirs)",
    "delete from consents where workspace_id = :workspace and profile_id in (select id from theirs)",
    r"""
    delete from suppressions where workspace_id = :workspace
        and address ~ '^customer-[0-9]+@example\.com$'
    """,
    "delete from identities where workspace_id = :workspace and profile_id in (select id from theirs)",
    "delete from profiles where workspace_id = :workspace and id in (select id from theirs)",
    """
    delete from imports where workspace_id = :workspace
        and file_name in ('customers.csv', 'cdnow_orders.csv')
    """,
)


def forget(admin_url: str, prefix: str) -> None:
    """Remove what is named with this prefix, and the made-up customers. `admin_url` is the owner's."""
    engine = create_engine(admin_url)
    values = {"workspace": DEFAULT_WORKSPACE, "name": f"{prefix}%"}
    with engine.begin() as connection:
        connection.execute(
            text("select set_config('app.workspace', :workspace, true)"),
            {"workspace": str(DEFAULT_WORKSPACE)},
        )
        for statement in _FORGET:
            connection.execute(text(statement), values)
    engine.dispose()
