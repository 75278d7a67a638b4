"""The statements that make up the shop of `bench/segments_people.py`: who is there, and what they did.

Each row is worked out from its number: chance is a hash of it, and an id or an address is arithmetic, so that
tables name one another's rows without a join. A tenth of the people do a third of everything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate

from domain.workspaces import DEFAULT_WORKSPACE

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
ZONE, CURRENCY = "Europe/Berlin", "USD"  # The workspace's.
DAYS = 400  # Of events.
YEARS = 1095  # Days of orders, and of profiles.


@dataclass(frozen=True)
class Size:
    people: int
    events: int
    orders: int
    messages: int

    @property
    def database(self) -> str:
        return f"segments_{self.people}"


def shares(told: str) -> dict[str, float]:
    """Words and what share of all is each one's, told in percent."""
    parts = (each.strip().rpartition(" ") for each in told.split(","))
    return {word: float(percent) / 100 for word, _, percent in parts}


PLANS = shares("free 60, basic 25, pro 10, gold 5")
COUNTRIES = shares("US 30, DE 15, GB 12, FR 10, IT 7, ES 6, NL 5, PL 5, SE 4, AT 3, CH 2, BR 1")
CITIES = shares(
    "New York 12, London 10, Springfield 10, Berlin 8, Paris 8, Chicago 6, Hamburg 5, Rome 5, Madrid 5, "
    "Boston 5, Amsterdam 4, Warsaw 4, Leeds 4, Lyon 4, Stockholm 3, Vienna 3, Bern 2, Bergamo 2"
)
ZONES = shares(
    "Europe/Berlin 20, America/New_York 20, Europe/London 10, America/Los_Angeles 10, America/Sao_Paulo 5, "
    "Asia/Tokyo 5, unknown 30"
)
INTERESTS = shares("jazz 20, rock 20, soul 10, folk 10, funk 10, blues 10, house 10, opera 10")
CATEGORIES = shares("vinyl 35, shoes 15, books 15, shirts 10, turntables 8, posters 7, bags 6, tickets 4")
NAMES = shares(
    "page viewed 35, product viewed 25, product searched 10, added to cart 8, category viewed 6, "
    "order placed 5, checkout started 3, link followed 2, review read 1.5, wish listed 1.2, "
    "coupon used 0.9, app opened 0.7, shop located 0.5, letter wanted 0.4, review written 0.3, "
    "gift card bought 0.2, help asked for 0.15, "
    "friend invited 0.08, survey answered 0.04, return sent 0.03"
)
LISTS = shares("Newsletter 30, Spring sale 15, Record fair 8, Wholesale 3, Press 0.5")
TAGS = shares("friend 5, wholesale 2, press 1, band 0.5")
MAILS = shares("accepted 96, failed 2, skipped 2")
ORDERS = shares("placed 93, refunded 5, cancelled 2")
CAMPAIGNS = (10, 25, 45, 80, 120)  # Days ago.

_DAY = 86_400_000  # Milliseconds, in which all moments are counted.
_NOW = int(NOW.timestamp()) * 1000
HERE = f"'{DEFAULT_WORKSPACE}'::uuid"


def pick(chance: str, shares: Mapping[str, float]) -> str:
    """SQL that chooses among the words by their shares, which add up to one, as `chance` has it."""
    words = ", ".join(f"'{word}'" for word in shares)
    ends = ", ".join(f"{end:.6f}" for end in accumulate(shares.values()))
    return f"(array[{words}])[least(width_bucket({chance}, array[{ends}]::float8[]) + 1, {len(shares)})]"


def words(size: Size) -> list[str]:
    """Functions of a schema of their own, that make a number of a row into whatever it needs."""
    return [
        "create schema made_up",
        """
        create function made_up.chance(n bigint, about bigint) returns float8 immutable parallel safe
        return (hashint8extended(n, about) & 9007199254740991) / 9007199254740992.0::float8
        """,
        (
            "create function made_up.at(ms bigint) returns timestamptz immutable parallel safe "
            "return to_timestamp(ms / 1000.0::float8)"
        ),
        # A UUIDv7 of that millisecond, which counts upwards with n.
        """
        create function made_up.id(ms bigint, n bigint, about bigint) returns uuid immutable parallel safe
        return (lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(about), 3, '0') || '8'
            || lpad(to_hex(n), 15, '0'))::uuid
        """,
        f"""
        create function made_up.born(n bigint) returns bigint immutable parallel safe
        return {_NOW - (YEARS + 5) * _DAY} + n * {YEARS * _DAY // size.people}
        """,
        """
        create function made_up.person(n bigint) returns uuid immutable parallel safe
        return made_up.id(made_up.born(n), n, 1)
        """,
        # Of those who do things: few do most, and not those who came first.
        f"""
        create function made_up.somebody(n bigint, about bigint) returns bigint immutable parallel safe
        return 1 + (floor({size.people} * made_up.chance(n, about) ^ 2)::bigint * 7919 + 13) % {size.people}
        """,
        (
            "create function made_up.is_alias(n bigint) returns boolean immutable parallel safe "
            "return n % 100 = 37"
        ),
        (
            "create function made_up.survivor(n bigint) returns bigint immutable parallel safe "
            "return n - made_up.is_alias(n)::int"
        ),
    ]


def statements(size: Size) -> list[str]:
    return [*words(size), *events(size), *others(size)]


def others(size: Size) -> list[str]:
    """All but the events, which are as much work as everything else."""
    return [*people(size), *orders(size), *messages(size)]


def people(size: Size) -> list[str]:
    chance = "made_up.chance(n, {})".format
    return [
        (
            f"update workspaces set time_zone = '{ZONE}', currency = '{CURRENCY}', sender_name = 'The Shop', "
            "sender_email = 'news@shop.example', sending_email = 'news@shop.example', "
            f"postal_address = '1 High Street' where id = {HERE}"
        ),
        f"""
        insert into profiles (workspace_id, id, attributes, attributes_at, time_zone, locale, country,
            merged_into, created_at, updated_at)
        select {HERE}, made_up.person(n), jsonb_strip_nulls(jsonb_build_object(
                'first_name', 'Customer ' || n,
                'plan', {pick(chance(1), PLANS)},
                'country', {pick(chance(2), COUNTRIES)},
                'city', case when {chance(3)} < 0.9 then {pick(chance(4), CITIES)} end,
                'score', floor(101 * {chance(5)})::int,
                'vip', {chance(6)} < 0.02,
                'age', case when {chance(7)} < 0.7 then (date '2026-03-15' - birthday) / 365 end,
                'birthday', case when {chance(7)} < 0.7 then birthday::text end,
                'signed_up_on', (made_up.at(made_up.born(n)) at time zone 'UTC')::date::text,
                'interests', jsonb_build_array({pick(chance(8), INTERESTS)}, {pick(chance(9), INTERESTS)}))),
            made_up.at(made_up.born(n)), nullif({pick(chance(10), ZONES)}, 'unknown'), 'en',
            {pick(chance(2), COUNTRIES)},
            case when made_up.is_alias(n) then made_up.person(made_up.survivor(n)) end,
            made_up.at(made_up.born(n)), made_up.at(made_up.born(n))
        from generate_series(1, {size.people}::bigint) n
        cross join lateral (select date '1942-01-01' + floor({chance(11)} * 24000)::int) b (birthday)
        """,
        *(
            f"""
            insert into identities (workspace_id, kind, value, profile_id, is_primary)
            select {HERE}, '{kind}', {value}, made_up.person(made_up.survivor(n)), not made_up.is_alias(n)
            from generate_series(1, {size.people}::bigint) n where {chance(about)} < {share} order by 3
            """
            for kind, value, about, share in (
                ("email", "'p' || n || '@example.com'", 12, 1),
                ("phone", "'+1555' || lpad(n::text, 7, '0')", 13, 0.4),
                ("user_id", "'u' || n", 14, 0.5),
            )
        ),
        f"""
        insert into consents (workspace_id, id, profile_id, purpose, state, source, at)
        select {HERE}, made_up.id(made_up.born(n), n, about), made_up.person(n), purpose,
            case when made_up.chance(n, about) < granted then 'granted' else 'denied' end, 'import',
            made_up.at(made_up.born(n))
        from generate_series(1, {size.people}::bigint) n
        cross join (values ('email', 30, 0.7, 0.82), ('tracking', 31, 0.6, 0.75), ('sms', 32, 0.2, 0.25))
            p (purpose, about, granted, known)
        where not made_up.is_alias(n) and made_up.chance(n, about) < known
        """,
        f"""
        insert into suppressions (workspace_id, id, channel, address_hash, address, reason, source, at)
        select {HERE}, made_up.id(made_up.born(n), n, 40), 'email', sha256(convert_to(email, 'UTF8')), email,
            case when n % 3 = 0 then 'hard bounce' else 'unsubscribed' end, 'import',
            made_up.at(made_up.born(n))
        from generate_series(1, {size.people}::bigint) n
        cross join lateral (select 'p' || n || '@example.com') e (email)
        where made_up.chance(n, 40) < 0.03
        """,
        *(
            statement
            for number, (name, share) in enumerate(LISTS.items(), 50)
            for statement in (
                f"insert into lists (workspace_id, id, name) values ({HERE}, '{list_id(name)}', '{name}')",
                f"""
                insert into list_members (workspace_id, list_id, profile_id, state, source, at)
                select {HERE}, '{list_id(name)}', made_up.person(n),
                    case when n % 20 = 0 then 'left' when n % 20 = 1 then 'pending' else 'member' end,
                    'import', made_up.at(made_up.born(n))
                from generate_series(1, {size.people}::bigint) n
                where not made_up.is_alias(n) and {chance(number)} < {share}
                """,
            )
        ),
        *(
            f"""
            insert into profile_tags (workspace_id, profile_id, tag, at)
            select {HERE}, made_up.person(n), '{tag}', made_up.at(made_up.born(n))
            from generate_series(1, {size.people}::bigint) n
            where not made_up.is_alias(n) and {chance(number)} < {share}
            """
            for number, (tag, share) in enumerate(TAGS.items(), 60)
        ),
    ]


def list_id(name: str) -> str:
    return f"01900000-0000-7000-8000-{[*LISTS].index(name):012x}"


def events(size: Size) -> list[str]:
    sessions = size.events // 5
    start = f"{_NOW - DAYS * _DAY} + session * {(DAYS * _DAY - 3_600_000) // sessions}"
    return [
        f"""
        insert into events (workspace_id, id, received_at, profile_id, kind, name, occurred_at, properties)
        select {HERE}, made_up.id(ms, n, 2), made_up.at(ms), made_up.person(made_up.somebody(session, 70)),
            case name when 'page viewed' then 'page' when 'order placed' then 'system' else 'track' end, name,
            made_up.at(ms), jsonb_build_object(
                'category', {pick("made_up.chance(n, 72)", CATEGORIES)},
                'price', round((2 + 198 * made_up.chance(n, 73) ^ 2)::numeric, 2),
                'sku', 'LP-' || 1 + floor(5000 * made_up.chance(n, 74) ^ 3)::int,
                'device', case when made_up.chance(session, 75) < 0.6 then 'phone' else 'desktop' end)
        from generate_series(0, {size.events - 1}::bigint) n
        cross join lateral (select n / 5) s (session)
        cross join lateral (
            select {start} + n % 5 * 60000 + floor(50000 * made_up.chance(n, 76))::bigint,
                {pick("made_up.chance(n, 71)", NAMES)}
        ) e (ms, name)
        """
    ]


def orders(size: Size) -> list[str]:
    return [
        # Who buys in EUR does so mostly.
        f"""
        insert into orders (workspace_id, id, key, profile_id, ordered_at, quantity, total, currency, source,
            status, refunded, lines, created_at)
        select {HERE}, made_up.id(ms, n, 3), 'order-' || n, made_up.person(buyer), made_up.at(ms), pieces,
            total, case when (made_up.chance(buyer, 81) < 0.2) = (made_up.chance(n, 82) < 0.95)
                then 'EUR' else 'USD' end,
            'api', status, case when status <> 'refunded' then 0 when n % 2 = 0 then total
                else round(total / 2, 2) end,
            case when n % 10 < 3 then (
                select jsonb_agg(jsonb_build_object('sku',
                    'LP-' || 1 + floor(5000 * made_up.chance(n * 10 + line, 84) ^ 3)::int, 'quantity', 1))
                from generate_series(1, pieces) line
            ) end, made_up.at(ms)
        from generate_series(0, {size.orders - 1}::bigint) n
        cross join lateral (
            select {_NOW - YEARS * _DAY} + n * {(YEARS * _DAY - 3_600_000) // size.orders},
                made_up.survivor(made_up.somebody(n, 80)), 1 + floor(3 * made_up.chance(n, 83))::int,
                round((10 + 600 * made_up.chance(n, 85) ^ 4)::numeric, 2),
                {pick("made_up.chance(n, 86)", ORDERS)}
        ) o (ms, buyer, pieces, total, status)
        """,
        f"""
        insert into order_rollups (workspace_id, profile_id, currency, total, count, largest, first_at,
            last_at)
        select {HERE}, profile_id, currency, sum(total - refunded), count(*), max(total - refunded),
            min(ordered_at), max(ordered_at)
        from orders where status <> 'cancelled' group by profile_id, currency
        """,
    ]


def campaign_id(nth: int) -> str:
    return f"01900000-0000-7000-8001-{nth:012x}"


def messages(size: Size) -> list[str]:
    segment, template, version = (f"01900000-0000-7000-8002-{n:012x}" for n in range(3))
    each = size.messages // len(CAMPAIGNS)
    made = [
        f"""
        insert into segments (workspace_id, id, name, rule, materialized_at)
        values ({HERE}, '{segment}', 'Nobody', '{{"any": []}}', now())
        """,
        f"insert into templates (workspace_id, id, name) values ({HERE}, '{template}', 'Letter')",
        f"""
        insert into template_versions (workspace_id, id, template_id, number, subject, html)
        values ({HERE}, '{version}', '{template}', 1, 'News', '<p>News</p>')
        """,
    ]
    for nth, ago in enumerate(CAMPAIGNS):
        it, sent = campaign_id(nth), _NOW - ago * _DAY
        made += [
            f"""
            insert into campaigns (workspace_id, id, name, slug, state, segment_id, template_id) values
                ({HERE}, '{it}', 'Campaign {nth}', 'campaign-{nth}', 'completed', '{segment}', '{template}')
            """,
            f"""
            insert into messages (workspace_id, id, queue_id, source_id, occasion, template_version_id,
                due_at, created_at, attempts, state, source_kind, step, channel, class, profile_id, address,
                claimed_at, marked_at, closed_at, reason, fate, tracked, opened_at, clicked_at)
            select {HERE}, made_up.id({sent} + k / 10, k, {100 + nth}), '{it}', '{it}', '{it}', '{version}',
                made_up.at({sent}), made_up.at({sent}), 1, state, 'campaign', 'send', 'email', 'marketing',
                made_up.person(n), 'p' || n || '@example.com', done, done, done,
                case state when 'skipped' then 'no consent' when 'failed' then '550 no such user' end,
                case when state <> 'accepted' then null when read < 0.01 then 'hard bounce'
                    else 'delivered' end, true,
                case when state = 'accepted' and read > 0.65 then done + interval '1 day' * (1 - read) end,
                case when state = 'accepted' and read > 0.92 then done + interval '2 days' * (1 - read) end
            from generate_series(1, {each}::bigint) k
            cross join lateral (
                select 1 + (k * 31 + {nth * 97}) % {size.people}, made_up.at({sent} + k / 10),
                    made_up.chance(k, {110 + nth}),
                    {pick(f"made_up.chance(k, {120 + nth})", MAILS)}
            ) m (n, done, read, state)
            where not made_up.is_alias(n)
            """,
        ]
    return made
