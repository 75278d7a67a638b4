"""Readers open, click and unsubscribe: what counts, what never does, and what a lost database changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from httpx2 import ASGITransport, AsyncClient, Response
from selectolax.lexbor import LexborHTMLParser as HTMLParser

from api.tracking.app import Tracking
from api.tracking.reads import Reads
from api.tracking.storage import Storage
from domain.messages import Interaction
from domain.profiles import ConsentState, Purpose
from domain.tokens import Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import profiles
from models.queries.profiles_erased import erase
from models.queries.profiles_merged import merge
from models.queries.tracking import Arrival
from tests.databases import Database
from tests.people import LATER, NOON, a_message, a_person, a_version, rows
from tests.relay import Relay
from tests.support import GivenClock

TOKENS = Tokens(b"a key of at least 16 bytes")
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:9/nothing"


@asynccontextmanager
async def served(sessions: Sessions, **values: Any) -> AsyncIterator[tuple[AsyncClient, GivenClock]]:
    """A reader's browser, which follows no redirects, and the clock of what it talks to."""
    clock = GivenClock(NOON)
    app = Tracking(sessions, TOKENS, "https://mail.shop.example", clock, **values)
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://tracking") as client:
        yield client, clock


@pytest.fixture
async def reader(sessions: Sessions) -> AsyncIterator[AsyncClient]:
    async with served(sessions) as (client, _):
        yield client


def token(message_id: UUID) -> str:
    return TOKENS.sign(DEFAULT_WORKSPACE, message_id)


async def a_mail(sessions: Sessions, **values: Any) -> UUID:
    """A mail that reached somebody who granted everything."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await a_message(db, await a_person(db, f"{uuid4()}@shop.example"), **values)


async def events(sessions: Sessions, asked: str = "kind, link") -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await rows(db, f"select {asked} from message_events order by at, id")


async def marks(sessions: Sessions, message_id: UUID) -> tuple[datetime | None, datetime | None]:
    """When it was opened and clicked first."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        [found] = await rows(db, "select opened_at, clicked_at from messages where id = :id", id=message_id)
    return found[0], found[1]


def heading(response: Response) -> str:
    found = HTMLParser(response.text).css_first("h1")
    assert found is not None
    return found.text()


async def test_the_pixel_is_a_picture_that_nobody_keeps_and_counts_an_open(
    sessions: Sessions, reader: AsyncClient
) -> None:
    message = await a_mail(sessions)
    answer = await reader.get(f"/o/{token(message)}", headers={"User-Agent": "Mail/1.0" + 400 * "x"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/gif"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content.startswith(b"GIF89a")
    assert len(answer.content) == int(answer.headers["content-length"])
    assert await marks(sessions, message) == (NOON, None)
    [(kind, link, agent)] = await events(sessions, "kind, link, user_agent")
    assert (kind, link, len(agent)) == ("opened", None, 300)


async def test_the_first_open_stays_the_first(sessions: Sessions) -> None:
    message = await a_mail(sessions)
    async with served(sessions) as (reader, clock):
        clock.time = LATER
        await reader.get(f"/o/{token(message)}")
        clock.time = NOON
        await reader.get(f"/o/{token(message)}")
        clock.time = LATER
        await reader.get(f"/o/{token(message)}")
    assert await marks(sessions, message) == (NOON, None)
    assert len(await events(sessions)) == 3


async def test_a_click_goes_to_the_link_that_was_in_the_mail_and_counts_as_an_open_too(
    sessions: Sessions, reader: AsyncClient
) -> None:
    message = await a_mail(sessions, holes=["Ada & Co"])
    answer = await reader.get(f"/c/{token(message)}/1")
    assert answer.status_code == 302
    assert answer.headers["location"] == "https://shop.example/for/Ada%20&%20Co"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert await marks(sessions, message) == (NOON, NOON)
    assert await events(sessions) == [("clicked", 1)]


@pytest.mark.parametrize("number", ["2", "9999", "-1", "0x", "1/2", "https://evil.example"])
async def test_a_click_leads_nowhere_but_to_a_link_of_the_mail(
    sessions: Sessions, reader: AsyncClient, number: str
) -> None:
    message = await a_mail(sessions)
    answer = await reader.get(f"/c/{token(message)}/{number}?url=https://evil.example")
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert await events(sessions) == []


async def test_a_link_that_would_run_something_leads_nowhere(sessions: Sessions, reader: AsyncClient) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        version = await a_version(db, '<a href="{{ name }}">you</a>')
    for holes in (["javascript:alert(1)"], ["https://shop.example@evil.example"], None, []):
        message = await a_mail(sessions, template_version_id=version, holes=holes)
        assert (await reader.get(f"/c/{token(message)}/0")).status_code == 404


async def test_a_template_that_cannot_be_compiled_has_dead_links(
    sessions: Sessions, reader: AsyncClient
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        version = await a_version(db, "{% if %}")
    message = await a_mail(sessions, template_version_id=version)
    for _ in range(2):
        assert (await reader.get(f"/c/{token(message)}/0")).status_code == 404


async def test_a_head_is_answered_and_never_counts(sessions: Sessions, reader: AsyncClient) -> None:
    message = await a_mail(sessions)
    assert (await reader.head(f"/o/{token(message)}")).status_code == 200
    clicked = await reader.head(f"/c/{token(message)}/0")
    assert (clicked.status_code, clicked.headers["location"]) == (302, "https://shop.example/sale")
    asked = await reader.head(f"/u/{token(message)}")
    assert (asked.status_code, asked.content) == (200, b"")
    assert await events(sessions) == []


async def test_what_nobody_signed_counts_nothing(sessions: Sessions, reader: AsyncClient) -> None:
    message = await a_mail(sessions)
    forged = Tokens(b"another key, also long").sign(DEFAULT_WORKSPACE, message)
    for path in (f"/o/{forged}", "/o/x", f"/o/{token(uuid4())}"):
        assert (await reader.get(path)).status_code == 200  # A mail must not look broken.
    for path in (
        f"/c/{forged}/0",
        f"/c/{token(uuid4())}/0",
        f"/u/{forged}",
        f"/u/{token(uuid4())}",
        "/u/",
        "/x",
    ):
        answer = await reader.get(path)
        assert (answer.status_code, heading(answer)) == (404, "This link leads nowhere")
    for path in (f"/u/{forged}", f"/u/{token(uuid4())}"):
        assert (await reader.post(path, data=ONE_CLICK)).status_code == 404
    assert await events(sessions) == []


async def test_other_methods_are_told_what_is_allowed(sessions: Sessions, reader: AsyncClient) -> None:
    message = await a_mail(sessions)
    assert (await reader.post(f"/o/{token(message)}")).headers["allow"] == "GET, HEAD"
    assert (await reader.delete(f"/u/{token(message)}")).headers["allow"] == "GET, HEAD, POST"
    assert await events(sessions) == []


async def test_who_takes_back_consent_to_tracking_is_led_on_but_not_written_down(
    sessions: Sessions, reader: AsyncClient
) -> None:
    message = await a_mail(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        [who] = await rows(db, "select profile_id from messages")
        await profiles.consent(db, who, Purpose.TRACKING, ConsentState.DENIED, "person", LATER)
    assert (await reader.get(f"/o/{token(message)}")).status_code == 200
    assert (await reader.get(f"/c/{token(message)}/0")).status_code == 302
    assert await events(sessions) == []
    assert await marks(sessions, message) == (None, None)


async def test_a_mail_that_went_out_untracked_is_never_written_down(
    sessions: Sessions, reader: AsyncClient
) -> None:
    message = await a_mail(sessions, tracked=False)
    await reader.get(f"/o/{token(message)}")
    assert await events(sessions) == []


async def test_an_alias_is_tracked_as_its_person_allows(sessions: Sessions, reader: AsyncClient) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        old, ada = await a_person(db, "old@shop.example", {}), await a_person(db, "ada@shop.example")
        message = await a_message(db, old)
        await merge(db, old, ada, NOON)
    await reader.get(f"/o/{token(message)}")
    assert await marks(sessions, message) == (NOON, None)


async def test_an_erased_reader_leaves_no_trace(sessions: Sessions, reader: AsyncClient) -> None:
    message = await a_mail(sessions)
    assert (await reader.get(f"/c/{token(message)}/1")).status_code == 302
    async with sessions(DEFAULT_WORKSPACE) as db:
        [who] = await rows(db, "select profile_id from messages")
        await erase(db, who, LATER)
    assert (await reader.get(f"/c/{token(message)}/1")).status_code == 404
    assert (await reader.get(f"/o/{token(message)}")).status_code == 200
    assert await events(sessions) == [("clicked", 1)]


async def test_a_get_on_the_way_out_asks_and_unsubscribes_nobody(
    sessions: Sessions, reader: AsyncClient
) -> None:
    message = await a_mail(sessions)
    answer = await reader.get(f"/u/{token(message)}")
    assert (answer.status_code, heading(answer)) == (200, "Unsubscribe?")
    page = HTMLParser(answer.text)
    form = page.css_first("form")
    assert form is not None
    assert form.attributes == {"method": "post"}  # To the same address.
    assert page.css_first("html[lang=en] main button") is not None
    assert "Campanile" in answer.text
    assert await events(sessions) == []
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select id from suppressions") == []


@pytest.mark.parametrize(
    ("body", "source"),
    [
        ({"data": ONE_CLICK}, "one-click unsubscribe"),
        ({"files": {"List-Unsubscribe": (None, "One-Click")}}, "one-click unsubscribe"),
        ({"data": {"from": "page"}}, "unsubscribe page"),
        ({"content": b"\xff\x00" * 50_000}, "unsubscribe page"),
        ({}, "unsubscribe page"),
    ],
)
async def test_a_post_unsubscribes_however_its_body_is_written(
    sessions: Sessions, reader: AsyncClient, body: dict[str, Any], source: str
) -> None:
    message = await a_mail(sessions)
    for _ in range(2):
        answer = await reader.post(f"/u/{token(message)}", **body)
        assert (answer.status_code, heading(answer)) == (200, "You are unsubscribed")
        assert "set-cookie" not in answer.headers
    assert await events(sessions) == [("unsubscribed", None)]
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select source from suppressions where reason = 'unsubscribed'") == [source]
        assert await rows(
            db, "select state, source from consents where purpose = 'email' and ended_at is null"
        ) == [("denied", source)]


async def test_hundreds_at_once_are_written_by_few_commits(sessions: Sessions, reader: AsyncClient) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada, version = await a_person(db), await a_version(db)
        messages = [await a_message(db, ada, template_version_id=version) for _ in range(50)]
    paths = [f"/{kind}/{token(message)}{n}" for message in messages for kind, n in (("o", ""), ("c", "/0"))]
    answers = await asyncio.gather(*(reader.get(path) for path in 4 * paths))
    assert {answer.status_code for answer in answers} == {200, 302}
    assert len(await events(sessions)) == 400
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select count(clicked_at) from messages") == [50]


async def test_a_poisoned_arrival_takes_nobody_along(sessions: Sessions) -> None:
    messages = [await a_mail(sessions) for _ in range(5)]
    reads = Reads(sessions, Storage())

    def arrival(n: int, message_id: UUID) -> Arrival:
        link = 2**40 if n == 3 else n  # More than the column takes.
        return Arrival(DEFAULT_WORKSPACE, message_id, Interaction.CLICKED, NOON, link, None, uuid4())

    with structlog.testing.capture_logs() as logged:
        await asyncio.gather(*(reads.note(arrival(n, message)) for n, message in enumerate(messages)))

    assert sorted(link for _, link in await events(sessions)) == [0, 1, 2, 4]
    assert [(line["clicked"], line["messages"]) for line in logged] == [(1, [str(messages[3])])]


async def test_without_a_database_nothing_is_claimed_and_every_loss_is_logged() -> None:
    gone = Sessions(NOWHERE, NOWHERE)
    message = uuid4()
    async with served(gone, patience=0.1) as (reader, _):
        with structlog.testing.capture_logs() as logged:
            assert (await reader.get(f"/o/{token(message)}")).status_code == 200
        assert [(line["log_level"], line["opened"], line["messages"]) for line in logged] == [
            ("error", 1, [str(message)])
        ]
        clicked = await reader.get(f"/c/{token(message)}/0")
        assert (clicked.status_code, heading(clicked)) == (503, "Please try again")
        assert clicked.headers["retry-after"] == "30"
        assert (await reader.get(f"/u/{token(message)}")).status_code == 200
        assert (await reader.post(f"/u/{token(message)}", data=ONE_CLICK)).status_code == 503
    await gone.close()


@asynccontextmanager
async def by_way_of(database: Database) -> AsyncIterator[tuple[Sessions, Relay]]:
    """Transactions whose network can be cut."""
    relay = Relay(database.url)
    await relay.mend()
    sessions = Sessions(relay.url(database.url), relay.url(database.engine_url))
    try:
        yield sessions, relay
    finally:
        await sessions.close()
        relay.cut()


async def test_a_click_seen_before_goes_on_while_the_database_is_away(
    sessions: Sessions, database: Database
) -> None:
    message = await a_mail(sessions)
    async with by_way_of(database) as (cuttable, relay), served(cuttable, patience=1) as (reader, _):
        assert (await reader.get(f"/c/{token(message)}/0")).status_code == 302
        relay.cut()
        with structlog.testing.capture_logs() as logged:
            assert (await reader.get(f"/c/{token(message)}/0")).status_code == 302
            assert (await reader.get(f"/c/{token(message)}/1")).status_code == 503
        assert [(line["clicked"], line["messages"]) for line in logged] == [(1, [str(message)])]
        await relay.mend()
        assert (await reader.get(f"/c/{token(message)}/1")).status_code == 302
    assert await events(sessions) == [("clicked", 0), ("clicked", 1)]


async def test_a_short_absence_of_the_database_loses_nothing(sessions: Sessions, database: Database) -> None:
    message = await a_mail(sessions)
    async with by_way_of(database) as (cuttable, relay), served(cuttable) as (reader, _):
        await reader.get(f"/o/{token(message)}")
        relay.cut()
        with structlog.testing.capture_logs() as logged:
            answers = [
                asyncio.create_task(reader.get(f"/o/{token(message)}")),
                asyncio.create_task(reader.get(f"/c/{token(message)}/0")),
                asyncio.create_task(reader.post(f"/u/{token(message)}", data=ONE_CLICK)),
            ]
            await asyncio.sleep(0.3)
            await relay.mend()
            assert [answer.status_code for answer in await asyncio.gather(*answers)] == [200, 302, 200]
    assert logged == []
    kinds = sorted(kind for kind, _ in await events(sessions))
    assert kinds == ["clicked", "opened", "opened", "unsubscribed"]


async def test_what_does_not_fit_is_answered_counted_and_logged(sessions: Sessions) -> None:
    message = await a_mail(sessions)
    async with served(sessions, room=3) as (reader, _):
        with structlog.testing.capture_logs() as logged:
            answers = await asyncio.gather(*(reader.get(f"/o/{token(message)}") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    lost = sum(line["opened"] for line in logged)
    assert lost > 0
    assert len(await events(sessions)) + lost == 20


async def test_a_commit_whose_answer_was_lost_is_repeated_without_counting_twice(sessions: Sessions) -> None:
    message = await a_mail(sessions)
    arrival = Arrival(DEFAULT_WORKSPACE, message, Interaction.OPENED, NOON, None, None, uuid4())
    for _ in range(2):
        await Reads(sessions, Storage()).note(arrival)
    assert await events(sessions) == [("opened", None)]
