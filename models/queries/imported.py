"""What the rows of a file become: profiles with names and consents, orders with their sums.

A batch is copied into a temporary table and then moves by a few statements. It decides first and writes
afterwards, so that a row which says nothing new touches nothing, not even a row version.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils import uuid7

from domain.imports import CustomerLine, ImportKind, OrderLine
from domain.profiles import ConsentSource
from models.base import changed
from models.imports import Import
from models.queries.imports import Stored

# One import at a time writes a workspace's people. The plans are pinned to index look-ups: a batch is small
# beside its tables, and a plan that was made when they were empty would be kept while they grow.
_UNWANTED = ("hashjoin", "mergejoin", "seqscan", "bitmapscan", "material")
_PREPARE = text(
    "select pg_advisory_xact_lock(hashtextextended('imports of ' || cast(:workspace as text), 0)), "
    + ", ".join(f"set_config('enable_{way}', 'off', true)" for way in _UNWANTED)
)

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
        insert into order_rollups as r (workspace_id, profile_id, currency, total, count, first_at, last_at)
        select :workspace, profile_id, currency, sum(total), count(*), min(ordered_at), max(ordered_at)
        from made group by profile_id, currency order by profile_id, currency
        on conflict (workspace_id, profile_id, currency) do update set
            total = r.total + excluded.total,
            count = r.count + excluded.count,
            first_at = least(r.first_at, excluded.first_at),
            last_at = greatest(r.last_at, excluded.last_at)
    )
    select (select count(*) from made), (select count(*) from refused),
        case when :live then (select array_agg(id) from made) end
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


async def prepare(db: AsyncSession, workspace_id: UUID) -> None:
    """Make ready for rows: nobody else's import writes in this workspace until the transaction ends."""
    await db.execute(_PREPARE, {"workspace": str(workspace_id)})


async def store(
    db: AsyncSession, import_: Import, lines: Sequence[CustomerLine] | Sequence[OrderLine], now: datetime
) -> Stored:
    """Store checked rows, in the file's order. `order_ids` are the new orders of a live import."""
    if not lines:
        return Stored(0, 0, 0)
    if import_.kind == ImportKind.CUSTOMERS:
        return await store_customers(db, import_, cast("Sequence[CustomerLine]", lines), now)
    return await store_orders(db, import_, cast("Sequence[OrderLine]", lines), now)


async def store_orders(
    db: AsyncSession, import_: Import, lines: Sequence[OrderLine], now: datetime
) -> Stored:
    """Add the orders that are new, with their sums. `order_ids` is filled when the import is live."""
    await db.execute(_INCOMING_ORDERS)
    await _copy(
        db,
        "incoming_orders (id, line, customer_id, ordered_at, quantity, total, currency, key, nth)",
        (
            f"{uuid7().hex}\t{line}\t{_plain(customer)}\t{at}\t{quantity}\t{total}\t{currency}\t"
            f"{_plain(key)}\t{nth}\n"
            for line, customer, at, quantity, total, currency, key, nth in lines
        ),
    )
    values = {
        "workspace": import_.workspace_id,
        "import": import_.id,
        "source": f"import {import_.id}",
        "now": now,
        "live": import_.live,
    }
    made, refused, ids = (await db.execute(_STORE_ORDERS, values)).one()
    if any(line.nth == 0 for line in lines):
        refused += await changed(db, _REFUSE_CONTRADICTIONS, values)
    return Stored(made, len(lines) - made - refused, refused, ids or ())


_INCOMING_CUSTOMERS = text(
    """
    create temporary table if not exists incoming_customers (
        line int, new_id uuid, customer_id text, email text, consent_email text, email_consent_id uuid,
        consent_tracking text, tracking_consent_id uuid, time_zone text, attributes jsonb
    ) on commit delete rows
    """
)
_DECIDED_CUSTOMERS = text(
    """
    create temporary table if not exists decided_customers (
        line int primary key, profile_id uuid, customer_id text, email text, time_zone text, attributes jsonb,
        refused boolean, is_new boolean, differs boolean, adds_email boolean,
        promotes_email boolean,
        consent_email text, email_consent_id uuid, consent_tracking text, tracking_consent_id uuid
    ) on commit delete rows
    """
)

# Who each waiting row is about, and what it changes, for the rows whose turn it is: no earlier waiting row is
# about the same person or names the same address. So a file's rows work in their order, wherever a batch
# ends, and no statement meets a person twice. An address never goes from one profile to another, so what is
# refused is refused out of turn as well.
#
# Consent, as `domain.profiles.may_grant` has it: a denial is always taken. A grant is taken where nobody
# denied, and in place of a denial that came by import; it never lifts an unsubscribe. Suppressions are not
# touched.
_DECIDE = text(
    """
    insert into decided_customers
    with named as (
        select c.*, holder.profile_id as holder, holder.is_primary,
            case when c.customer_id is null then holder.profile_id else person.profile_id end as known
        from incoming_customers c
        left join identities person
            on person.workspace_id = :workspace and person.kind = 'user_id' and person.value = c.customer_id
        left join identities holder
            on holder.workspace_id = :workspace and holder.kind = 'email' and holder.value = c.email
    ), judged as (
        select *, holder is not null and holder is distinct from known as refused from named
    ), turns as (
        select *,
            line = min(line) filter (where not refused) over (
                partition by coalesce(known::text, 'id ' || customer_id, 'address ' || email)
            ) and line = min(line) filter (where not refused) over (
                partition by coalesce(email, line::text)
            ) as in_turn
        from judged
    )
    select t.line, coalesce(t.known, t.new_id), t.customer_id, t.email, t.time_zone, t.attributes,
        t.refused, t.known is null,
        t.known is not null and (
            p.attributes || t.attributes <> p.attributes
            or coalesce(t.time_zone, p.time_zone) is distinct from p.time_zone
        ),
        t.email is not null and t.holder is null,
        t.holder is not null and not t.is_primary,
        case when e.state is null or t.consent_email <> e.state
            and (t.consent_email = 'denied' or e.source = :source) then t.consent_email end,
        t.email_consent_id,
        case when k.state is null or t.consent_tracking <> k.state
            and (t.consent_tracking = 'denied' or k.source = :source) then t.consent_tracking end,
        t.tracking_consent_id
    from turns t
    left join profiles p on p.workspace_id = :workspace and p.id = t.known
    left join consents e on e.workspace_id = :workspace and e.profile_id = t.known
        and e.purpose = 'email' and e.ended_at is null
    left join consents k on k.workspace_id = :workspace and k.profile_id = t.known
        and k.purpose = 'tracking' and k.ended_at is null
    where t.refused or t.in_turn
    """
)
_COUNT = text(
    """
    select count(*) filter (where refused) as refused,
        count(*) filter (where not refused and (is_new or changes)) as imported,
        count(*) filter (where not refused and not (is_new or changes)) as unchanged,
        coalesce(bool_or(not refused and changes and not is_new), false) as some_known_change
    from (
        select *, differs or adds_email or promotes_email
            or consent_email is not null or consent_tracking is not null as changes
        from decided_customers
    ) decided
    """
)
_REFUSE_HELD = text(
    """
    insert into rejected_rows (workspace_id, import_id, line, "column", reason)
    select :workspace, :import, line, 'email',
        'Another profile already has the address ' || email || ': give this one its own, or merge the two.'
    from decided_customers where refused
    """
)
_ADD_PROFILES = text(
    """
    insert into profiles (workspace_id, id, attributes, time_zone, created_at, updated_at)
    select :workspace, profile_id, attributes, time_zone, :now, :now
    from decided_customers where not refused and is_new order by line
    """
)
_CHANGE_KNOWN = [
    text(
        """
        update profiles p set attributes = p.attributes || d.attributes,
            time_zone = coalesce(d.time_zone, p.time_zone), updated_at = :now
        from decided_customers d
        where not d.refused and d.differs and p.workspace_id = :workspace and p.id = d.profile_id
        """
    ),
    # An address in a file becomes the one that we write to; the others stay as names.
    text(
        """
        update identities n set is_primary = false
        from decided_customers d
        where not d.refused and not d.is_new and (d.adds_email or d.promotes_email)
            and n.workspace_id = :workspace and n.profile_id = d.profile_id and n.kind = 'email'
            and n.is_primary
        """
    ),
    text(
        """
        update identities n set is_primary = true
        from decided_customers d
        where not d.refused and d.promotes_email
            and n.workspace_id = :workspace and n.kind = 'email' and n.value = d.email
        """
    ),
    text(
        """
        update consents c set ended_at = :now
        from decided_customers d
        where not d.refused and not d.is_new and c.workspace_id = :workspace and c.profile_id = d.profile_id
            and c.ended_at is null
            and case c.purpose when 'email' then d.consent_email when 'tracking' then d.consent_tracking end
                = any(case when c.source = :source then array['granted', 'denied'] else array['denied'] end)
        """
    ),
]
_ADD_NAMES_AND_CONSENTS = text(
    """
    with names as (
        insert into identities (workspace_id, kind, value, profile_id, created_at)
        select :workspace, given.kind, given.value, d.profile_id, :now
        from decided_customers d
        cross join lateral (values
            ('user_id', case when d.is_new then d.customer_id end),
            ('email', case when d.adds_email then d.email end)
        ) given (kind, value)
        where not d.refused and given.value is not null
        order by d.line
    )
    insert into consents (workspace_id, id, profile_id, purpose, state, source, at)
    select :workspace, given.id, d.profile_id, given.purpose, given.state, :source, :now
    from decided_customers d
    cross join lateral (values
        ('email', d.consent_email, d.email_consent_id),
        ('tracking', d.consent_tracking, d.tracking_consent_id)
    ) given (purpose, state, id)
    where not d.refused and given.state is not null
    order by d.line
    """
)
_GO_ON = text(
    """
    delete from incoming_customers c using decided_customers d
    where d.line = c.line
    """
)


async def store_customers(
    db: AsyncSession, import_: Import, lines: Sequence[CustomerLine], now: datetime
) -> Stored:
    """Add the people who are new and change what is said otherwise of those who are known."""
    await db.execute(_INCOMING_CUSTOMERS)
    await db.execute(_DECIDED_CUSTOMERS)
    await _copy(
        db,
        "incoming_customers",
        (
            f"{line}\t{uuid7().hex}\t{_maybe(customer)}\t{_maybe(email)}\t{_consent(mail)}\t{_consent(tracking)}\t"
            f"{zone or _NULL}\t{_plain(attributes)}\n"
            for line, customer, email, mail, tracking, zone, attributes in lines
        ),
    )
    values = {
        "workspace": import_.workspace_id,
        "import": import_.id,
        "source": ConsentSource.IMPORT.value,
        "now": now,
    }
    waiting, imported, unchanged, refused = len(lines), 0, 0, 0
    while waiting:
        await db.execute(_DECIDE, values)
        round_ = (await db.execute(_COUNT)).one()
        if round_.refused:
            await db.execute(_REFUSE_HELD, values)
        if round_.imported:
            await db.execute(_ADD_PROFILES, values)
            for statement in _CHANGE_KNOWN if round_.some_known_change else ():
                await db.execute(statement, values)
            await db.execute(_ADD_NAMES_AND_CONSENTS, values)
        imported, unchanged = imported + round_.imported, unchanged + round_.unchanged
        refused += round_.refused
        waiting = len(lines) - imported - unchanged - refused
        if waiting:
            await db.execute(_GO_ON)
            await db.execute(text("delete from decided_customers"))
    return Stored(imported, unchanged, refused)


_NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _plain(value: str) -> str:
    """As COPY's text format wants it."""
    return value if value.isalnum() else value.translate(_ESCAPES)


def _maybe(value: str | None) -> str:
    return _NULL if value is None else _plain(value)


def _consent(state: str | None) -> str:
    """A consent with its row's id. Ids are made here: PostgreSQL's uuidv7() asks the kernel for each one."""
    return f"{state}\t{uuid7().hex}" if state else f"{_NULL}\t{_NULL}"


async def _copy(db: AsyncSession, table: str, rows: Iterable[str]) -> None:
    connection = await (await db.connection()).get_raw_connection()
    driver = cast("psycopg.AsyncConnection[tuple[object, ...]]", connection.driver_connection)
    async with driver.cursor() as cursor, cursor.copy(f"copy {table} from stdin") as copy:
        await copy.write("".join(rows).encode())
