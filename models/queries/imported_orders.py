"""Orders that a file brings, and what they add up to, a batch at a time."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils import uuid7

from domain.imports import OrderLine
from domain.lists import MemberState
from domain.profiles import ConsentSource
from models.base import changed
from models.imports import Import
from models.queries.copying import cell, copy
from models.queries.imports import Stored

_INCOMING_ORDERS = text(
    """
    create temporary table if not exists incoming_orders (
        id uuid, line int, customer_id text, ordered_at timestamptz, quantity int, total numeric(20, 4),
        currency text, key text, nth int,
        first_key text generated always as (case when nth > 0 then key || '#1' end) stored
    ) on commit delete rows
    """
)

# `before` is how many rows of the same key this file had in earlier batches. Most keys are there once: then
# the order itself tells, by its source; `import_keys` holds only those that came again, or that an earlier
# import had brought. The first order's key is a column: `||` is not leakproof, so behind the wall an
# expression would be no index condition. First orders need no ON CONFLICT, which costs a fifth of it all.
_STORE_ORDERS = text(
    """
    with named as (
        select i.*, n.profile_id, o.key is not null as known,
            coalesce(k.n, case when o.source = :source then 1 else 0 end) as before
        from incoming_orders i
        left join identities n
            on n.workspace_id = :workspace and n.kind = 'user_id' and n.value = i.customer_id
        left join orders o on o.workspace_id = :workspace and o.key = i.first_key
        left join import_keys k on k.workspace_id = :workspace and k.import_id = :import and k.key = i.key
    ), refused as (
        insert into rejected_rows (workspace_id, import_id, line, "column", reason)
        select :workspace, :import, line, 'customer_id',
            'Nobody has the customer_id "' || left(customer_id, 40)
            || '": import the customers first, then this file again.'
        from named where profile_id is null
        returning line
    ), counted as (
        insert into import_keys (workspace_id, import_id, key, n)
        select :workspace, :import, key, max(before + nth)
        from named where profile_id is not null and nth > 0 and (nth > 1 or known)
        group by key
        on conflict (workspace_id, import_id, key) do update set n = excluded.n
    ), firsts as (
        insert into orders
            (workspace_id, id, key, profile_id, ordered_at, quantity, total, currency, source, created_at)
        select :workspace, id, first_key, profile_id, ordered_at, quantity, total, currency, :source, :now
        from named where profile_id is not null and nth = 1 and not known
        returning id, profile_id, currency, total, ordered_at
    ), others as (
        insert into orders
            (workspace_id, id, key, profile_id, ordered_at, quantity, total, currency, source, created_at)
        select :workspace, id, case when nth = 0 then key else key || '#' || before + nth end,
            profile_id, ordered_at, quantity, total, currency, :source, :now
        from named where profile_id is not null and (nth <> 1 or before > 0)
        order by line
        on conflict (workspace_id, key) do nothing
        returning id, profile_id, currency, total, ordered_at
    ), made as (
        select * from firsts union all select * from others
    ), added as (
        insert into order_rollups as r
            (workspace_id, profile_id, currency, total, count, first_at, last_at, largest)
        select :workspace, profile_id, currency, sum(total), count(*), min(ordered_at), max(ordered_at),
            max(total)
        from made group by profile_id, currency order by profile_id, currency
        on conflict (workspace_id, profile_id, currency) do update set
            total = r.total + excluded.total,
            count = r.count + excluded.count,
            first_at = least(r.first_at, excluded.first_at),
            last_at = greatest(r.last_at, excluded.last_at),
            largest = greatest(r.largest, excluded.largest)
    )
    select (select count(*) from made), (select count(*) from refused),
        case when :live then (select array_agg(id) from made) end,
        note_changes(array(select distinct profile_id from made), :now, :live, array['orders'])
    """
)

# An order that is there is never changed by a file; one that says otherwise must not pass unseen.
_REFUSE_CONTRADICTIONS = text(
    """
    insert into rejected_rows (workspace_id, import_id, line, "column", reason)
    select :workspace, :import, i.line, 'order_id',
        'The order "' || left(i.key, 40)
        || '" is already there with another customer, time, quantity or total: an import never changes'
        || ' an order, so give this one an id of its own.'
    from incoming_orders i
    join identities n on n.workspace_id = :workspace and n.kind = 'user_id' and n.value = i.customer_id
    join orders o on o.workspace_id = :workspace and o.key = i.key
    where i.nth = 0 and (n.profile_id, i.ordered_at, i.quantity, i.total, i.currency)
        is distinct from (o.profile_id, o.ordered_at, o.quantity, o.total, o.currency)
    """
)


# Who is on the list, or has left it, stays as they are.
_PUT_ON_LIST = text(
    f"""
    with put as (
        insert into list_members (workspace_id, list_id, profile_id, state, source, at)
        select distinct cast(:workspace as uuid), l.id, n.profile_id, '{MemberState.MEMBER}',
            '{ConsentSource.IMPORT}', cast(:now as timestamptz)
        from incoming_orders i
        join lists l on l.workspace_id = :workspace and l.id = :list
        join identities n
            on n.workspace_id = :workspace and n.kind = 'user_id' and n.value = i.customer_id
        on conflict (workspace_id, list_id, profile_id) do nothing
        returning profile_id
    )
    select note_changes(
        array_agg(profile_id), :now, :live, array['list:' || cast(cast(:list as uuid) as text)]
    ) from put
    """
)


def row(order: OrderLine) -> str:
    """An order as COPY reads it. Ids are made here: PostgreSQL's uuidv7() asks the kernel for each one."""
    line, customer, at, quantity, total, currency, key, nth = order
    what = f"{at}\t{quantity}\t{total}\t{currency}\t{cell(key)}\t{nth}"
    return f"{uuid7().hex}\t{line}\t{cell(customer)}\t{what}\n"


async def fill(db: AsyncSession, rows: bytes) -> None:
    """Copy rows to where `store` finds them."""
    await db.execute(_INCOMING_ORDERS)
    columns = "id, line, customer_id, ordered_at, quantity, total, currency, key, nth"
    await copy(db, f"incoming_orders ({columns})", rows)


async def store(db: AsyncSession, import_: Import, count: int, now: datetime, *, own_ids: bool) -> Stored:
    """Add the orders that are new, with their sums; `own_ids` says that some have ids of their own."""
    values = {
        "workspace": import_.workspace_id,
        "import": import_.id,
        "source": f"import {import_.id}",
        "now": now,
        "live": import_.live,
    }
    made, refused, ids, _ = (await db.execute(_STORE_ORDERS, values)).one()
    if own_ids:
        refused += await changed(db, _REFUSE_CONTRADICTIONS, values)
    if import_.list_id is not None:
        await db.execute(_PUT_ON_LIST, values | {"list": import_.list_id})
    return Stored(made, count - made - refused, refused, ids or ())
