"""The tracking API: each call and each answer, and what is in the inbox afterwards."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text

from api.ingest.refusals import LONGEST
from domain.roles import KeyKind, Permission
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.api.sending import ADA, a_key, arrivals, close, let_postgresql_refuse, refusals, refused, served
from tests.databases import Database
from tests.people import NOON

ONE = {"accepted": 1, "refused": []}


@pytest.fixture
async def site(sessions: Sessions) -> AsyncIterator[AsyncClient]:
    """A client with a public key."""
    async with served(sessions, await a_key(sessions)) as (client, _, _):
        yield client


@pytest.fixture
async def server(sessions: Sessions) -> AsyncIterator[AsyncClient]:
    """A client with a secret key."""
    async with served(sessions, await a_key(sessions, KeyKind.SECRET)) as (client, _, _):
        yield client


async def test_a_track_is_stored_as_it_was_sent(site: AsyncClient, database: Database) -> None:
    answer = await site.post(
        "/track",
        json={
            "email": "Ada+Shop@SHOP.example",
            "userId": 17,
            "anonymousId": " a-1 ",
            "phone": "+1 (415) 555-0123",
            "name": "Product Viewed",
            "properties": {"sku": "A1", "price": 12.5, "größe": ["m", None, True]},
            "messageId": "m-1",
            "timestamp": "2026-03-01T11:00:00Z",
            "context": {"page": {"path": "/pricing"}},
            "unknown": {"is": ["passed over"]},
        },
    )
    assert (answer.status_code, answer.json()) == (202, ONE)
    columns = (
        "workspace_id, received_at, kind, trusted, historical, message_id, occurred_at, name, email, phone, "
    )
    [found] = arrivals(database, columns + "user_id, anonymous_id, properties, context, consents")
    assert found == (
        DEFAULT_WORKSPACE,
        NOON,
        "track",
        False,
        False,
        "m-1",
        NOON - timedelta(hours=1),
        "Product Viewed",
        "ada+shop@shop.example",
        "+14155550123",
        "17",
        "a-1",
        {"sku": "A1", "price": 12.5, "größe": ["m", None, True]},
        {"page": {"path": "/pricing"}},
        None,
    )


@pytest.mark.parametrize(
    ("path", "body", "stored"),
    [
        ("/track", {**ADA, "name": "x"}, ("track", "x", {}, None, "ada@shop.example")),
        ("/track", {**ADA, "event": "x", "name": None}, ("track", "x", {}, None, "ada@shop.example")),
        ("/page", {"anonymous_id": "a"}, ("page", "page viewed", {}, None, None)),
        (
            "/page",
            {**ADA, "name": "Pricing", "category": "Docs", "properties": {"path": "/p", "name": "other"}},
            (
                "page",
                "page viewed",
                {"path": "/p", "name": "Pricing", "category": "Docs"},
                None,
                "ada@shop.example",
            ),
        ),
        (
            "/group",
            {**ADA, "groupId": 5, "traits": {"plan": "big"}},
            ("group", "group joined", {"group_id": "5", "traits": {"plan": "big"}}, None, "ada@shop.example"),
        ),
        ("/alias", {"userId": "u", "previousId": 9}, ("alias", None, {"previous_id": "9"}, "u", None)),
        (
            "/identify",
            {"traits": {"email": "ADA@shop.example", "userId": "u", "age": 36, "gone": None}},
            ("identify", None, {"age": 36, "gone": None}, "u", "ada@shop.example"),
        ),
        ("/identify", {"user_id": "u"}, ("identify", None, {}, "u", None)),
        (
            "/v1/screen",
            {"userId": "u", "name": "Home"},
            ("screen", "screen viewed", {"name": "Home"}, "u", None),
        ),
    ],
)
async def test_each_kind_of_call_is_stored_as_the_pump_reads_it(
    site: AsyncClient, database: Database, path: str, body: dict[str, Any], stored: tuple[object, ...]
) -> None:
    answer = await site.post(path, json=body)
    assert answer.json()["accepted"] == 1, answer.text
    assert arrivals(database, "kind, name, properties, user_id, email") == [stored]


async def test_the_good_events_of_a_batch_are_kept_and_the_others_named(
    site: AsyncClient, database: Database, sessions: Sessions
) -> None:
    answer = await site.post(
        "/track/batch",
        json={
            "events": [
                {**ADA, "name": "one"},
                {**ADA, "properties": {}},
                {"name": "nobody"},
                {**ADA, "type": "identify", "traits": {"age": 36}},
                {**ADA, "name": "two", "properties": []},
                {"email": "no address", "name": "x"},
                7,
                {**ADA, "type": "order"},
                {**ADA, "name": "three"},
            ]
        },
    )
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 3
    assert refused(answer, 202) == [
        (1, "/events/1/name"),
        (2, "/events/2/email"),
        (4, "/events/4/properties"),
        (5, "/events/5/email"),
        (6, "/events/6"),
        (7, "/events/7/type"),
    ]
    assert answer.json()["refused"][2]["detail"] == "Send an object here, not a list."
    assert arrivals(database, "kind, name") == [("track", "one"), ("identify", None), ("track", "three")]


async def test_a_batch_of_which_nothing_is_good_is_a_problem(site: AsyncClient, database: Database) -> None:
    answer = await site.post("/track/batch", json={"events": [{"name": "x"}, {**ADA, "name": " "}]})
    assert refused(answer, 422) == [(0, "/events/0/email"), (1, "/events/1/name")]
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["type"], body["accepted"]) == ("urn:campanile:problem:invalid", 0)
    assert body["errors"][0]["pointer"] == "/events/0/email"
    assert "(and 1 more)" in body["detail"]
    assert arrivals(database) == []


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 400, "no valid JSON"),
        (b"{", 400, "no valid JSON"),
        (b'{"email": "ada@shop.example", "name": "\xff"}', 400, "UTF-8"),
        (b"NaN", 400, "no valid JSON"),
        (b"[]", 422, "Send an object here, not a list."),
        (b'{"email": "ada@shop.example", "na', 400, "cut off after 33 bytes"),
        (b'{"email": 5, "name": "x"}', 422, "email: Send a text here, not a number."),
        (b'{"email": "ada@shop.example", "properties": {"a": [1e999]}}', 422, "properties.a.0: A number"),
        (b'{"email": "ada@shop.example", "name": "\\ud800"}', 422, "half a character"),
        (b'{"email": "ada@shop.example", "name": "x", "properties": {"a": 1e999}}', 422, "double"),
    ],
)
async def test_a_body_that_holds_no_call_is_refused_in_words(
    site: AsyncClient, content: bytes, status: int, words: str
) -> None:
    answer = await site.post("/track", content=content)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]


async def test_an_empty_batch_and_one_without_a_list_are_refused(site: AsyncClient) -> None:
    empty = await site.post("/track/batch", json={"events": []})
    assert refused(empty) == [(0, "/events")]
    assert empty.json()["detail"].startswith("events: There is no event in it")
    assert refused(await site.post("/v1/batch", json={"batch": []})) == [(0, "/batch")]
    assert refused(await site.post("/track/batch", json={})) == [(0, "/events")]
    assert refused(await site.post("/track/batch", json={"events": {}})) == [(0, "/events")]


async def test_a_body_of_one_call_may_have_64_kilobytes_and_a_batch_2_megabytes_and_1000_events(
    site: AsyncClient, database: Database
) -> None:
    def call(padding: int) -> str:
        return json.dumps({**ADA, "name": "x", "unknown": "x" * padding})

    assert (await site.post("/track", content=call(65_000))).status_code == 202
    assert (await site.post("/track", content=call(66_000))).status_code == 413
    batch = f'{{"events": [{call(1_999_000)}]}}'
    assert (await site.post("/track/batch", content=batch)).status_code == 202
    assert (await site.post("/track/batch", content=batch + 2_000 * " ")).status_code == 413
    events = [{**ADA, "name": "x"}] * 1_001
    assert (await site.post("/track/batch", json={"events": events})).status_code == 413
    assert (await site.post("/track/batch", json={"events": events[1:]})).json()["accepted"] == 1_000
    assert len(arrivals(database)) == 1_002


async def test_the_events_of_a_batch_keep_their_order(site: AsyncClient, database: Database) -> None:
    names = [f"n{n}" for n in range(500)]
    await site.post("/track/batch", json={"events": [{**ADA, "name": name} for name in names]})
    assert arrivals(database, "name") == names


async def test_who_sends_no_key_or_an_unknown_one_is_not_heard(
    sessions: Sessions, database: Database
) -> None:
    body = {**ADA, "name": "x"}
    unknown = "pk_" + 43 * "x"
    async with served(sessions) as (client, _, _):
        for headers, said in (
            ({}, body),
            ({"Authorization": f"Bearer {unknown}"}, body),
            ({"Authorization": "Bearer "}, body),
            ({"Authorization": "Basic ???"}, body),
            ({"Authorization": "Digest x"}, body),
            ({}, {**body, "key": unknown}),
            ({}, {**body, "writeKey": "nonsense"}),
        ):
            answer = await client.post("/track", json=said, headers=headers)
            assert answer.status_code == 401, (headers, said)
            assert answer.headers["www-authenticate"] == "Bearer"
    assert arrivals(database) == []


async def test_a_key_comes_by_bearer_by_basic_or_in_the_body(sessions: Sessions, database: Database) -> None:
    key = await a_key(sessions)
    async with served(sessions) as (client, _, _):
        for path, body, rest in (
            ("/track", {}, {"headers": {"Authorization": f"bearer {key}"}}),
            ("/track", {}, {"auth": (key, "")}),
            ("/track", {"key": key}, {}),
            ("/track", {"writeKey": key}, {}),
        ):
            answer = await client.post(path, json={**ADA, "name": "x", **body}, **rest)
            assert answer.status_code == 202, answer.text
        for name in ("key", "writeKey"):
            events = [{**ADA, "name": "x"}]
            answer = await client.post("/track/batch", json={"events": events, name: key})
            assert answer.status_code == 202
        beacon = json.dumps({"events": events, "key": key})
        answer = await client.post("/track/batch", content=beacon, headers={"Content-Type": "text/plain"})
        assert answer.status_code == 202
    assert len(arrivals(database)) == 7


async def test_a_key_that_may_not_send_events_is_told_so(sessions: Sessions) -> None:
    key = await a_key(sessions, KeyKind.SECRET, Permission.PROFILES_READ)
    async with served(sessions, key) as (client, _, _):
        answer = await client.post("/track", json={**ADA, "name": "x"})
        assert (answer.status_code, "events:write" in answer.json()["detail"]) == (403, True)


async def test_a_revoked_key_works_no_more(sessions: Sessions) -> None:
    key = await a_key(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update keys set revoked_at = now() where name = 'Of a test'"))
    async with served(sessions, key) as (client, _, _):
        assert (await client.post("/track", json={**ADA, "name": "x"})).status_code == 401


async def test_a_key_that_ended_is_not_remembered_beyond_its_end(sessions: Sessions) -> None:
    key = await a_key(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        end = NOON + timedelta(seconds=1)
        await db.execute(text("update keys set expires_at = :end where name = 'Of a test'"), {"end": end})
    async with served(sessions, key) as (client, clock, _):
        assert (await client.post("/track", json={**ADA, "name": "x"})).status_code == 202
        clock.move(timedelta(seconds=1))
        assert (await client.post("/track", json={**ADA, "name": "x"})).status_code == 401


async def test_the_use_of_a_key_is_noted(site: AsyncClient, sessions: Sessions) -> None:
    await site.post("/track", json={**ADA, "name": "x"})
    async with sessions(DEFAULT_WORKSPACE) as db:
        used = await db.scalar(text("select used_at from keys where name = 'Of a test'"))
    assert used == NOON


async def test_other_methods_and_addresses_are_told_what_there_is(site: AsyncClient) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        answer = await site.request(method, "/track")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await site.post("/v1/nothing", json={})).status_code == 404
    assert (await site.post("/track/batch/x", json={})).status_code == 404


async def test_more_than_the_allowance_is_429_until_the_minute_is_over(
    sessions: Sessions, database: Database
) -> None:
    async with served(sessions, await a_key(sessions), events_a_minute=10) as (client, clock, _):
        batch = {"events": 4 * [{**ADA, "name": "x"}]}
        answers = [await client.post("/track/batch", json=batch) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert answers[2].headers["retry-after"] == "60"
        for status in (202, 202, 429):  # Two are left, for whoever asks for so few.
            assert (await client.post("/track", json={**ADA, "name": "x"})).status_code == status
        clock.move(timedelta(seconds=60))
        assert (await client.post("/track/batch", json=batch)).status_code == 202
    assert len(arrivals(database)) == 14


async def test_clocks_are_corrected_by_what_the_sender_calls_now(
    site: AsyncClient, database: Database
) -> None:
    def sent(seconds: int) -> str:
        return (NOON + timedelta(days=3, seconds=seconds)).isoformat()  # Its clock is days ahead.

    await site.post("/track", json={**ADA, "name": "x", "timestamp": sent(-60), "sentAt": sent(0)})
    events = [{**ADA, "name": "x", "timestamp": sent(-120)}, {**ADA, "name": "x"}]
    await site.post("/track/batch", json={"sentAt": sent(0), "events": events})
    await site.post(
        "/track", json={**ADA, "name": "x", "timestamp": sent(0)}
    )  # Who can tell? Not later than now.
    await site.post("/track", json={**ADA, "name": "x", "timestamp": sent(60), "sentAt": sent(0)})
    seconds = [round((NOON - each).total_seconds()) for each in arrivals(database, "occurred_at")]
    assert seconds == [60, 120, 0, 0, 0]


async def test_history_keeps_the_time_that_it_names(server: AsyncClient, database: Database) -> None:
    event = {**ADA, "name": "x", "timestamp": "1999-01-01T10:00:00+02:00"}
    assert (await server.post("/track", json={**event, "historical": True})).status_code == 202
    sent = {"sentAt": "2020-01-01T00:00:00Z"}
    assert (await server.post("/v1/import", json={"batch": [event], **sent})).status_code == 200
    assert (
        await server.post("/track/batch", json={"events": [event], "historical": True})
    ).status_code == 202
    rows = arrivals(database, "historical, trusted, occurred_at")
    assert {(row[0], row[1], row[2].isoformat()) for row in rows} == {
        (True, True, "1999-01-01T08:00:00+00:00")
    }


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"timestamp": "yesterday"}, "/timestamp"),
        ({"timestamp": "1969-12-31T23:59:59Z"}, "/timestamp"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "/timestamp"),
        ({"timestamp": 1_700_000_000}, "/timestamp"),
        ({"userId": 256 * "x"}, "/userId"),
        ({"anonymousId": "a\0"}, "/anonymousId"),
        ({"userId": True}, "/userId"),
        ({"phone": "555-0123"}, "/phone"),
        ({"phone": "+1415555"}, "/phone"),
        ({"messageId": 256 * "m"}, "/messageId"),
        ({"name": 201 * "n"}, "/name"),
        ({"name": "a\0b"}, "/name"),
        ({"name": "order placed"}, "/name"),
        ({"properties": {"a": {"b": "\0"}}}, "/properties/a/b"),
        ({"properties": {"a\0": 1}}, "/properties/a\\u0000"),
        ({"properties": {201 * "k": 1}}, "/properties/" + 200 * "k"),
        ({"properties": {"a/b": {101 * '"x': 1}}}, "/properties/a~1b/" + 100 * '"x'),
        ({"properties": {"a": 10**400}}, "/properties/a"),
        ({"properties": {"a": 33_000 * "x"}}, "/properties"),
        ({"context": {"a": 33_000 * "x"}}, "/context"),
        ({"context": "x"}, "/context"),
        ({"consent": {"email": "denied"}}, "/consent"),
        ({"historical": True}, "/historical"),
    ],
)
async def test_what_can_not_be_kept_is_refused_by_its_field(
    site: AsyncClient, database: Database, said: dict[str, Any], pointer: str
) -> None:
    answer = await site.post("/track", json={**ADA, "name": "x", **said})
    assert refused(answer) == [(0, pointer)]
    assert answer.json()["detail"].endswith(".")
    assert arrivals(database) == []


async def test_what_is_nested_20_levels_is_kept_and_no_more(site: AsyncClient, database: Database) -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for _ in range(levels - 1):
            value = {"a": value}
        return {**ADA, "name": "x", "properties": value}

    assert (await site.post("/track", json=nested(20))).status_code == 202
    assert refused(await site.post("/track", json=nested(21))) == [(0, "/properties" + 20 * "/a")]
    wide = {**ADA, "name": "x", "properties": {"all": [{"n": n} for n in range(100)], "text": "{" * 100}}
    assert (await site.post("/track", json=wide)).status_code == 202
    assert len(arrivals(database)) == 2


async def test_a_trait_that_is_no_name_is_left_out_and_noted(sessions: Sessions, database: Database) -> None:
    async with served(sessions, await a_key(sessions)) as (site, _, _):
        traits = {"email": "n/a", "phone": 5, "age": 36}
        assert (await site.post("/identify", json={"userId": "u", "traits": traits})).status_code == 202
        answer = await site.post("/identify", json={"traits": {"email": "n/a"}})
        assert refused(answer) == [(0, "/traits/email")]
        await site.post("/identify", json={**ADA, "traits": {"email": "other@shop.example"}})
    assert arrivals(database, "user_id, email, phone, properties") == [
        ("u", None, None, {"age": 36}),
        (None, "ada@shop.example", None, {}),
    ]
    assert await refusals(sessions) == [
        ("name", "identify", "/traits/email"),
        ("name", "identify", "/traits/phone"),
        ("request", "identify", "/traits/email"),
        ("name", "identify", "/traits/email"),
    ]


@pytest.mark.parametrize("spelt", [lambda key: key, lambda key: f"\\u00{ord(key[0]):x}{key[1:]}"])
async def test_a_refusal_never_keeps_the_key_that_a_body_holds(
    sessions: Sessions, spelt: Callable[[str], str]
) -> None:
    key = await a_key(sessions, KeyKind.SECRET)
    bad = f'{{"type": "track", "userId": "u", "event": "{key}", "messageId": "{key}", "timestamp": "{key}"}}'
    filler = " " * (LONGEST - 40)
    async with served(sessions) as (site, _, _):
        body = f'{{"writeKey": "{spelt(key)}", "batch": [{bad}]}}'
        assert refused(await site.post("/v1/batch", content=body))
        cut = f'{{{filler}"writeKey": "{spelt(key)}", "batch": [{bad}]}}'
        assert refused(await site.post("/v1/batch", content=cut))
    told = str(await refusals(sessions, "name, message_id, pointer, reason, body"))
    assert "sk_…" in told
    assert key[3:11] not in told


async def test_what_was_refused_is_written_down_a_few_times_a_second(
    sessions: Sessions, database: Database
) -> None:
    async with served(sessions, await a_key(sessions)) as (site, _, _):
        await site.post("/track", json={"name": "no\0body", "messageId": "m-1"})
        await site.post("/track", content=b"{")
        await asyncio.gather(*(site.post("/track", json={"name": "nobody"}) for _ in range(50)))
    found = await refusals(sessions, "stage, kind, name, message_id, pointer, reason, body, at")
    assert len(found) == 20
    stage, kind, name, message_id, pointer, reason, body, at = found[0]
    assert (stage, kind, name, message_id, pointer) == ("request", "track", "no\\u0000body", "m-1", "/name")
    assert reason.startswith("This holds a NUL")
    assert "m-1" in body
    assert at == NOON
    assert found[1][5].startswith("This is no valid JSON")


async def test_a_neighbour_of_poison_keeps_its_place_in_the_commit(
    sessions: Sessions, database: Database
) -> None:
    let_postgresql_refuse(database, "poison")
    async with served(sessions, await a_key(sessions)) as (site, _, _):
        bodies = [{**ADA, "name": "poison" if n == 7 else f"n{n}"} for n in range(20)]
        batch = {"events": [{**ADA, "name": name} for name in ("first", "poison", "last")]}
        answers = await asyncio.gather(
            *(site.post("/track", json=body) for body in bodies), site.post("/track/batch", json=batch)
        )
    assert [answer.status_code for answer in answers] == [*(7 * [202]), 422, *(12 * [202]), 202]
    assert refused(answers[7]) == [(0, "")]
    assert refused(answers[-1], 202) == [(1, "/events/1")]
    assert sorted(arrivals(database, "name")) == sorted(
        [f"n{n}" for n in range(20) if n != 7] + ["first", "last"]
    )


async def test_a_public_key_says_nothing_that_only_a_server_may(
    sessions: Sessions, database: Database
) -> None:
    await close(sessions, "Subscription Paid")
    attacks: list[tuple[str, dict[str, Any], str]] = [
        ("/track", {**ADA, "name": "Subscription Paid"}, "/name"),
        ("/track", {**ADA, "event": " Subscription Paid "}, "/event"),
        ("/track", {**ADA, "name": "order placed", "properties": {"total": 1}}, "/name"),
        ("/track", {**ADA, "name": "segment entered"}, "/name"),
        ("/track", {**ADA, "name": "x", "historical": True}, "/historical"),
        ("/identify", {**ADA, "consent": {"email": "granted"}}, "/consent/email"),
        ("/identify", {**ADA, "consents": {"sms": "granted", "email": "denied"}}, "/consents/sms"),
        ("/identify", {**ADA, "consent": {"email": True}}, "/consent/email"),
        ("/identify", {**ADA, "consent": {"everything": "denied"}}, "/consent/everything"),
    ]
    async with served(sessions, await a_key(sessions)) as (site, _, _):
        for path, body, pointer in attacks:
            assert refused(await site.post(path, json=body)) == [(0, pointer)], body
            event = {**body, "type": path[1:]}
            answer = await site.post("/track/batch", json={"events": [event]})
            assert refused(answer) == [(0, f"/events/0{pointer}")]
        for kind in ("order", "order change", "system"):
            event = {**ADA, "type": kind, "properties": {"key": "1", "total": "0"}}
            assert refused(await site.post("/v1/batch", json={"batch": [event]})) == [(0, "/batch/0/type")]
        assert (await site.post("/v1/import", json={"batch": [{**ADA, "event": "x"}]})).status_code == 403
        assert arrivals(database) == []
        denied = {**ADA, "consent": {"email": "denied", "tracking": "denied", "sms": None}}
        assert (await site.post("/identify", json=denied)).status_code == 202
    assert arrivals(database, "trusted, consents") == [(False, {"email": "denied", "tracking": "denied"})]


async def test_a_secret_key_may_say_them(sessions: Sessions, server: AsyncClient, database: Database) -> None:
    await close(sessions, "Subscription Paid")
    await close(sessions, "vip", "attributes")
    assert (await server.post("/track", json={**ADA, "name": "Subscription Paid"})).status_code == 202
    body = {**ADA, "traits": {"vip": True}, "consent": {"email": "granted", "tracking": "denied"}}
    assert (await server.post("/identify", json=body)).status_code == 202
    assert arrivals(database, "kind, trusted, consents") == [
        ("track", True, None),
        ("identify", True, {"email": "granted", "tracking": "denied"}),
    ]
