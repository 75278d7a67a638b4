"""Whatever is sent, the answer is a sentence and no 5xx, and no neighbour loses its place in the commit."""

import asyncio
import json
from typing import Any

import pytest
from httpx2 import AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from models.base import Sessions
from tests.api.sending import ADA, a_key, arrivals, served
from tests.databases import Database

FIELDS = (
    *("type", "email", "phone", "userId", "user_id", "anonymousId", "messageId", "timestamp", "sentAt"),
    *("historical", "event", "name", "category", "properties", "traits", "context", "consent", "consents"),
    *("previousId", "groupId", "key", "writeKey", "events", "batch", "other"),
)
KINDS = ("track", "identify", "page", "screen", "group", "alias")
PATHS = (
    "/track",
    "/identify",
    "/page",
    "/group",
    "/alias",
    "/track/batch",
    "/v1/batch",
    "/v1/t",
    "/v1/import",
)
# Halves of characters, NULs and names that were chosen with care are among them.
texts = some.one_of(
    some.text(some.characters(codec=None), max_size=30),
    some.sampled_from(
        ["", " ", "\0", "\ud800", "\udfffx", "a" * 300, "ada@shop.example", "track", "granted"]
    ),
)
numbers = some.one_of(
    some.integers(),
    some.sampled_from([10**20, 10**400, -(10**309), 2**63, 2**64, -0.0, 1e308, 5e-324]),
    some.floats(),
)
values = some.recursive(
    some.one_of(some.none(), some.booleans(), numbers, texts),
    lambda inner: some.one_of(some.lists(inner, max_size=4), some.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
good = some.fixed_dictionaries({"email": some.just(ADA["email"]), "name": some.just("x")})
calls = some.one_of(
    good,
    some.dictionaries(some.sampled_from(FIELDS), values, max_size=8),
    some.builds(
        lambda base, extra: {**base, **extra},
        some.fixed_dictionaries({"userId": some.just("u"), "type": some.sampled_from(KINDS)}),
        some.dictionaries(some.sampled_from(FIELDS), values, max_size=5),
    ),
    values,
)


def written(value: Any, plain: bool) -> bytes:
    """As JSON, or what would be JSON if all of it could be written so."""
    return json.dumps(value, ensure_ascii=plain).encode("utf-8", "surrogatepass")


bodies = some.one_of(
    some.builds(written, calls, some.booleans()),
    some.builds(
        lambda events, name, plain: written({name: events}, plain),
        some.lists(calls, max_size=6),
        some.sampled_from(("events", "batch")),
        some.booleans(),
    ),
    some.binary(max_size=60),
)
EXPECTED = {200, 202, 400, 403, 413, 422}


async def heard(site: AsyncClient, path: str, body: bytes) -> int:
    """How many events were kept, beside a neighbour that must be."""
    odd, neighbour = await asyncio.gather(
        site.post(path, content=body), site.post("/track", json={**ADA, "name": "neighbour"})
    )
    assert odd.status_code in EXPECTED, (odd.status_code, odd.text)
    assert neighbour.status_code == 202, neighbour.text
    said = odd.json()
    if odd.is_success:
        assert said["accepted"] > 0
        return int(said["accepted"])
    assert said["detail"].endswith((".", ")")), said
    return 0


@pytest.mark.parametrize("kind", ["pk", "sk"])
async def test_whatever_is_sent_nothing_breaks_and_no_neighbour_is_lost(
    sessions: Sessions, database: Database, kind: Any
) -> None:
    kept = asked = 0
    async with served(sessions, await a_key(sessions, kind), patience=30) as (site, _, _):

        @given(some.sampled_from(PATHS), bodies)
        @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        async def fuzz(path: str, body: bytes) -> None:
            nonlocal kept, asked
            kept += await heard(site, path, body)
            asked += 1

        await run(fuzz)
    stored = arrivals(database, "name")
    assert stored.count("neighbour") == asked
    assert len(stored) == asked + kept


NESTED = 200_000
HARD: dict[str, bytes] = {
    "deep objects": b'{"properties":' + b'{"a":' * NESTED + b"1" + b"}" * NESTED + b"}",
    "deep lists": b'{"userId":"u","name":"x","properties":{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}}",
    "deep and nobody's": b'{"other":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "never closed": b"[" * 60_000,
    "half a character": b'{"userId":"u","name":"x","properties":{"a":"\\udfff"}}',
    "half of one in a name": b'{"userId":"\\ud83d","name":"x"}',
    "half of one as bytes": b'{"userId":"u","name":"x","properties":{"a":"\xed\xa0\x80"}}',
    "NUL": b'{"userId":"u","name":"x","properties":{"a":"\\u0000"}}',
    "NUL in a key": b'{"userId":"u","name":"x","properties":{"\\u0000":1}}',
    "NUL as a byte": b'{"userId":"u","name":"x","properties":{"a":"\0"}}',
    "a number beyond doubles": b'{"userId":"u","name":"x","properties":{"a":1e999}}',
    "a number of many digits": b'{"userId":"u","name":"x","properties":{"a":' + b"9" * 5_000 + b"}}",
    "a number of 400 digits": b'{"userId":"u","name":"x","properties":{"a":' + b"9" * 400 + b"}}",
    "an id of many digits": b'{"userId":' + b"9" * 5_000 + b',"name":"x"}',
    "NaN": b'{"userId":"u","name":"x","properties":{"a":NaN}}',
    "UTF-16": '{"userId":"u","name":"x"}'.encode("utf-16"),
    "a mark of byte order": b'\xef\xbb\xbf{"userId":"u","name":"x"}',
    "ten megabytes": b'{"userId":"u","name":"' + b"x" * 10_000_000 + b'"}',
}
EASY: dict[str, bytes] = {
    "a number close to nothing": b'{"userId":"u","name":"x","properties":{"a":1e-99999}}',
    "many digits of a fraction": b'{"userId":"u","name":"x","properties":{"a":0.' + b"1" * 20_000 + b"}}",
    "a whole character in halves": b'{"userId":"u","name":"x","properties":{"a":"\\ud83d\\ude00"}}',
    "a backslash before u0000": b'{"userId":"u","name":"x","properties":{"a":"\\\\u0000"}}',
    "a number of 300 digits": b'{"userId":"u","name":"x","properties":{"a":' + b"9" * 300 + b"}}",
    "twice the same key": b'{"userId":"u","name":"x","properties":{"a":1,"a":2}}',
}


@pytest.mark.parametrize("path", ["/track", "/track/batch"])
async def test_hard_bodies_are_refused_and_easy_ones_kept(
    sessions: Sessions, database: Database, path: str
) -> None:
    def as_sent(body: bytes) -> bytes:
        return body if path == "/track" else b'{"events":[' + body + b"]}"

    async with served(sessions, await a_key(sessions)) as (site, _, _):
        for name, body in HARD.items():
            assert await heard(site, path, as_sent(body)) == 0, name
        for name, body in EASY.items():
            assert await heard(site, path, as_sent(body)) == 1, name
    assert len(arrivals(database)) == len(HARD) + 2 * len(EASY)


async def test_a_hard_event_costs_the_others_of_its_batch_nothing(
    sessions: Sessions, database: Database
) -> None:
    one = b'{"userId":"u","name":"good"}'
    hard = [
        body
        for name, body in HARD.items()
        if name.startswith(("half", "NUL", "a number", "an id", "many", "deep lists"))
        and name not in ("NUL as a byte", "deep lists")  # Not even JSON, or unreadable as a whole.
    ]
    async with served(sessions, await a_key(sessions)) as (site, _, _):
        for body in hard:
            answer = await site.post(
                "/track/batch", content=b'{"events":[' + b",".join((one, body, one)) + b"]}"
            )
            assert (answer.status_code, answer.json()["accepted"]) == (202, 2), body[:80]
            assert [each["index"] for each in answer.json()["refused"]] == [1]
    assert arrivals(database, "name") == 2 * len(hard) * ["good"]


async def run(fuzz: Any) -> None:
    """Run a test of hypothesis within this loop: it calls back, one example after the other."""
    loop = asyncio.get_running_loop()
    inner = fuzz.hypothesis.inner_test
    fuzz.hypothesis.inner_test = lambda **given: asyncio.run_coroutine_threadsafe(
        inner(**given), loop
    ).result()
    await asyncio.to_thread(fuzz)
