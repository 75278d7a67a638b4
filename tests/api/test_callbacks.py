"""POST /callbacks/{token}: who may answer a call, what is refused, and what comes of it."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx2 import AsyncClient

from activities.calls import Caller
from domain.announcements import AnnouncementType
from domain.catalogue import CATALOGUE
from domain.keys import new_key
from domain.roles import KeyKind
from domain.tokens import About, Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import keys
from tests.activities.test_flow_calls import Calling, asking
from tests.api.conftest import SETTINGS, the_app
from tests.api.support import KEY, V1, created, refusal
from tests.calling import posted
from tests.people import another_workspace
from tests.sending import ran

TOKENS = Tokens(SETTINGS.signing_key.encode())
DONE = {"outcome": "done"}


@pytest.fixture
async def site(sessions: Sessions, nobody: AsyncClient) -> Calling:
    """Two members who wait for a callback, which `nobody` may send."""
    site = Calling(sessions)
    site.acts.caller = Caller(TOKENS, SETTINGS.public_url)
    the_app().state.stack.clock = site.clock
    await site.start(asking, 2)
    await site.advance()
    return site


async def the_call(site: Calling) -> tuple[str, dict[str, Any]]:
    """Where the one call is answered, and what was posted."""
    [said] = await posted(site.sessions)
    return f"{V1}/callbacks/{said['callback_url'].rpartition('/')[2]}", said


def of(said: dict[str, Any], nth: int, outcome: str = "done", **values: Any) -> dict[str, Any]:
    return {"member": said["members"][nth]["member"], "outcome": outcome, **values}


def counts(taken: int = 0, late: int = 0, repeated: int = 0, unknown: int = 0) -> dict[str, int]:
    return {"taken": taken, "late": late, "repeated": repeated, "unknown": unknown}


async def test_what_is_posted_is_as_the_catalogue_says(site: Calling) -> None:
    at, said = await the_call(site)

    CATALOGUE[AnnouncementType.FLOW_CALL].model_validate(said)
    assert said["callback_url"] == f"https://mail.records.example{at}"


async def test_members_are_answered_for_without_a_key_each_once(site: Calling, nobody: AsyncClient) -> None:
    at, said = await the_call(site)
    first = {"members": [of(said, 0), of(said, 0, "failed"), {"member": str(uuid4()), "outcome": "done"}]}

    answer = await nobody.post(at, json=first)
    assert await created(answer) == counts(taken=1, repeated=1, unknown=1)
    assert "ratelimit" in answer.headers
    assert await created(await nobody.post(at, json=first)) == counts(repeated=2, unknown=1)
    assert await created(await nobody.post(at, json={"outcome": "failed"})) == counts(taken=1, repeated=1)
    await site.advance()

    assert await site.places() == {"well": 1, "ill": 1}


async def test_what_was_found_out_is_written_before_they_go_on_and_by_nobody_else(
    site: Calling, nobody: AsyncClient
) -> None:
    at, said = await the_call(site)
    known = "select attributes - 'nth' from profiles where id = :who"
    who = said["members"][0]["profile_id"]
    attributes = {"company": "Groove Records", "calls": {"$inc": 1}}

    wrong = {"members": [of(said, 1), of(said, 0, attributes={"calls": {"$inc": "x"}})]}
    problem = refusal(await nobody.post(at, json=wrong), 422)
    assert problem["errors"][0]["pointer"] == "/members/1/attributes/calls"
    assert await created(
        await nobody.post(at, json={"members": [of(said, 0, attributes=attributes)]})
    ) == counts(taken=1)
    again = {"members": [of(said, 0, attributes={"company": "Another"})]}
    assert await created(await nobody.post(at, json=again)) == counts(repeated=1)

    assert await site.ask(known, who=who) == [{"company": "Groove Records", "calls": 1}]


async def test_an_answer_that_comes_too_late_is_answered_and_changes_nothing(
    site: Calling, nobody: AsyncClient
) -> None:
    at, _ = await the_call(site)
    site.clock.move(timedelta(hours=1, seconds=1))
    assert await created(await nobody.post(at, json=DONE)) == counts(late=2)
    await site.advance()
    assert await created(await nobody.post(at, json=DONE)) == counts(late=2)

    assert await site.places() == {"ill": 2}


async def test_a_forged_token_is_answered_like_one_that_was_never_given(
    site: Calling, nobody: AsyncClient
) -> None:
    at, said = await the_call(site)
    call = UUID(said["call_id"])
    stranger = await another_workspace(site.sessions)
    forged = [
        Tokens(b"the key of somebody else").sign(DEFAULT_WORKSPACE, call, About.CALL),
        TOKENS.sign(DEFAULT_WORKSPACE, call, About.MESSAGE),
        TOKENS.sign(DEFAULT_WORKSPACE, uuid4(), About.CALL),
        TOKENS.sign(stranger, call, About.CALL),
        at.rpartition("/")[2][:-1],
        "x" * 200,
    ]

    details = {
        refusal(await nobody.post(f"{V1}/callbacks/{each}", json=DONE), 404)["detail"] for each in forged
    }
    assert len(details) == 1
    assert await site.places() == {"ask": 2}


async def test_a_key_that_is_sent_is_of_the_calls_workspace(site: Calling, nobody: AsyncClient) -> None:
    at, _ = await the_call(site)
    theirs = new_key(KeyKind.SECRET)
    other = await another_workspace(site.sessions)
    async with site.sessions(other) as db:
        await keys.create(db, other, theirs, "n8n", ["flows:run"])
    forged = await nobody.post(f"{V1}/callbacks/x", json=DONE)

    async def by(key: str) -> Any:
        return await nobody.post(at, json=DONE, headers={"Authorization": f"Bearer {key}"})

    assert refusal(await by(theirs), 404)["detail"] == refusal(forged, 404)["detail"]
    refusal(await by("sk_nobody"), 401)
    assert await site.ask("select answered from calls") == [0]
    assert await created(await by(KEY)) == counts(taken=2)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"members": []},
        {"outcome": "done", "members": [{"member": str(UUID(int=1)), "outcome": "done"}]},
        {"outcome": "perhaps"},
        {"members": [{"member": "p1", "outcome": "done"}]},
        {"members": [{"member": str(UUID(int=1))}]},
        {"members": [{"member": str(UUID(int=1)), "outcome": "done", "reason": "x" * 501}]},
        {"members": [{"member": str(UUID(int=1)), "outcome": "done", "reason": "\0"}]},
        {"members": [{"member": str(UUID(int=1)), "outcome": "done"}] * 501},
    ],
)
async def test_a_callback_says_what_became_of_whom(strict_api: AsyncClient, body: dict[str, Any]) -> None:
    refusal(await strict_api.post(f"{V1}/callbacks/x", json=body), 422)


async def test_not_more_is_read_of_a_callback_than_it_can_say(strict_api: AsyncClient) -> None:
    long = {"outcome": "done", "x": "x" * 1_000_000}

    refusal(await strict_api.post(f"{V1}/callbacks/x", json=long), 413)


async def test_no_log_holds_what_a_call_is_answered_with(
    site: Calling, nobody: AsyncClient, capfd: pytest.CaptureFixture[str]
) -> None:
    at, _ = await the_call(site)
    await created(await nobody.post(at, json=DONE))

    said = capfd.readouterr().out
    assert "/callbacks/…" in said
    assert at.rpartition("/")[2] not in said


async def test_who_answers_too_often_waits(site: Calling, nobody: AsyncClient) -> None:
    at, _ = await the_call(site)
    the_app().state.stack.leases.limit = 3

    answers = [(await nobody.post(at, json=DONE)).status_code for _ in range(4)]
    assert answers == [200, 200, 200, 429]


async def test_a_flow_that_calls_is_kept_as_it_was_sent_and_names_a_webhook_that_is_there(
    site: Calling, api: AsyncClient
) -> None:
    step = asking(site.webhook)["ask"] | {"attributes": ["plan"], "then": None, "otherwise": None}
    definition = {"trigger": {"kind": "api"}, "first": "ask", "steps": {"ask": step}, "reentry": "once"}

    made = await created(await api.post(f"{V1}/flows", json={"name": "Ask", "definition": definition}))
    kept = made["definition"]["steps"]["ask"]
    assert kept == step | {"callback": {"within": "PT1H"}}
    step["webhook_id"] = str(uuid4())
    answer = await api.post(f"{V1}/flows", json={"name": "Ask", "definition": definition})
    [error] = refusal(answer, 422)["errors"]
    assert error["pointer"] == "/definition/steps/ask/webhook_id"


async def test_a_webhook_that_a_flow_may_still_call_stays(site: Calling, api: AsyncClient) -> None:
    at = f"{V1}/webhooks/{site.webhook}"
    assert 'The flow "Welcome" calls this webhook' in refusal(await api.delete(at), 409)["detail"]
    await ran(site.acts.archive, site.flow)

    assert (await api.delete(at)).status_code == 204
