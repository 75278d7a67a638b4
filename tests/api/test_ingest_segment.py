"""What Segment's libraries and browsers need of us: addresses, encodings, ways to show a key, CORS."""

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx2 import AsyncClient

from domain.roles import KeyKind
from models.base import Sessions
from tests.api.sending import ADA, SHOP, a_key, arrivals, list_origins, refused, served
from tests.databases import Database

PAGE = {"Origin": SHOP}
EVENT = {**ADA, "event": "x"}


@pytest.fixture
async def key(sessions: Sessions) -> str:
    await list_origins(sessions, SHOP)
    return await a_key(sessions)


@pytest.fixture
async def site(sessions: Sessions) -> AsyncIterator[AsyncClient]:
    """A client without a key."""
    async with served(sessions) as (client, _, _):
        yield client


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/track", {"userId": "u", "event": "x"}, "track"),
        ("/v1/t", {"userId": "u", "event": "x"}, "track"),
        ("/v1/identify", {"userId": "u"}, "identify"),
        ("/v1/i", {"userId": "u", "traits": None}, "identify"),
        ("/v1/page", {"userId": "u", "name": None}, "page"),
        ("/v1/p", {"userId": "u"}, "page"),
        ("/v1/screen", {"userId": "u"}, "screen"),
        ("/v1/s", {"userId": "u"}, "screen"),
        ("/v1/group", {"userId": "u", "groupId": 7}, "group"),
        ("/v1/g", {"userId": "u", "groupId": "g"}, "group"),
        ("/v1/alias", {"userId": "u", "previousId": "a"}, "alias"),
        ("/v1/a", {"userId": "u", "previousId": 8}, "alias"),
        ("/v1/batch", {"batch": [{"userId": "u", "event": "x", "type": "track"}]}, "track"),
        ("/v1/b", {"batch": [{"userId": "u", "type": "screen"}]}, "screen"),
    ],
)
async def test_every_address_of_segments_takes_its_kind(
    site: AsyncClient, key: str, database: Database, path: str, body: dict[str, Any], kind: str
) -> None:
    answer = await site.post(path, json=body, auth=(key, ""))
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"success": True, "accepted": 1, "refused": []}
    assert arrivals(database, "kind, user_id") == [(kind, "u")]


async def test_a_batch_as_the_library_for_python_sends_it_is_kept(
    site: AsyncClient, key: str, database: Database
) -> None:
    every = {
        "integrations": {},
        "anonymousId": None,
        "timestamp": "2026-03-01T11:59:00.123+00:00",
        "context": {"library": {"name": "analytics-python", "version": "2.4.0"}},
        "messageId": "8f0c9b0e-6f5e-4d44-9d0e-0c1b3a1f0c11",
    }
    batch = [
        {**every, "userId": "u", "event": "x", "type": "track", "properties": {}},
        {**every, "userId": "u", "type": "page", "category": None, "name": None, "properties": {}},
        {**every, "userId": "u", "type": "alias", "previousId": 5},
        {**every, "userId": "", "type": "track", "event": "nobody", "properties": {}},
    ]
    answer = await site.post(
        "/v1/batch", json={"batch": batch, "sentAt": "2026-03-01T12:00:00.000+00:00", "writeKey": key}
    )
    assert refused(answer, 200) == [(3, "/batch/3/email")]
    stored = arrivals(database, "kind, message_id, occurred_at, context")
    assert [row[0] for row in stored] == ["track", "page", "alias"]
    assert stored[0][1] == every["messageId"]
    assert stored[0][2].isoformat() == every["timestamp"].__str__().replace("123+", "123000+")
    assert stored[0][3] == every["context"]


async def test_the_context_of_a_batch_is_that_of_its_events(
    site: AsyncClient, key: str, database: Database
) -> None:
    own = {**EVENT, "context": {"ip": "0.0.0.0"}}
    body = {"batch": [EVENT, own], "context": {"app": {"name": "Shop"}}, "writeKey": key}
    await site.post("/v1/batch", json=body)
    assert arrivals(database, "context") == [{"app": {"name": "Shop"}}, {"ip": "0.0.0.0"}]


async def test_a_body_may_be_packed_by_gzip(site: AsyncClient, key: str, database: Database) -> None:
    packed = gzip.compress(json.dumps({"batch": [EVENT], "writeKey": key}).encode())
    answer = await site.post("/v1/batch", content=packed, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 200
    assert arrivals(database) == [("track", "x", "ada@shop.example")]


async def test_what_unpacks_to_more_than_we_read_is_413_and_never_in_memory(
    site: AsyncClient, key: str
) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(10_000_000)) for _ in range(20)) + packer.flush()  # 200 MB.
    assert len(bomb) < 300_000
    answer = await site.post("/v1/batch", content=bomb, headers={"Content-Encoding": "gzip"}, auth=(key, ""))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [
        (b"no gzip", "gzip", 400),
        (gzip.compress(b"{}", mtime=0)[:-4], "gzip", 400),
        (gzip.compress(b"{}", mtime=0) + b"more", "gzip", 400),
        (b"{}", "br", 415),
        (b"{}", "deflate", 415),
    ],
)
async def test_what_can_not_be_unpacked_is_refused(
    site: AsyncClient, key: str, content: bytes, encoding: str, status: int
) -> None:
    answer = await site.post(
        "/v1/batch", content=content, headers={"Content-Encoding": encoding}, auth=(key, "")
    )
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_settings_document_names_us_and_nobody_else(site: AsyncClient, key: str) -> None:
    answer = await site.get(f"/v1/projects/{key}/settings", headers=PAGE)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    body = answer.json()
    assert list(body["integrations"]) == ["Segment.io"]
    ours = body["integrations"]["Segment.io"]
    assert (ours["apiKey"], ours["protocol"], ours["apiHost"]) == (key, "https", "events.shop.example/in/v1")
    assert body["metrics"] == {"sampleRate": 0}
    assert (await site.get(f"/v1/projects/{'pk_' + 43 * 'x'}/settings")).status_code == 401
    assert (await site.get("/v1/projects//settings")).status_code == 401
    other = await site.get(f"/v1/projects/{key}/settings", headers={"Origin": "https://evil.example"})
    assert other.status_code == 403
    assert (await site.post(f"/v1/projects/{key}/settings")).status_code == 405


@pytest.mark.parametrize("path", ["/track", "/track/batch", "/identify", "/v1/t", "/v1/projects/x/settings"])
async def test_a_browser_that_asks_beforehand_is_told_how(site: AsyncClient, path: str) -> None:
    asked = {
        **PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = await site.options(path, headers=asked)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == SHOP
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "x-retry-count"} <= set(allowed)
    assert int(answer.headers["access-control-max-age"]) >= 7200
    assert "access-control-allow-credentials" not in answer.headers
    assert (await site.options(path)).status_code in (404, 405)


async def test_a_page_can_read_every_answer_and_is_told_when_to_try_again(
    sessions: Sessions, key: str, database: Database
) -> None:
    async with served(sessions, events_a_minute=1) as (site, _, _):
        body = {**EVENT, "key": key}
        answers = [
            await site.post("/track", json=body, headers=PAGE),
            await site.post("/track", json=body, headers=PAGE),
            await site.post("/track", json={"key": key}, headers=PAGE),
            await site.post("/track", json=EVENT, headers=PAGE),
            await site.post("/track", content=b"{", headers=PAGE),
            await site.post("/track", content=70_000 * b" ", headers=PAGE),
            await site.get("/track", headers=PAGE),
        ]
    assert [answer.status_code for answer in answers] == [202, 429, 429, 401, 400, 413, 405]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert answer.headers["access-control-expose-headers"] == "Retry-After, X-Request-Id"
        assert answer.headers["vary"] == "Origin"
    assert len(arrivals(database)) == 1


async def test_a_page_of_another_origin_is_refused_and_can_read_why(
    sessions: Sessions, site: AsyncClient, key: str, database: Database
) -> None:
    evil = {"Origin": "https://evil.example"}
    answer = await site.post("/track", json={**EVENT, "key": key}, headers=evil)
    assert (answer.status_code, "origins" in answer.json()["detail"]) == (403, True)
    assert answer.headers["access-control-allow-origin"] == "https://evil.example"
    assert (await site.post("/track", json={**EVENT, "key": key})).status_code == 202  # No page: an app.
    secret = await a_key(sessions, KeyKind.SECRET)
    assert (await site.post("/track", json={**EVENT, "key": secret}, headers=evil)).status_code == 202
    await list_origins(sessions, "*")
    new = await a_key(sessions)
    assert (await site.post("/track", json={**EVENT, "key": new}, headers=evil)).status_code == 202
    assert len(arrivals(database)) == 3


async def test_a_page_that_leaves_sends_a_beacon_without_headers_of_its_own(
    site: AsyncClient, key: str, database: Database
) -> None:
    body = json.dumps({"events": [{**ADA, "name": "x"}], "key": key, "sentAt": "2026-03-01T12:00:00Z"})
    headers = {**PAGE, "Content-Type": "text/plain;charset=UTF-8"}
    answer = await site.post("/track/batch", content=body, headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (202, SHOP)
    assert len(arrivals(database)) == 1
