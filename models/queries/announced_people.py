"""What becomes of people, and what they do, is announced: profiles, consents, events, borders of segments.

History announces nothing of these, however it comes in: only merges and erasures are told of in any case,
for whoever keeps our ids must know of them.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import TextClause, text

from domain.announcements import AnnouncementType
from domain.events import SEGMENT_ENTERED, SEGMENT_LEFT
from models.base import HERE, Db
from models.queries.announced import asked, cut, instant, is_cut, name_of, tell, telling, who

_T = AnnouncementType
WRITTEN = (_T.PROFILE_CREATED, _T.PROFILE_UPDATED, _T.PROFILE_CONSENT_CHANGED)
HAPPENED = (_T.EVENT_RECEIVED, _T.SEGMENT_ENTERED, _T.SEGMENT_LEFT)

_CREATED = telling(
    f"""
    select a.nth, '{_T.PROFILE_CREATED}' as type, jsonb_build_object(
        'profile_id', p.id, 'user_id', yours.value, 'email', email.value, 'phone', phone.value,
        'attributes', {cut("p.attributes")}, 'truncated', {is_cut("p.attributes")}, 'at', cast(:at as text)
    ) as data
    from unnest(cast(:people as uuid[])) with ordinality a(id, nth)
    join profiles p on p.workspace_id = {HERE} and p.id = a.id and p.merged_into is null
    left join lateral ({name_of("p.id", "user_id")}) yours on true
    left join lateral ({name_of("p.id", "email")}) email on true
    left join lateral ({name_of("p.id", "phone")}) phone on true
    """
)
_UPDATED = telling(
    f"""
    select a.nth, '{_T.PROFILE_UPDATED}' as type, jsonb_build_object(
        'profile_id', who.id, 'user_id', yours.value, 'changed', {cut("a.changed")},
        'truncated', {is_cut("a.changed")}, 'at', cast(:at as text)
    ) as data
    from jsonb_to_recordset(cast(:people as jsonb)) as a(nth int, id uuid, changed jsonb)
    {who("a.id")}
    where who.id is not null
    """
)
_MERGED = telling(
    f"""
    select a.nth, '{_T.PROFILE_MERGED}' as type, jsonb_build_object(
        'profile_id', who.id, 'user_id', yours.value, 'merged_profile_id', a.alias, 'at', cast(:at as text)
    ) as data
    from unnest(cast(:aliases as uuid[]), cast(:survivors as uuid[])) with ordinality a(alias, survivor, nth)
    {who("a.survivor")}
    """
)
_ERASED = telling(
    f"""
    select row_number() over (order by p.id) as nth, '{_T.PROFILE_ERASED}' as type,
        jsonb_build_object('profile_id', p.id, 'at', cast(:at as text)) as data
    from profiles p
    where p.workspace_id = {HERE} and (p.id = :profile or p.merged_into = :profile)
    """
)
_SAID_DATA = f"""
    '{_T.PROFILE_CONSENT_CHANGED}' as type, jsonb_build_object(
        'profile_id', who.id, 'user_id', yours.value, 'purpose', a.purpose, 'state', a.state,
        'source', left(a.source, 1000), 'at', {{at}}
    ) as data
"""
_CONSENTS = telling(
    f"""
    select a.nth, {_SAID_DATA.format(at="cast(:at as text)")}
    from jsonb_to_recordset(cast(:consents as jsonb))
        as a(nth int, id uuid, purpose text, state text, source text)
    {who("a.id")}
    """
)
_ALLOWED = telling(
    f"""
    select row_number() over (order by a.profile_id, a.purpose) as nth,
        {_SAID_DATA.format(at=instant("a.at"))}
    from allowed a
    {who("a.profile_id")}
    """
)


def _of_happened(kind: str, received: str, joined: str = "") -> TextClause:
    border = f"h.name in ('{SEGMENT_ENTERED}', '{SEGMENT_LEFT}')"
    return telling(
        f"""
        select h.n as nth,
            case h.name when '{SEGMENT_ENTERED}' then '{_T.SEGMENT_ENTERED}'
                when '{SEGMENT_LEFT}' then '{_T.SEGMENT_LEFT}' else '{_T.EVENT_RECEIVED}' end as type,
            case when {border} then jsonb_build_object(
                'segment_id', h.properties -> 'segment_id', 'segment', left(h.properties ->> 'segment', 1000),
                'profile_id', who.id, 'user_id', yours.value, 'at', {instant("h.occurred_at")}
            ) else jsonb_build_object(
                'event_id', h.event_id, 'name', left(h.name, 200), 'kind', {kind},
                'profile_id', who.id, 'user_id', yours.value,
                'properties', {cut("h.properties")}, 'truncated', {is_cut("h.properties")},
                'occurred_at', {instant("h.occurred_at")}, 'received_at', {received}
            ) end as data
        from happened h
        {joined}
        {who("h.profile_id")}
        where {border} and cast(:borders as boolean) or not {border} and cast(:events as boolean)
        """
    )


_HAPPENED_IN_THE_PUMP = _of_happened(
    "coalesce(t.kind, 'order')",
    f"coalesce({instant('t.received_at')}, cast(:at as text))",
    "left join taken t on t.id = h.event_id",
)
_HAPPENED_IN_A_FILE = _of_happened("'order'", "cast(:at as text)")


async def created(db: Db, people: Collection[UUID], now: datetime) -> int:
    return await tell(db, _CREATED, now, {"people": [*people]}) if people else 0


async def updated(db: Db, changed: Mapping[UUID, Mapping[str, Any]], now: datetime) -> int:
    """Announce that these people changed, with the new values of their attributes; None was taken away."""
    rows = [{"nth": nth, "id": id_, "changed": said} for nth, (id_, said) in enumerate(changed.items())]
    return await tell(db, _UPDATED, now, {"people": orjson.dumps(rows).decode()}) if rows else 0


async def merged(db: Db, survivors: Mapping[UUID, UUID], now: datetime) -> int:
    """Announce whom each of these people was merged into."""
    if not survivors or not await asked(db, _T.PROFILE_MERGED):
        return 0
    values = {"aliases": [*survivors.keys()], "survivors": [*survivors.values()]}
    return await tell(db, _MERGED, now, values)


async def erased(db: Db, profile_id: UUID, now: datetime) -> int:
    """Announce that a person was erased, by each of the ids that they had."""
    return await tell(db, _ERASED, now, {"profile": profile_id})


class Said(NamedTuple):
    """A consent that is news."""

    id: UUID
    purpose: str
    state: str
    source: str


async def consented(db: Db, said: Collection[Said], now: datetime) -> int:
    """Announce what people allow and deny from now on."""
    rows = [{"nth": nth, **each._asdict()} for nth, each in enumerate(said)]
    return await tell(db, _CONSENTS, now, {"consents": orjson.dumps(rows).decode()}) if rows else 0


# The pump's batches.

_REMEMBER = text(
    f"""
    insert into were
    select p.id, p.attributes
    from (select distinct t.profile_id from taken t where t.kind = 'identify') who
    cross join lateral (
        select p.id, p.attributes from profiles p
        where p.workspace_id = {HERE} and p.id = who.profile_id limit 1
    ) p
    """
)
_DIFFER = text(
    f"""
    select w.profile_id, (
        select coalesce(jsonb_object_agg(coalesce(a.key, b.key), a.value), '{{}}')
        from jsonb_each(p.attributes) a full join jsonb_each(w.attributes) b on b.key = a.key
        where a.value is distinct from b.value
    ) as changed
    from were w
    cross join lateral (
        select p.attributes from profiles p where p.workspace_id = {HERE} and p.id = w.profile_id limit 1
    ) p
    where p.attributes <> w.attributes
    """
)
_CAME = text("select distinct profile_id from taken where profile_id = any(cast(:people as uuid[]))")


async def remember(db: Db) -> None:
    """Keep in `were` how those are who identify themselves in `taken`, before that takes effect."""
    await db.execute(_REMEMBER)


async def told_by_batch(
    db: Db,
    wanted: Collection[AnnouncementType],
    new: Collection[UUID],
    named: Collection[UUID],
    now: datetime,
) -> None:
    """Announce what a live batch of the pump's has come to, as far as somebody asks.

    `new` are people who were not known before, `named` those who got a name: those of the batch that are in
    `taken`. `were` and `allowed` have the rest.
    """
    if _T.PROFILE_CREATED in wanted and new:
        came = [*(await db.execute(_CAME, {"people": [*new]})).scalars()]
        await created(db, came, now)
    if _T.PROFILE_UPDATED in wanted:
        changed: dict[UUID, Mapping[str, Any]] = {}
        if named:
            came = [*(await db.execute(_CAME, {"people": [*named]})).scalars()]
            changed = {id_: {} for id_ in came}
        changed |= {id_: said for id_, said in await db.execute(_DIFFER) if id_ not in new}
        await updated(db, changed, now)
    if _T.PROFILE_CONSENT_CHANGED in wanted:
        await tell(db, _ALLOWED, now)
    await happened(db, wanted, now)


async def happened(
    db: Db, wanted: Collection[AnnouncementType], now: datetime, *, in_a_file: bool = False
) -> int:
    """Announce what is in `happened`, as far as somebody asks."""
    borders = _T.SEGMENT_ENTERED in wanted or _T.SEGMENT_LEFT in wanted
    events = _T.EVENT_RECEIVED in wanted
    if not borders and not events:
        return 0
    statement = _HAPPENED_IN_A_FILE if in_a_file else _HAPPENED_IN_THE_PUMP
    return await tell(db, statement, now, {"borders": borders, "events": events})
