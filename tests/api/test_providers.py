"""Accounts with providers: set up, tried out, changed, deleted; their credentials are seen by nobody."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from httpx2 import AsyncClient
from pydantic import ValidationError
from sqlalchemy import select, text

from api import accounts
from channels import registry
from channels.credentials import unseal
from domain.routing import BUILT_IN
from domain.secrets import Sealer
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.providers import Provider
from models.queries import sealed
from models.queries.provider_accounts import MOST
from settings import DEVELOPMENT_ENCRYPTION_KEY
from tests.api.conftest import the_app
from tests.api.support import V1, a_sender, created, refusal
from tests.channels import pigeons
from tests.channels.lofts import TOKEN, LoftLab

AT = f"{V1}/providers"


@pytest.fixture
async def loft(lonely_api: AsyncClient) -> AsyncIterator[LoftLab]:
    """A loft next door, where the API of this test finds carrier pigeons."""
    stack = the_app().state.stack
    async with LoftLab() as lab:
        stack.world = replace(stack.world, endpoints={pigeons.KIND.name: lab.url})
        yield lab


def a_body(**values: Any) -> dict[str, Any]:
    settings = {"loft": "North", "token": TOKEN, **values.pop("settings", {})}
    return {"name": "Our pigeons", "kind": "pigeons", "settings": settings, **values}


async def pigeon_account(api: AsyncClient, **values: Any) -> dict[str, Any]:
    return await created(await api.post(f"{AT}?check=false", json=a_body(**values)))


async def test_an_account_is_asked_for_before_it_counts_and_shows_no_credential(
    lonely_api: AsyncClient, loft: LoftLab
) -> None:
    made = await created(await lonely_api.post(AT, json=a_body(rate=5)))

    assert made["settings"] == {"loft": "North", "pigeons": 3, "ring": None, "token": "set"}
    assert (made["channel"], made["state"], made["rate"], made["webhook_url"]) == ("email", "closed", 5, None)
    assert (await lonely_api.get(f"{AT}/{made['id']}")).json() == made
    listed = (await lonely_api.get(AT)).json()["items"]
    assert [each["id"] for each in listed] == [made["id"], str(BUILT_IN)]


async def test_a_credential_is_sealed_and_in_no_answer_and_no_line_of_the_audit_log(
    lonely_api: AsyncClient, loft: LoftLab, sessions: Sessions
) -> None:
    made = await pigeon_account(lonely_api)
    answers = [
        await lonely_api.get(AT),
        await lonely_api.patch(f"{AT}/{made['id']}", json={"settings": {"token": TOKEN}}),
        await lonely_api.post(f"{AT}/{made['id']}/check"),
        await lonely_api.get(f"{V1}/audit-log"),
    ]

    assert not [each for each in answers if TOKEN in each.text or "credentials" in each.text]
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = (await db.scalars(select(Provider))).one()
        logged = [*await db.scalars(text("select audit_log::text from audit_log"))]
    assert TOKEN not in str(row.settings)
    assert row.credentials is not None
    assert TOKEN not in row.credentials
    assert unseal(Sealer.of(DEVELOPMENT_ENCRYPTION_KEY), row.credentials, row.id) == {"token": TOKEN}
    assert logged
    assert not [line for line in logged if TOKEN in line or row.credentials in line]


async def test_a_new_key_reseals_credentials(lonely_api: AsyncClient, sessions: Sessions) -> None:
    made = await pigeon_account(lonely_api)
    renewed = Sealer.of(f"new:{'A' * 43}=,{DEVELOPMENT_ENCRYPTION_KEY}")

    async with sessions.engine() as db:
        assert await sealed.reseal(db, renewed) == 1
        assert await sealed.reseal(db, renewed) == 0

    async with sessions(DEFAULT_WORKSPACE) as db:
        row = (await db.scalars(select(Provider))).one()
    assert (row.credentials or "").startswith("v1.new.")
    assert unseal(renewed, row.credentials, row.id) == {"token": TOKEN}
    assert str(row.id) == made["id"]


async def test_what_the_provider_says_of_a_bad_credential_is_said_before_anything_is_kept(
    lonely_api: AsyncClient, loft: LoftLab
) -> None:
    bad = a_body(settings={"token": "chaff"})

    problem = refusal(await lonely_api.post(AT, json=bad), 422)

    [error] = problem["errors"]
    assert (error["pointer"], error["detail"]) == (
        "/settings",
        "The loft does not let us in: There is no such token.",
    )
    assert "chaff" not in str(problem)
    assert [each["built_in"] for each in (await lonely_api.get(AT)).json()["items"]] == [True]
    assert (await lonely_api.post(f"{AT}?check=false", json=bad)).status_code == 201


async def test_a_provider_that_does_not_answer_is_told_apart_from_one_that_says_no(
    lonely_api: AsyncClient, loft: LoftLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "PATIENCE", 0.1)
    loft.wait = 1
    slow = refusal(await lonely_api.post(AT, json=a_body()), 422)
    stack = the_app().state.stack
    stack.world = replace(stack.world, endpoints={"pigeons": "http://127.0.0.1:9"})
    gone = refusal(await lonely_api.post(AT, json=a_body()), 422)

    assert "did not answer within 0.1 s" in slow["detail"]
    assert "can't be reached" in gone["detail"]
    for problem in (slow, gone):
        assert "nothing is known of the account" in problem["detail"]
        assert "?check=false" in problem["detail"]
        assert [each["pointer"] for each in problem["errors"]] == ["/settings"]


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("sender: 535 Wrong password", "535 Wrong password."),
        ("SES: The key is not valid..", "SES: The key is not valid."),
        (
            "mx.example:25 can't be reached: [Errno 111] Connect call failed ('192.0.2.7', 25)",
            "mx.example:25 can't be reached: nobody answers at 192.0.2.7:25.",
        ),
        ("Twilio can't be reached: ConnectTimeout", "Twilio can't be reached: nobody answers there."),
        ("Is the key yours?", "Is the key yours?"),
    ],
)
def test_what_a_check_finds_is_said_plainly(said: str, plain: str) -> None:
    assert accounts.plainly(said) == plain


async def test_a_hold_without_a_body_names_what_is_missing(lonely_api: AsyncClient) -> None:
    problem = refusal(await lonely_api.post(f"{AT}/{BUILT_IN}/hold"), 422)

    assert problem["detail"] == "Send a JSON body with reason."


async def test_what_is_wrong_with_settings_has_pointers(lonely_api: AsyncClient) -> None:
    async def wrong_with(**values: Any) -> set[str]:
        answer = await lonely_api.post(AT, json=a_body(**values))
        return {each["pointer"] for each in refusal(answer, 422)["errors"]}

    assert await wrong_with(settings={"pigeons": "many", "loft": 7}) == {
        "/settings/pigeons",
        "/settings/loft",
    }
    assert await wrong_with(settings={"lofts": "North"}) == {"/settings/lofts"}
    assert await wrong_with(settings={"token": "set"}) == {"/settings/token"}
    assert await wrong_with(settings={"token": None}) == {"/settings/token"}
    assert await wrong_with(kind="owls") == {"/kind"}
    assert await wrong_with(rate=0) == {"/rate"}
    assert await wrong_with(domain_rates={"gmail": 1}) != set()
    assert await wrong_with(warm_up={"starts_on": "2026-11-23", "days": [-1]}) == {"/warm_up/days/0"}
    assert await wrong_with(domain_rates={f"d{n}.example": 1 for n in range(101)}) == {"/domain_rates"}


async def test_a_field_that_there_is_not_is_answered_with_those_that_there_are(
    lonely_api: AsyncClient,
) -> None:
    async def told(**values: Any) -> dict[str, str]:
        answer = await lonely_api.post(AT, json=a_body() | values)
        return {each["pointer"]: each["detail"] for each in refusal(answer, 422)["errors"]}

    assert await told(kind="Pigeon") == {
        "/kind": 'There is no kind of provider "Pigeon"; did you mean "pigeons"?'
    }
    assert await told(kinds="pigeons") == {"/kinds": 'There is no such field; did you mean "kind"?'}
    assert await told(settings={"lofts": "North"}) == {
        "/settings/lofts": 'There is no such field; did you mean "loft"?',
        "/settings/loft": "This field is required.",
        "/settings/token": "This field is required.",
    }
    assert (await told(settings={"loft": "North", "token": TOKEN, "x": 1}))["/settings/x"] == (
        "There is no such field; take it out. There are: loft, pigeons, ring, token."
    )
    assert (await told(warm_up={"starts_on": "2026-11-23", "days": [1], "day": 1}))["/warm_up/day"] == (
        'There is no such field; did you mean "days"?'
    )


async def test_settings_that_can_not_be_kept_are_refused_in_words(lonely_api: AsyncClient) -> None:
    for settings in ({"pigeons": 10**30}, {"loft": "a\0b"}, {"loft": "x" * 60_000}, {"a/b~": 1}):
        problem = refusal(await lonely_api.post(f"{AT}?check=false", json=a_body(settings=settings)), 422)
        assert TOKEN not in str(problem)
    half = '{"name": "x", "kind": "pigeons", "settings": {"loft": "\\ud800", "token": "x"}}'
    headers = {"Content-Type": "application/json"}
    refusal(await lonely_api.post(f"{AT}?check=false", content=half, headers=headers), 422)


async def test_what_does_not_fit_a_pattern_is_told_how_it_must_be(lonely_api: AsyncClient) -> None:
    body = a_body(settings={"ring": "one"})

    [error] = refusal(await lonely_api.post(AT, json=body), 422)["errors"]

    assert error["pointer"] == "/settings/ring"
    assert error["detail"] == "This is not written as it must be: The number on its ring."


async def test_a_change_keeps_what_it_leaves_out(
    lonely_api: AsyncClient, loft: LoftLab, sessions: Sessions
) -> None:
    made = await pigeon_account(lonely_api)
    warm_up = {"starts_on": "2026-11-23", "days": [100, 200]}

    moved = await created(
        await lonely_api.patch(f"{AT}/{made['id']}", json={"settings": {"loft": "South"}, "warm_up": warm_up})
    )
    again = await created(
        await lonely_api.patch(f"{AT}/{made['id']}", json={"settings": {**moved["settings"], "pigeons": 9}})
    )
    other = await created(
        await lonely_api.patch(f"{AT}/{made['id']}", json={"warm_up": None, "domain_rates": {"GMail.com": 2}})
    )

    assert moved["settings"] == {"loft": "South", "pigeons": 3, "ring": None, "token": "set"}
    assert moved["warm_up"] == warm_up
    assert again["settings"] == {"loft": "South", "pigeons": 9, "ring": None, "token": "set"}
    assert (other["warm_up"], other["domain_rates"]) == (None, {"gmail.com": 2})
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = (await db.scalars(select(Provider))).one()
    assert unseal(Sealer.of(DEVELOPMENT_ENCRYPTION_KEY), row.credentials, row.id) == {"token": TOKEN}


async def test_a_changed_credential_is_tried_out_too(lonely_api: AsyncClient, loft: LoftLab) -> None:
    made = await pigeon_account(lonely_api)
    at = f"{AT}/{made['id']}"

    refusal(await lonely_api.patch(at, json={"settings": {"token": "chaff"}}), 422)
    assert (await lonely_api.post(f"{at}/check")).json() == {
        "healthy": True,
        "says": "A message could be sent now.",
    }
    assert (await lonely_api.patch(f"{at}?check=false", json={"settings": {"token": "chaff"}})).is_success
    checked = (await lonely_api.post(f"{at}/check")).json()
    assert checked["healthy"] is False
    assert "no such token" in checked["says"]
    assert (await lonely_api.patch(at, json={"name": "Lame pigeons"})).is_success  # It has nothing to ask.


async def test_two_who_change_the_same_do_not_both_win(lonely_api: AsyncClient) -> None:
    made = await pigeon_account(lonely_api)
    at = f"{AT}/{made['id']}"
    tag = (await lonely_api.get(at)).headers["etag"]
    held = await lonely_api.post(f"{at}/hold", json={"reason": "They moult."})

    first = await lonely_api.patch(at, json={"rate": 1}, headers={"If-Match": tag})
    second = await lonely_api.patch(at, json={"rate": 2}, headers={"If-Match": tag})

    assert held.is_success  # How it is doing is no change of it.
    assert (first.status_code, second.status_code) == (200, 412)
    assert (await lonely_api.delete(at, headers={"If-Match": tag})).status_code == 412


async def test_a_deleted_account_is_gone_and_so_are_its_credentials(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    made = await pigeon_account(lonely_api)

    assert (await lonely_api.delete(f"{AT}/{made['id']}")).status_code == 204

    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/health"),
        ("POST", "/check"),
        ("GET", "/history"),
    ):
        answer = await lonely_api.request(method, f"{AT}/{made['id']}{path}")
        assert refusal(answer, 404)["detail"] == f'"{made["name"]}" was deleted.'
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = (await db.scalars(select(Provider))).one()
    assert row.deleted_at is not None
    assert (row.settings, row.credentials) == ({}, None)
    with pytest.raises(ValidationError):  # So nobody who still opens it takes "set" for a credential.
        pigeons.KIND.settings.model_validate(row.settings)


async def test_an_account_that_a_route_leads_to_stays(lonely_api: AsyncClient) -> None:
    made = await pigeon_account(lonely_api)
    body = {"channel": "email", "class": "marketing", "provider_id": made["id"]}
    route = await created(await lonely_api.post(f"{V1}/routes", json=body))

    problem = refusal(await lonely_api.delete(f"{AT}/{made['id']}"), 409)
    assert f"marketing email ({route['id']})" in problem["detail"]

    assert (await lonely_api.delete(f"{V1}/routes/{route['id']}")).status_code == 204
    assert (await lonely_api.delete(f"{AT}/{made['id']}")).status_code == 204


async def test_there_is_room_for_so_many(lonely_api: AsyncClient, sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        for _ in range(MOST):
            db.add(Provider(workspace_id=DEFAULT_WORKSPACE, name="x", kind="pigeons", channel="email"))

    problem = refusal(await lonely_api.post(f"{AT}?check=false", json=a_body()), 409)

    assert f"at most {MOST}" in problem["detail"]
    pages = [(await lonely_api.get(f"{AT}?limit={MOST}")).json()]
    pages.append((await lonely_api.get(f"{AT}?limit={MOST}&cursor={pages[0]['next_cursor']}")).json())
    assert [len(page["items"]) for page in pages] == [MOST, 1]
    assert pages[1]["items"][0]["built_in"]


async def test_the_installations_own_server_can_be_held_and_not_changed(lonely_api: AsyncClient) -> None:
    at = f"{AT}/{BUILT_IN}"

    assert "SMTP_URL" in refusal(await lonely_api.patch(at, json={"name": "Mine"}), 409)["detail"]
    refusal(await lonely_api.delete(at), 409)
    held = (await lonely_api.post(f"{at}/hold", json={"reason": "It is moved tonight."})).json()
    assert held["state"] == "held"
    assert held["summary"] == "It is held by hand until somebody releases it: It is moved tonight."
    assert (await lonely_api.get(at)).json()["state"] == "held"
    assert (await lonely_api.post(f"{at}/release")).json()["state"] == "closed"
    stack = the_app().state.stack
    stack.settings = stack.settings.model_copy(update={"smtp_url": "smtp://127.0.0.1:9"})
    checked = (await lonely_api.post(f"{at}/check")).json()
    assert (checked["healthy"], "127.0.0.1:9" in checked["says"]) == (False, True)


async def test_a_hold_and_its_end_are_in_the_history_and_in_the_audit_log(lonely_api: AsyncClient) -> None:
    made = await pigeon_account(lonely_api)
    at = f"{AT}/{made['id']}"
    fresh = (await lonely_api.get(f"{at}/health")).json()

    await lonely_api.post(f"{at}/release")  # It works: nothing to do.
    await lonely_api.post(f"{at}/hold", json={"reason": "Cats."})
    await lonely_api.post(f"{at}/release")

    assert (fresh["state"], fresh["since"], fresh["window"]) == ("closed", None, None)
    assert fresh["today"] | {"day": ""} == {
        "day": "",
        "accepted": 0,
        "rejected": 0,
        "retried": 0,
        "unknown": 0,
        "warm_up": None,
    }
    changes = (await lonely_api.get(f"{at}/history")).json()["items"]
    assert [(each["state"], each["reason"]) for each in changes] == [("closed", None), ("held", "Cats.")]
    page = (await lonely_api.get(f"{at}/history?limit=1")).json()
    page = (await lonely_api.get(f"{at}/history?limit=1&cursor={page['next_cursor']}")).json()
    assert [each["state"] for each in page["items"]] == ["held"]
    logged = (await lonely_api.get(f"{V1}/audit-log")).json()["items"]
    assert [each["action"] for each in logged[:3]] == ["release", "hold", "release"]


async def test_kinds_say_what_an_account_needs(lonely_api: AsyncClient) -> None:
    kinds = (await lonely_api.get(f"{AT}/kinds")).json()["items"]

    assert [each["name"] for each in kinds] == sorted(registry.kinds())
    [mine] = [each for each in kinds if each["name"] == "pigeons"]
    assert (mine["title"], mine["channel"], mine["rate"]) == ("Carrier pigeons", "email", 10)
    assert mine["secrets"] == ["token"]
    assert sorted(mine["settings"]["required"]) == ["loft", "token"]
    secrets = {each["name"]: each["secrets"] for each in kinds}
    assert secrets["sendgrid"] == ["api_key"]
    assert secrets["twilio"] == ["auth_token"]
    assert secrets["webhook"] == ["header_value", "secret"]
    [twilio] = [each for each in kinds if each["name"] == "twilio"]
    assert twilio["webhook_url"] == "https://mail.records.example/hooks/{provider_id}"
    assert mine["capabilities"]["webhooks"] is False
    assert mine["webhook_url"] is None


async def test_a_test_send_is_in_the_ledger_and_goes_by_this_provider_alone(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    made = await pigeon_account(lonely_api)
    at = f"{AT}/{made['id']}/test"
    assert (
        "no sender"
        in refusal(await lonely_api.post(at, json={"address": "me@records.example"}), 422)["detail"]
    )
    await a_sender(lonely_api)

    sent = [
        (await created(await lonely_api.post(at, json={"address": "Me@Records.example"}))) for _ in range(2)
    ]
    wrong = refusal(await lonely_api.post(at, json={"address": "nobody"}), 422)

    assert [each["pointer"] for each in wrong["errors"]] == ["/address"]
    async with sessions(DEFAULT_WORKSPACE) as db:
        lines = (
            await db.execute(
                text(
                    "select m.id::text, m.provider::text, m.class, m.channel, m.bare, m.state, t.hidden "
                    "from messages m join template_versions v on v.id = m.template_version_id "
                    "join templates t on t.id = v.template_id order by m.id"
                )
            )
        ).all()
        versions = await db.scalar(text("select count(*) from template_versions"))
    expected = (made["id"], "test", "email", "me@records.example", "queued", True)
    assert [tuple(line) for line in lines] == [(each["message_id"], *expected) for each in sent]
    assert versions == 1


async def test_two_accounts_have_two_names_and_a_deleted_one_leaves_its_own(lonely_api: AsyncClient) -> None:
    first = await pigeon_account(lonely_api, name="Ours")
    second = await pigeon_account(lonely_api, name="Theirs")

    taken = [
        await lonely_api.post(f"{AT}?check=false", json=a_body(name="Ours")),
        await lonely_api.patch(f"{AT}/{second['id']}", json={"name": "Ours"}),
    ]

    for answer in taken:
        [error] = refusal(answer, 409)["errors"]
        assert error["pointer"] == "/name"
        assert error["detail"].startswith('There is a provider called "Ours" already')
    assert (await lonely_api.patch(f"{AT}/{first['id']}", json={"name": "Ours", "rate": 2})).is_success
    assert (await lonely_api.delete(f"{AT}/{first['id']}")).is_success
    assert (await lonely_api.patch(f"{AT}/{second['id']}", json={"name": "Ours"})).is_success


@pytest.mark.parametrize(
    ("kind", "settings", "lacks"),
    [
        ("sendgrid", {"api_key": "SG.x"}, ["webhook_key"]),
        (
            "ses",
            {"region": "eu-west-1", "access_key_id": "AKIA", "secret_access_key": "x"},
            ["topic_arn", "configuration_set"],
        ),
        ("simulated", {}, []),
    ],
)
async def test_an_account_whose_reports_would_be_refused_comes_with_advice(
    lonely_api: AsyncClient, kind: str, settings: dict[str, str], lacks: list[str]
) -> None:
    body = {"name": "Mail", "kind": kind, "settings": settings}

    made = await created(await lonely_api.post(f"{AT}?check=false", json=body))

    assert [each.split()[1] for each in made["advice"]] == lacks
    assert (await lonely_api.get(f"{AT}/{made['id']}")).json()["advice"] == made["advice"]
