"""Nobody sends as an address that did not say yes: by a link that was mailed there, or by its domain."""

from datetime import timedelta

import pytest
from httpx2 import AsyncClient, Response
from sqlalchemy import text

from models.base import Sessions
from tests.api.conftest import Clocked
from tests.api.people import Person, a_member, an_owner, mailed, signed_in
from tests.api.support import a_campaign, created, refusal

HELLO, NEWS = "hello@records.example", "news@records.example"


@pytest.fixture
async def owner(nobody: AsyncClient, sessions: Sessions) -> Person:
    return await an_owner(nobody, sessions, "owner@example.com")


async def link(sessions: Sessions, address: str) -> str:
    return (await mailed(sessions, address, "verify sender"))[-1]


async def say_yes(owner: Person, token: str) -> Response:
    return await owner.api.post("/accounts/sender", data={"token": token}, headers={"Authorization": ""})


async def signed_in_again(owner: Person) -> Person:
    again = await signed_in(owner.api, owner.email)
    again.workspace = owner.workspace
    return again


async def sending(owner: Person) -> tuple[str | None, bool]:
    workspace = (await owner.get("/workspace")).json()
    return workspace["sender_email"], workspace["sender_verified"]


async def the_sending_email(sessions: Sessions, owner: Person) -> str | None:
    async with sessions.engine() as db:
        asked = text("select sending_email from workspaces where id = :id")
        found: str | None = await db.scalar(asked, {"id": owner.workspace})
        return found


async def test_a_workspaces_sender_is_taken_and_mailed_a_link(owner: Person, sessions: Sessions) -> None:
    await created(await owner.patch("/workspace", {"sender_email": HELLO}))

    assert await sending(owner) == (HELLO, False)
    assert len(await mailed(sessions, HELLO, "verify sender")) == 1
    [sender] = (await owner.get("/senders")).json()["items"]
    assert (sender["email"], sender["state"], sender["default"]) == (HELLO, "waiting", False)

    token = await link(sessions, HELLO)
    page = await owner.api.get("/accounts/sender", params={"token": token})
    assert token in page.text
    assert await sending(owner) == (HELLO, False), "Scanners follow every link."

    assert HELLO in (await say_yes(owner, token)).text
    assert await sending(owner) == (HELLO, True)
    sender = (await owner.get(f"/senders/{sender['id']}")).json()
    assert (sender["state"], sender["domain_id"], sender["default"]) == ("verified", None, True)


async def test_a_workspace_that_is_made_with_a_sender_asks_it_too(owner: Person, sessions: Sessions) -> None:
    made = await created(await owner.post("/workspaces", {"name": "Second", "sender_email": NEWS}))

    assert not made["sender_verified"]
    assert await mailed(sessions, NEWS, "verify sender")


async def test_a_campaign_is_refused_until_somebody_said_yes(owner: Person, sessions: Sessions) -> None:
    sender = {"sender_email": HELLO, "postal_address": "1 Groove Street"}
    await created(await owner.patch("/workspace", sender))
    owner.api.headers |= owner.headers
    campaign = await a_campaign(owner.api)

    at, body = f"/campaigns/{campaign}/test", {"addresses": ["me@records.example"]}

    assert f"Verify {HELLO} first" in refusal(await owner.post(at, body), 422)["detail"]
    await say_yes(owner, await link(sessions, HELLO))
    assert (await owner.post(at, body)).status_code == 202


async def test_until_the_new_one_says_yes_mail_comes_from_the_one_before(
    owner: Person, sessions: Sessions
) -> None:
    await created(await owner.patch("/workspace", {"sender_email": HELLO}))
    await say_yes(owner, await link(sessions, HELLO))
    await created(await owner.patch("/workspace", {"sender_email": NEWS}))

    assert await sending(owner) == (NEWS, False)
    assert await the_sending_email(sessions, owner) == HELLO
    await say_yes(owner, await link(sessions, NEWS))
    assert await the_sending_email(sessions, owner) == NEWS

    await created(await owner.patch("/workspace", {"sender_email": HELLO}))
    assert await sending(owner) == (HELLO, True), "It said yes before."
    await created(await owner.patch("/workspace", {"sender_email": None}))
    assert await the_sending_email(sessions, owner) is None


async def test_a_link_works_once_and_for_seven_days_and_a_newer_one_ends_it(
    owner: Person, sessions: Sessions, clocked: Clocked
) -> None:
    made = await created(await owner.post("/senders", {"email": NEWS, "name": "News"}))
    first = await link(sessions, NEWS)
    assert (await owner.post(f"/senders/{made['id']}/verify")).status_code == 202
    second = await link(sessions, NEWS)

    assert (await say_yes(owner, first)).status_code == 422
    clocked.clock.move(timedelta(days=7, seconds=1))
    late = await say_yes(owner, second)
    assert late.status_code == 422
    assert "too old" in late.text

    clocked.clock.move(timedelta(days=-1))
    assert (await say_yes(owner, second)).status_code == 200
    assert (await say_yes(owner, second)).status_code == 422
    again = await signed_in_again(owner)
    refusal(await again.post(f"/senders/{made['id']}/verify"), 409)


@pytest.mark.parametrize("token", ["", "nonsense", "<script>alert(1)</script>", "A" * 80])
async def test_a_link_that_is_none_of_ours_does_nothing_and_is_not_shown(owner: Person, token: str) -> None:
    answer = await say_yes(owner, token)

    assert answer.status_code == 422
    assert "<script>" not in answer.text


async def test_a_link_speaks_for_its_own_workspace_alone(
    owner: Person, sessions: Sessions, nobody: AsyncClient
) -> None:
    other = await an_owner(nobody, sessions, "eve@example.com")
    for each in (owner, other):
        await created(await each.patch("/workspace", {"sender_email": HELLO}))

    assert len(await mailed(sessions, HELLO, "verify sender")) == 2
    await say_yes(other, await link(sessions, HELLO))
    assert await sending(owner) == (HELLO, False)
    assert await sending(other) == (HELLO, True)


async def test_nobody_is_written_to_again_and_again(owner: Person, sessions: Sessions) -> None:
    made = await created(await owner.post("/senders", {"email": NEWS}))
    answers = [await owner.post(f"/senders/{made['id']}/verify") for _ in range(5)]

    assert [each.status_code for each in answers] == [202] * 4 + [429]
    assert len(await mailed(sessions, NEWS, "verify sender")) == 5


async def test_a_sender_is_changed_and_deleted_but_not_the_one_that_mail_comes_from(
    owner: Person, sessions: Sessions
) -> None:
    made = await created(await owner.post("/senders", {"email": NEWS, "reply_to": HELLO}))
    at = f"/senders/{made['id']}"
    refusal(await owner.post("/senders", {"email": NEWS}), 409)
    changed = await created(await owner.patch(at, {"name": "Ada", "reply_to": None}))
    assert (changed["name"], changed["reply_to"], changed["email"]) == ("Ada", None, NEWS)
    refusal(await owner.patch(at, {}), 422)
    refusal(await owner.patch(at, {"email": HELLO}), 422)

    await created(await owner.patch("/workspace", {"sender_email": NEWS}))
    assert "choose another" in refusal(await owner.delete(at), 409)["detail"]
    await created(await owner.patch("/workspace", {"sender_email": None}))
    assert (await owner.delete(at)).status_code == 204
    refusal(await owner.get(at), 404)


async def test_neither_token_nor_hash_is_in_an_answer_or_the_log(owner: Person, sessions: Sessions) -> None:
    await created(await owner.post("/senders", {"email": NEWS}))
    token = await link(sessions, NEWS)

    answers = [await owner.get("/senders"), await owner.get("/audit-log")]
    assert not [each for each in answers if token in each.text or "token" in each.text]


async def test_a_marketer_reads_senders_and_makes_none(owner: Person, sessions: Sessions) -> None:
    marketer = await a_member(owner, sessions, "marketer@example.com", "marketer")

    assert (await marketer.get("/senders")).is_success
    refusal(await marketer.post("/senders", {"email": NEWS}), 403)
