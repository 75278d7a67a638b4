"""Twelve segments that shops ask for, as rules, and each as a good engineer would write it for this schema.

By hand they are asked behind the same wall, and give the ids of the same people. What a merged profile did
counts for the one that it was merged into; whoever writes by hand knows besides that orders, identities and
lists have moved there, and that hot values are nobody else's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bench.segments_rows import ZONE, list_id

Json = dict[str, Any]


@dataclass(frozen=True)
class Question:
    name: str
    rule: Json
    by_hand: str  # SQL that answers with ids of profiles, each once.


def attribute(name: str, op: str, value: Any) -> Json:
    return {"kind": "attribute", "name": name, "op": op, "value": value}


def orders(measure: str, op: str, value: Any, **more: Any) -> Json:
    return {"kind": "orders", "measure": measure, "op": op, "value": value, "currency": "USD", **more}


def since(days: int) -> Json:
    return {"after": f"{days} days ago"}


# Who it is now, of a row `x` with a profile's id: the one it was merged into, or itself. No event came in
# before it occurred, so the time that it came in says which months need not be read.
_ALIASES = "left join profiles a on a.id = x.profile_id and a.merged_into is not null"
_WHO = "coalesce(a.merged_into, x.profile_id)"

QUESTIONS = (
    Question(
        "on the pro plan",
        attribute("plan", "is", "pro"),
        "select profile_id from profile_values where attribute = 'plan' and text = 'pro'",
    ),
    Question(
        "high score in three countries",
        {"all": [attribute("country", "in", ["DE", "AT", "CH"]), attribute("score", ">", 80)]},
        """
        select s.profile_id from profile_values s join profile_values c on c.profile_id = s.profile_id
        where s.attribute = 'score' and s.number > 80
            and c.attribute = 'country' and c.text in ('DE', 'AT', 'CH')
        """,
    ),
    Question(
        "city begins with Ber",
        attribute("city", "starts with", "Ber"),
        """
        select id from profiles
        where merged_into is null and erased_at is null and starts_with(attributes ->> 'city', 'Ber')
        """,
    ),
    Question(
        "spent 100, then quiet",
        {"all": [orders("total", ">=", 100), orders("last", "before", "180 days ago")]},
        """
        select profile_id from order_rollups
        where currency = 'USD' and total >= 100 and last_at < :days_180
        """,
    ),
    Question(
        "two orders in 30 days",
        orders("count", ">=", 2, window=since(30)),
        """
        select profile_id from orders
        where currency = 'USD' and status <> 'cancelled' and ordered_at >= :days_30
        group by profile_id having count(*) >= 2
        """,
    ),
    Question(
        "big or good baskets",
        {"any": [orders("largest", ">=", 500), orders("average", ">=", 150)]},
        """
        select profile_id from order_rollups
        where currency = 'USD' and (largest >= 500 or total >= 150 * count)
        """,
    ),
    Question(
        "looked and did not buy",
        {
            "all": [
                {"kind": "event", "name": "product viewed", "value": 3, "window": since(30)},
                orders("count", "is", 0, window=since(30)),
            ]
        },
        f"""
        select looked.id from (
            select {_WHO} as id from events x {_ALIASES}
            where x.name = 'product viewed' and x.occurred_at >= :days_30 and x.received_at >= :days_30
            group by 1 having count(*) >= 3
        ) looked
        where not exists (
            select from orders o where o.profile_id = looked.id
                and o.currency = 'USD' and o.status <> 'cancelled' and o.ordered_at >= :days_30
        )
        """,
    ),
    Question(
        "looked at dear shoes",
        {
            "kind": "event",
            "name": "product viewed",
            "window": since(90),
            "where": [
                {"kind": "property", "name": "category", "op": "is", "value": "shoes"},
                {"kind": "property", "name": "price", "op": ">", "value": 50},
            ],
        },
        f"""
        select distinct {_WHO} from (
            select distinct profile_id from events
            where name = 'product viewed' and occurred_at >= :days_90 and received_at >= :days_90
                and properties ->> 'category' = 'shoes' and (properties ->> 'price')::numeric > 50
        ) x {_ALIASES}
        """,
    ),
    Question(
        "viewed, then in the cart",
        {
            "kind": "sequence",
            "window": since(60),
            "steps": [{"name": "product viewed"}, {"name": "added to cart", "within": "3 days"}],
        },
        f"""
        with done as not materialized (
            select {_WHO} as id, x.name, x.occurred_at from events x {_ALIASES}
            where x.occurred_at >= :days_60 and x.received_at >= :days_60
        )
        select distinct added.id from done added where added.name = 'added to cart' and exists (
            select from done viewed where viewed.name = 'product viewed' and viewed.id = added.id
                and viewed.occurred_at < added.occurred_at
                and viewed.occurred_at >= added.occurred_at - interval '72 hours'
        )
        """,
    ),
    Question(
        "can be written to",
        {
            "all": [
                {"kind": "list", "list_id": list_id("Newsletter")},
                {"kind": "consent", "purpose": "email", "state": "granted"},
                {"not": {"kind": "suppressed", "channel": "email"}},
            ]
        },
        # Addresses are told apart by their hashes where an erasure took them away.
        f"""
        with stopped as (
            select address, address_hash from suppressions where channel = 'email' and ended_at is null
        ), gone as materialized (
            select i.profile_id from stopped s
            join identities i on i.kind = 'email' and i.is_primary and i.value = s.address
            union all
            select i.profile_id from stopped s join identities i on i.kind = 'email' and i.is_primary
                and s.address is null and s.address_hash = sha256(convert_to(i.value, 'UTF8'))
        )
        select m.profile_id from list_members m join consents c on c.profile_id = m.profile_id
        where m.list_id = '{list_id("Newsletter")}' and m.state = 'member'
            and c.purpose = 'email' and c.state = 'granted' and c.ended_at is null
            and not exists (select from gone where gone.profile_id = m.profile_id)
        """,
    ),
    Question(
        "written to, and opened nothing",
        {
            "all": [
                {"kind": "messages", "did": "received", "window": since(60)},
                {"kind": "messages", "did": "opened", "op": "is", "value": 0, "window": since(60)},
            ]
        },
        f"""
        select {_WHO} from messages x {_ALIASES}
        where x.closed_at >= :days_60 or x.opened_at >= :days_60
        group by 1
        having count(*) filter (where x.state = 'accepted' and x.closed_at >= :days_60) >= 1
            and count(*) filter (where x.opened_at >= :days_60) = 0
        """,
    ),
    Question(
        "birthday soon, or some of gold",
        {
            "all": [
                {"not": attribute("vip", "is", True)},
                {
                    "any": [
                        attribute("birthday", "anniversary in", 3),
                        {"all": [attribute("plan", "is", "gold"), {"kind": "share", "percent": 10}]},
                    ]
                },
            ]
        },
        # In three days it is 18 March in most places, and nobody's 29 February comes round.
        f"""
        select p.id from profiles p join (
            select id from profiles
            where substr(attributes ->> 'birthday', 6, 5) in ('03-17', '03-18', '03-19')
                and substr(attributes ->> 'birthday', 6, 5)
                    = to_char((cast(:now as timestamptz) at time zone coalesce(time_zone, '{ZONE}'))
                        + interval '3 days', 'MM-DD')
            union
            select profile_id from profile_values where attribute = 'plan' and text = 'gold'
                and ('x' || left(md5(profile_id::text), 8))::bit(32)::bigint < {round(2**32 / 10)}
        ) few using (id)
        where p.merged_into is null and p.erased_at is null
            and lower(coalesce(p.attributes ->> 'vip', '')) <> 'true'
        """,
    ),
)


def moments(now: datetime) -> Mapping[str, datetime]:
    """What the SQL by hand is given."""
    return {"now": now} | {f"days_{days}": now - timedelta(days=days) for days in (30, 60, 90, 180)}


def values(question: Question, now: datetime) -> dict[str, datetime]:
    """Those that this question names."""
    return {name: at for name, at in moments(now).items() if f":{name}" in question.by_hand}
