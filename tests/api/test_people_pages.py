"""The pages where people come on a list and choose what they hear of: asked before anything is done."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from api.tracking.app import Tracking
from domain.profiles import ConsentSource, ConsentState, Purpose
from domain.sign_ups import FROM_ONE_PLACE, TO_ONE_ADDRESS
from domain.tokens import About, Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.lists import List, Topic
from models.queries import lists, profiles, profiles_erased
from models.queries.profiles_merged import merge
from tests.api.test_tracking import heading
from tests.people import HERE, NOON, a_message, a_person, rows
from tests.sending import a_sender
from tests.support import GivenClock

TOKENS = Tokens(b"a key of at least 16 bytes")


@asynccontextmanager
async def served(sessions: Sessions) -> AsyncIterator[tuple[AsyncClient, GivenClock]]:
    clock = GivenClock(NOON)
    app = Tracking(sessions, TOKENS, "https://mail.shop.example", clock)
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://tracking") as client:
        yield client, clock


@pytest.fixture
async def visitor(sessions: Sessions) -> AsyncIterator[AsyncClient]:
    async with served(sessions) as (client, _):
        yield client


async def a_list(db: AsyncSession, opt_in: str = "double") -> str:
    """A list of a workspace that may send; the path of its form."""
    await a_sender(db)
    made = List(**HERE, name="News & more", description="Every other week.", opt_in=opt_in)
    db.add(made)
    await db.flush()
    return f"/s/{TOKENS.sign(DEFAULT_WORKSPACE, made.id, About.LIST)}"


async def a_form(sessions: Sessions, opt_in: str = "double") -> str:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await a_list(db, opt_in)


async def mails(sessions: Sessions) -> list[tuple[str, str]]:
    """Address, and the path of the link, of each mail that asks."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = await rows(
            db, "select bare, holes::text from messages where step = 'confirm sign-up' order by id"
        )
    return [(bare, re.findall(r"mail\.shop\.example(/s/confirm/[\w-]+)", holes)[0]) for bare, holes in found]


async def members(sessions: Sessions) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await rows(
            db,
            "select i.value, l.state, l.source from list_members l join identities i using (profile_id) "
            "where i.kind = 'email' order by 1",
        )


async def consents(sessions: Sessions) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await rows(
            db, "select purpose, state, source from consents where ended_at is null order by purpose"
        )


async def subscribe(visitor: AsyncClient, form: str, email: str = "ada@example.com", **more: str) -> Response:
    return await visitor.post(form, data={"email": email, **more})


async def test_the_form_says_who_asks_and_runs_no_script(sessions: Sessions, visitor: AsyncClient) -> None:
    form = await a_form(sessions)

    answer = await visitor.get(form)

    assert answer.status_code == 200
    assert heading(answer) == "News & more"
    assert "Every other week." in answer.text
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert await members(sessions) == []


async def test_who_confirms_by_mail_is_on_the_list_by_their_own_word(
    sessions: Sessions, visitor: AsyncClient
) -> None:
    form = await a_form(sessions)

    answer = await subscribe(visitor, form, "Ada@Example.com")

    assert heading(answer) == "One more step"
    assert await members(sessions) == [("ada@example.com", "pending", "subscribe form")]
    assert await consents(sessions) == []
    [(address, link)] = await mails(sessions)
    assert address == "ada@example.com"

    asked = await visitor.get(link)
    assert "Subscribe to" in heading(asked)
    assert await members(sessions) == [("ada@example.com", "pending", "subscribe form")]

    for _ in range(2):
        assert heading(await visitor.post(link)) == "You are subscribed"
    assert await members(sessions) == [("ada@example.com", "member", "person")]
    assert await consents(sessions) == [("email", "granted", "person")]


async def test_the_confirmation_is_a_transactional_mail_of_the_workspace(
    sessions: Sessions, visitor: AsyncClient
) -> None:
    await subscribe(visitor, await a_form(sessions))

    async with sessions(DEFAULT_WORKSPACE) as db:
        [found] = await rows(db, "select class, source_kind, profile_id, state from messages")
        templates = await rows(db, "select name from templates")
    assert found == ("transactional", "outbox", None, "queued")
    assert templates == ["Subscription confirmation"]
    await subscribe(visitor, await a_form_of_another_list(sessions), "bob@example.com")
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select count(*) from templates") == [1]


async def test_the_mail_names_who_asks_as_the_form_does(sessions: Sessions, visitor: AsyncClient) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update workspaces set sender_name = 'Groove Records'"))
    form = await a_form(sessions)
    assert "By Groove Records." in (await visitor.get(form)).text

    await subscribe(visitor, form)

    async with sessions(DEFAULT_WORKSPACE) as db:
        [holes] = await rows(db, "select holes::text from messages")
    assert "Groove Records" in holes


async def a_form_of_another_list(sessions: Sessions) -> str:
    async with sessions(DEFAULT_WORKSPACE) as db:
        made = List(**HERE, name="Others")
        db.add(made)
        await db.flush()
        return f"/s/{TOKENS.sign(DEFAULT_WORKSPACE, made.id, About.LIST)}"


async def test_a_confirmed_sign_up_undoes_an_unsubscribe_and_the_form_alone_does_not(
    sessions: Sessions, visitor: AsyncClient
) -> None:
    form = await a_form(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db, "ada@example.com")
        await profiles.unsubscribe_profile(db, ada, NOON, ConsentSource.ONE_CLICK)

    await subscribe(visitor, form)
    assert ("email", "denied", "one-click unsubscribe") in await consents(sessions)
    [(_, link)] = await mails(sessions)
    await visitor.post(link)

    assert ("email", "granted", "person") in await consents(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select 1 from suppressions where ended_at is null") == []


async def test_on_a_list_without_the_mail_the_form_is_enough_but_lifts_no_denial(
    sessions: Sessions, visitor: AsyncClient
) -> None:
    form = await a_form(sessions, "single")
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db, "ada@example.com", {})
        await profiles.consent(db, ada, Purpose.EMAIL, ConsentState.DENIED, ConsentSource.PERSON, NOON)

    assert heading(await subscribe(visitor, form)) == "You are subscribed"
    await subscribe(visitor, form, "bob@example.com")

    assert [each[:2] for each in await members(sessions)] == [
        ("ada@example.com", "member"),
        ("bob@example.com", "member"),
    ]
    assert sorted(await consents(sessions)) == [
        ("email", "denied", "person"),
        ("email", "granted", "subscribe form"),
    ]
    assert await mails(sessions) == []


async def test_nobody_learns_from_the_form_whether_somebody_is_subscribed(
    sessions: Sessions, visitor: AsyncClient
) -> None:
    form = await a_form(sessions)
    first = await subscribe(visitor, form)
    [(_, link)] = await mails(sessions)
    await visitor.post(link)

    again = await subscribe(visitor, form)

    assert again.text == first.text
    assert len(await mails(sessions)) == 1
    assert await members(sessions) == [("ada@example.com", "member", "person")]


async def test_a_program_that_fills_in_everything_changes_nothing(
    sessions: Sessions, visitor: AsyncClient
) -> None:
    form = await a_form(sessions)

    answer = await subscribe(visitor, form, website="https://spam.example")

    assert heading(answer) == "One more step"
    assert await members(sessions) == []
    assert await mails(sessions) == []


async def test_one_address_is_asked_a_few_times_and_one_place_can_t_flood(sessions: Sessions) -> None:
    form = await a_form(sessions)
    async with served(sessions) as (visitor, clock):
        for _ in range(TO_ONE_ADDRESS + 2):
            assert (await subscribe(visitor, form)).status_code == 200
        assert len(await mails(sessions)) == TO_ONE_ADDRESS
        clock.move(timedelta(minutes=61))
        await subscribe(visitor, form)
        assert len(await mails(sessions)) == TO_ONE_ADDRESS + 1
        for n in range(FROM_ONE_PLACE):
            answer = await subscribe(visitor, form, f"p{n}@example.com")
        assert answer.status_code == 429
        assert answer.headers["retry-after"]


async def test_what_is_no_address_is_said_at_the_form(sessions: Sessions, visitor: AsyncClient) -> None:
    form = await a_form(sessions)
    for email in ("nobody", '"><script>', "", "a\0@b"):
        answer = await subscribe(visitor, form, email)
        assert answer.status_code == 422
        assert "<script>" not in answer.text
    assert await members(sessions) == []


async def test_without_a_sender_nobody_is_promised_a_mail(sessions: Sessions, visitor: AsyncClient) -> None:
    form = await a_form(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update workspaces set sender_email = null, sending_email = null"))

    assert (await subscribe(visitor, form)).status_code == 503
    assert await members(sessions) == []


async def test_a_link_that_nobody_waits_for_does_nothing(sessions: Sessions, visitor: AsyncClient) -> None:
    form = await a_form(sessions)
    await subscribe(visitor, form)
    [(_, link)] = await mails(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        [ada, list_id] = (await rows(db, "select profile_id, list_id from list_members"))[0]
        await lists.take_off(db, list_id, [ada], "ada", NOON)

    for answer in (await visitor.get(link), await visitor.post(link)):
        assert answer.status_code == 410
    assert await consents(sessions) == []
    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles_erased.erase(db, ada, NOON)
    assert (await visitor.post(link)).status_code == 404


async def test_who_was_merged_meanwhile_confirms_for_the_one_who_stays(
    sessions: Sessions, visitor: AsyncClient
) -> None:
    await subscribe(visitor, await a_form(sessions))
    [(_, link)] = await mails(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        [ada] = await rows(db, "select profile_id from list_members")
        await merge(db, ada, await a_person(db, "ada@work.example", {}), NOON)

    assert heading(await visitor.post(link)) == "You are subscribed"
    assert await consents(sessions) == [("email", "granted", "person")]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_link_that_is_not_ours_leads_nowhere(
    sessions: Sessions, visitor: AsyncClient, method: str
) -> None:
    form = await a_form(sessions)
    of_message = TOKENS.sign(DEFAULT_WORKSPACE, uuid4())
    gone = TOKENS.sign(DEFAULT_WORKSPACE, uuid4(), About.LIST)
    token = form.removeprefix("/s/")
    three = TOKENS.sign_all((DEFAULT_WORKSPACE, uuid4(), uuid4()), About.SIGN_UP)
    for path in (
        *(f"/s/{of_message}", f"/s/{gone}", f"/p/{token}", f"/u/{token}", "/s/", "/p/x", "/s/confirm/x"),
        *(f"/p/{of_message}", f"/p/{TOKENS.sign(DEFAULT_WORKSPACE, uuid4(), About.PREFERENCES)}"),
        *(f"/s/confirm/{three}", f"/s/confirm/{three[:-1]}x", f"{form[:-1]}!"),
    ):
        assert (await visitor.request(method, path)).status_code == 404, path


async def topics(sessions: Sessions) -> tuple[UUID, UUID]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        made = [
            Topic(**HERE, name="New <arrivals>", purpose="email", position=1),
            Topic(**HERE, name="Concerts", purpose="email", position=2),
        ]
        db.add_all(made)
        await db.flush()
    return made[0].id, made[1].id


async def somebody(sessions: Sessions, **consents_: str) -> tuple[UUID, str, str]:
    """Somebody with a mail: their profile, the page by the mail's link, and by a link made for them."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db, "ada@example.com", consents_ or {"email": "granted"})
        message = await a_message(db, ada, "ada@example.com")
    of_mail = f"/p/{TOKENS.sign(DEFAULT_WORKSPACE, message)}"
    return ada, of_mail, f"/p/{TOKENS.sign(DEFAULT_WORKSPACE, ada, About.PREFERENCES)}"


def boxes(answer: Response) -> list[tuple[str, bool]]:
    found = re.findall(r'name="topic" value="([\w-]+)"( checked)?', answer.text)
    return [(id_, bool(checked)) for id_, checked in found]


async def chosen(sessions: Sessions) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await rows(
            db,
            "select t.name, c.state, c.source from topic_consents c join topics t on t.id = c.topic_id "
            "where c.ended_at is null order by t.position",
        )


async def test_people_choose_topic_by_topic_and_a_look_changes_nothing(
    sessions: Sessions, visitor: AsyncClient
) -> None:
    arrivals, concerts = await topics(sessions)
    _, *links = await somebody(sessions)
    for link in links:
        answer = await visitor.get(link)
        assert boxes(answer) == [(str(arrivals), True), (str(concerts), True)]
        assert "New &lt;arrivals&gt;" in answer.text
    assert await chosen(sessions) == []

    shown = {"shown": [str(arrivals), str(concerts)]}
    saved = await visitor.post(links[0], data={**shown, "topic": [str(concerts)]})

    assert boxes(saved) == [(str(arrivals), False), (str(concerts), True)]
    assert await chosen(sessions) == [
        ("New <arrivals>", "denied", "person"),
        ("Concerts", "granted", "person"),
    ]
    assert await consents(sessions) == [("email", "granted", "import")]
    await visitor.post(links[1], data={**shown, "topic": [str(arrivals), "nonsense", str(uuid4())]})
    assert [state for _, state, _ in await chosen(sessions)] == ["granted", "denied"]


async def test_none_of_it_is_an_unsubscribe(sessions: Sessions, visitor: AsyncClient) -> None:
    await topics(sessions)
    _, by_mail, by_link = await somebody(sessions)

    answer = await visitor.post(by_mail, data={"none": "1"})

    assert heading(answer) == "You are unsubscribed"
    assert await consents(sessions) == [("email", "denied", "person")]
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select reason, address from suppressions where ended_at is null") == [
            ("unsubscribed", "ada@example.com")
        ]
        assert await rows(db, "select kind from message_events") == ["unsubscribed"]
    assert boxes(await visitor.get(by_link)) == [(id_, False) for id_, _ in boxes(await visitor.get(by_mail))]


async def test_who_chooses_something_again_hears_of_it_again(
    sessions: Sessions, visitor: AsyncClient
) -> None:
    arrivals, concerts = await topics(sessions)
    _, by_mail, by_link = await somebody(sessions)
    await visitor.post(by_link, data={"none": "1"})

    await visitor.post(by_mail, data={"shown": [str(arrivals), str(concerts)], "topic": str(arrivals)})

    assert await consents(sessions) == [("email", "granted", "person")]
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select 1 from suppressions where ended_at is null") == []


async def test_the_unsubscribe_page_leads_to_the_choice(sessions: Sessions, visitor: AsyncClient) -> None:
    _, by_mail, _ = await somebody(sessions)

    answer = await visitor.get(by_mail.replace("/p/", "/u/"))

    assert f'href="{by_mail}"' in answer.text
    assert (await visitor.get(by_mail)).status_code == 200


async def test_a_page_of_somebody_who_was_erased_is_gone(sessions: Sessions, visitor: AsyncClient) -> None:
    ada, by_mail, by_link = await somebody(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles_erased.erase(db, ada, NOON)

    for link in (by_mail, by_link):
        assert (await visitor.post(link, data={"none": "1"})).status_code == 404
        assert (await visitor.get(link)).status_code == 404
