"""`campanile events tail`: each thing once, in the order in which it came, on a line that says why."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from httpx2 import AsyncClient

from api.stack import TemporalLink
from dev.tailing import Tail, line
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.api.conftest import served
from tests.people import NOON, a_person, an_event, put_aside

LATER = NOON + timedelta(hours=1)


@pytest.fixture
async def api(sessions: Sessions) -> AsyncIterator[AsyncClient]:
    async with served(sessions, TemporalLink("127.0.0.1:9", "default")) as client:
        yield client


async def test_what_comes_in_is_shown_once_with_what_was_refused(
    api: AsyncClient, sessions: Sessions
) -> None:
    tail = Tail(api, NOON)
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db)
        await an_event(db, ada, "Before", NOON - timedelta(hours=1))
        await an_event(db, ada, at=LATER)
        aside = await put_aside(db)

    shown = [str(line(each)) for each in await tail.news()]

    assert [each.split(" ", 1)[1] for each in shown] == [
        "refused     track Broken /email: It is known. The rest of it was kept.",
        f"quarantined track Broken It broke. replay it as {aside}",
        f'event       track Product Viewed {ada} {{"sku": "LP"}}',
    ]
    assert await tail.news() == []
    async with sessions(DEFAULT_WORKSPACE) as db:  # It was committed late.
        await an_event(db, ada, "Late", LATER - timedelta(seconds=30))
    assert [each["name"] for each in await tail.news()] == ["Late"]


async def test_more_than_a_page_is_shown_and_one_name_is_looked_for(
    api: AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dev.tailing.MOST", 2)
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db)
        for n in range(5):
            await an_event(db, ada, f"Event {n % 4}", NOON + timedelta(minutes=n))

    assert [each["name"] for each in await Tail(api, NOON).news()] == [
        "Event 0",
        "Event 1",
        "Event 2",
        "Event 3",
        "Event 0",
    ]
    assert len(await Tail(api, NOON, "Event 0").news()) == 2


def test_nothing_that_came_in_is_obeyed_by_a_terminal() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC).isoformat()
    item = {
        "what": "refused",
        "at": at,
        "kind": None,
        "name": "\x1b[2J\n[bold]",
        "pointer": "",
        "stage": "request",
    }

    assert (
        str(line({**item, "pointer": "", "reason": "No."})).split(" ", 1)[1]
        == "refused     - �[2J�[bold] No."
    )
