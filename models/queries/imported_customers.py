"""People that a file brings: profiles with names, consents and attributes, a batch at a time.

It decides first and writes afterwards, so that a row which says nothing new touches nothing.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils import uuid7

from domain.imports import CustomerLine, Denial
from domain.lists import MemberState
from domain.profiles import ConsentSource, ConsentState
from models.imports import Import
from models.queries import attributes
from models.queries.copying import NULL, cell, copy
from models.queries.imports import Stored

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
_DENIED_BY_HELD = text(
    """
    select c.line, c.customer_id, c.email, array_remove(array[
        case when c.consent_email = 'denied' then 'email' end,
        case when c.consent_tracking = 'denied' then 'tracking' end], null) as purposes
    from decided_customers d join incoming_customers c on c.line = d.line
    where d.refused and 'denied' in (c.consent_email, c.consent_tracking)
    """
)
_DENIED = """
    select given.line, given.purpose, coalesce(person.profile_id, holder.profile_id) as profile_id
    from unnest(cast(:lines as int[]), cast(:customers as text[]), cast(:emails as text[]),
        cast(:purposes as text[])) given (line, customer_id, email, purpose)
    left join identities person on person.workspace_id = :workspace and person.kind = 'user_id'
        and person.value = given.customer_id
    left join identities holder on holder.workspace_id = :workspace and holder.kind = 'email'
        and holder.value = given.email
    where coalesce(person.profile_id, holder.profile_id) is not null
    """
_DENY = [
    text(
        f"""
        update consents c set ended_at = :now
        from ({_DENIED}) d
        where c.workspace_id = :workspace and c.profile_id = d.profile_id and c.purpose = d.purpose
            and c.ended_at is null and c.state <> 'denied'
        """
    ),
    text(
        f"""
        with denied as materialized ({_DENIED}),
        added as (
            insert into consents (workspace_id, id, profile_id, purpose, state, source, at)
            select distinct on (d.profile_id, d.purpose) :workspace, uuidv7(), d.profile_id, d.purpose,
                '{ConsentState.DENIED}', :source, cast(:now as timestamptz)
            from denied d
            where not exists (select from consents c where c.workspace_id = :workspace
                and c.profile_id = d.profile_id and c.purpose = d.purpose and c.ended_at is null)
        )
        update rejected_rows r
        set reason = rtrim(r.reason, '.') || '; its denial of ' || d.purposes || ' was taken.'
        from (select line, string_agg(purpose, ' and ' order by purpose) as purposes
            from denied group by line) d
        where r.workspace_id = :workspace and r.import_id = :import and r.line = d.line
        """
    ),
    text(
        f"""
        select note_changes(array_agg(distinct d.profile_id), :now, false, array['consents'])
        from ({_DENIED}) d
        """
    ),
]
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
# What they said goes to the catalogue; segments and hot values are for the pump to follow up.
_TOLD = """
    select e.key, e.value from decided_customers d cross join lateral jsonb_each(d.attributes) e
    where not d.refused and (d.is_new or d.differs)
"""
_FOLLOW_UP = text(
    """
    select
        note_changes(array_agg(profile_id) filter (where is_new or differs), :now, false),
        note_changes(
            array_agg(profile_id) filter (where not (is_new or differs)), :now, false,
            array['identities', 'consents']
        )
    from decided_customers
    where not refused and (
        is_new or differs or adds_email or promotes_email
        or consent_email is not null or consent_tracking is not null
    )
    """
)
# Who is on the list, or has left it, stays as they are: no file undoes an unsubscribe.
_PUT_ON_LIST = text(
    f"""
    with put as (
        insert into list_members (workspace_id, list_id, profile_id, state, source, at)
        select distinct cast(:workspace as uuid), l.id, d.profile_id, '{MemberState.MEMBER}', :source,
            cast(:now as timestamptz)
        from decided_customers d
        join lists l on l.workspace_id = :workspace and l.id = :list
        where not d.refused
        on conflict (workspace_id, list_id, profile_id) do nothing
        returning profile_id
    )
    select note_changes(
        array_agg(profile_id), :now, false, array['list:' || cast(cast(:list as uuid) as text)]
    ) from put
    """
)
_GO_ON = text(
    """
    delete from incoming_customers c using decided_customers d
    where d.line = c.line
    """
)


def row(person: CustomerLine) -> str:
    """A person as COPY reads one, with ids in case they are new."""
    line, customer, email, mail, tracking, zone, attributes = person
    return (
        f"{line}\t{uuid7().hex}\t{cell(customer)}\t{cell(email)}\t{_consent(mail)}\t{_consent(tracking)}\t"
        f"{zone or NULL}\t{cell(attributes)}\n"
    )


def _consent(state: str | None) -> str:
    return f"{state}\t{uuid7().hex}" if state else f"{NULL}\t{NULL}"


async def fill(db: AsyncSession, rows: bytes) -> None:
    """Copy rows to where `store` finds them."""
    await db.execute(_INCOMING_CUSTOMERS)
    await db.execute(_DECIDED_CUSTOMERS)
    await copy(db, "incoming_customers", rows)


async def store(db: AsyncSession, import_: Import, count: int, now: datetime) -> Stored:
    """Add the people who are new and change what is said otherwise of those who are known."""
    values = {
        "workspace": import_.workspace_id,
        "import": import_.id,
        "source": ConsentSource.IMPORT.value,
        "now": now,
    }
    waiting, imported, unchanged, refused = count, 0, 0, 0
    denials: list[Denial] = []
    while waiting:
        await db.execute(_DECIDE, values)
        round_ = (await db.execute(_COUNT)).one()
        if round_.refused:
            await db.execute(_REFUSE_HELD, values)
            denials += [Denial(*held) for held in await db.execute(_DENIED_BY_HELD)]
        if round_.imported:
            await db.execute(_ADD_PROFILES, values)
            for statement in _CHANGE_KNOWN if round_.some_known_change else ():
                await db.execute(statement, values)
            await db.execute(_ADD_NAMES_AND_CONSENTS, values)
            await attributes.note(db, import_.workspace_id, _TOLD, now)
            await db.execute(_FOLLOW_UP, values)
        if import_.list_id is not None:
            await db.execute(_PUT_ON_LIST, values | {"list": import_.list_id})
        imported, unchanged = imported + round_.imported, unchanged + round_.unchanged
        refused += round_.refused
        waiting = count - imported - unchanged - refused
        if waiting:
            await db.execute(_GO_ON)
            await db.execute(text("delete from decided_customers"))
    await deny(db, import_, denials, now)
    return Stored(imported, unchanged, refused)


async def deny(db: AsyncSession, import_: Import, denials: Sequence[Denial], now: datetime) -> None:
    """Take what refused rows deny of people whom we know, and say so in the report, which has them already.

    It comes after the rows of its batch that were taken: where these say otherwise, the denial holds.
    """
    said = [(each, purpose) for each in denials for purpose in each.purposes]
    if not said:
        return
    values = {
        "workspace": import_.workspace_id,
        "import": import_.id,
        "source": ConsentSource.IMPORT.value,
        "now": now,
        "lines": [each.line for each, _ in said],
        "customers": [each.customer_id for each, _ in said],
        "emails": [each.email for each, _ in said],
        "purposes": [purpose for _, purpose in said],
    }
    for statement in _DENY:
        await db.execute(statement, values)
