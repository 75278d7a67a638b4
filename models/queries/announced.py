"""What the statements have in common by which whole sets of things that happened are announced.

Each makes the bodies by itself, from the rows that it speaks of, and writes a delivery for every webhook that
asks: no set of people or messages comes to Python for it. Where nobody asks for a type, all that is done is
one look at a few rows (`asked`). Within the one workspace that the transaction has entered.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, text

from domain.announced import KEPT_NAMES, KEPT_VALUE, WHOLE
from domain.announcements import AnnouncementType, wanted, written
from models.base import HERE, Db
from models.batch import Answer, Asked, Batch
from models.queries import announcing

_LONGEST_NAME = 800  # Bytes of a name of something that is kept of what is cut.

_LOOKED = "asked of webhooks"
_ASKED = text(
    f"""
    select distinct unnest(w.event_types) from webhooks w
    where w.workspace_id = {HERE} and w.state = 'enabled'
    """
)


def looking() -> Asked:
    """The look that `asked` takes, for a batch that takes it together with other things: see `looked`."""
    return Asked(_ASKED, {})


def looked(db: Batch, answer: Answer) -> None:
    """This is what `looking` answered, and stands for the rest of the transaction."""
    db.info[_LOOKED] = frozenset(answer.scalars())


async def asked(db: Db, *types: AnnouncementType) -> frozenset[AnnouncementType]:
    """Which of these types some webhook asks for. A batch looks once."""
    words: frozenset[str] | None = db.info.get(_LOOKED) if isinstance(db, Batch) else None
    if words is None:
        words = frozenset((await db.execute(_ASKED)).scalars())
        if isinstance(db, Batch):
            db.info[_LOOKED] = words
    return frozenset(type_ for type_ in types if wanted(type_, words)) if words else frozenset()


def telling(told: str) -> TextClause:
    """A statement that announces what the query `told` finds: rows of `nth`, which orders them, `type`, and
    `data` (jsonb). Its parameters `now` and `at` (the same as announcements write it) are there.

    Whom it is about is their `profile_id`, or the message where nobody has the address: who is erased takes
    it along.
    """
    return text(
        f"""
        with told as materialized ({told}),
        written as (
            insert into webhook_deliveries
                (workspace_id, webhook_id, event_type, about, body, created_at, due_at)
            select {HERE}, w.id, t.type,
                cast(coalesce(t.data ->> 'profile_id', t.data ->> 'message_id') as uuid),
                cast(jsonb_build_object(
                    'type', t.type, 'timestamp', cast(:at as text), 'data', t.data) as text),
                cast(:now as timestamptz), cast(:now as timestamptz)
            from told t
            join webhooks w on w.workspace_id = {HERE} and w.state = 'enabled'
                and w.event_types && array[t.type, split_part(t.type, '.', 1) || '.*', '*']
            order by t.nth
            returning workspace_id
        )
        select workspace_id, count(*) as n from written group by workspace_id
        """
    )


async def tell(db: Db, statement: TextClause, now: datetime, values: Mapping[str, Any] | None = None) -> int:
    """Execute such a statement, and have what it wrote delivered. Returns how many deliveries those are."""
    found = [*await db.execute(statement, {**(values or {}), "now": now, "at": written(now)})]
    for workspace_id, _ in found:
        announcing.deliver(db, workspace_id)
    return sum(n for _, n in found)


def texts(types: Iterable[AnnouncementType]) -> list[str]:
    return [type_.value for type_ in types]


def instant(expression: str) -> str:
    """A time as announcements write it."""
    return f"""to_char(({expression}) at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def cut(json: str) -> str:
    """A JSON object of somebody else's (an expression), of which little is kept where it is large."""
    return f"""
        case when octet_length(cast({json} as text)) <= {WHOLE} then {json} else (
            select coalesce(jsonb_object_agg(few.key, few.value), '{{}}') from (
                select e.key, e.value from jsonb_each({json}) e
                where octet_length(cast(e.value as text)) <= {KEPT_VALUE}
                    and octet_length(e.key) <= {_LONGEST_NAME}
                order by e.key limit {KEPT_NAMES}
            ) few
        ) end
    """


def is_cut(json: str) -> str:
    return f"octet_length(cast({json} as text)) > {WHOLE}"


def who(profile: str) -> str:
    """Joins the person whom a profile (an expression) is by now, as `who.id`, and their `user.id`, your own
    id. Nobody, where there is no profile."""
    return f"""
        left join lateral (
            select case when p.merged_into is null then p.id else p.merged_into end as id from profiles p
            where p.workspace_id = {HERE} and p.id = {profile} limit 1
        ) who on true
        left join lateral ({name_of("who.id", "user_id")}) yours on true
    """


def name_of(profile: str, kind: str) -> str:
    """The primary name of this kind, as `value`."""
    return f"""
        select i.value from identities i
        where i.workspace_id = {HERE} and i.profile_id = {profile} and i.kind = '{kind}' and i.is_primary
        limit 1
    """
