"""A workspace's issuers: set up, changed, and their secrets seen by nobody."""

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select, text

from lab.issuer import IssuerLab
from models.base import Sessions
from models.members import Issuer
from tests.api.browser import Browser, ada, an_issuer, start_of
from tests.api.people import Person, a_member, an_owner
from tests.api.support import V1, refusal

SECRET = "the secret of records"


@pytest.fixture
async def owner(nobody: AsyncClient, sessions: Sessions) -> Person:
    return await an_owner(nobody, sessions, "owner@example.com")


async def test_an_issuer_says_where_to_begin_and_where_it_must_send_browsers_back(
    owner: Person, issuer: IssuerLab
) -> None:
    made = await an_issuer(owner, issuer)

    assert made["issuer"] == issuer.url
    at = f"https://mail.records.example{V1}/auth/issuers/{made['id']}"
    assert (made["start_url"], made["redirect_uri"]) == (f"{at}/start", f"{at}/callback")
    assert (await owner.get(f"/issuers/{made['id']}")).json() == made
    assert (await owner.get("/issuers")).json()["items"] == [made]


async def test_its_secret_is_sealed_and_in_no_answer_and_no_line_of_the_audit_log(
    owner: Person, issuer: IssuerLab, sessions: Sessions
) -> None:
    made = await an_issuer(owner, issuer)
    changed = await owner.patch(f"/issuers/{made['id']}", {"client_secret": f"{SECRET}, another"})

    answers = [changed, await owner.get("/issuers"), await owner.get("/audit-log")]
    assert not [each for each in answers if SECRET in each.text or "client_secret" in each.text]
    assert SECRET not in str(made)
    async with sessions.accounts() as db:
        kept = (await db.scalars(select(Issuer))).one()
        logged = [*await db.scalars(text("select audit_log::text from audit_log"))]
    assert kept.client_secret.startswith("v1.")
    assert not [line for line in logged if SECRET in line or kept.client_secret in line]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://169.254.169.254", "not on the public Internet"),
        ("http://10.0.0.1:8080", "not on the public Internet"),
        ("http://2852039166", "not on the public Internet"),
        ("http://0251.0376.0251.0376", "no URL"),
        ("ftp://login.example", "Write the issuer's address"),
        ("https://ada:secret@login.example", "Write the issuer's address"),
        ("https://login.example?x=1", "Write the issuer's address"),
        ("https://login.example#x", "Write the issuer's address"),
        ("https://", "Write the issuer's address"),
        ("nonsense", "Write the issuer's address"),
    ],
)
async def test_an_address_that_is_none_for_an_issuer_is_refused(
    owner: Person, address: str, said: str
) -> None:
    body = {"name": "x", "issuer": address, "client_id": "x", "client_secret": "a secret"}

    problem = refusal(await owner.post("/issuers", body), 422)

    [error] = problem["errors"]
    assert error["pointer"] == "/issuer"
    assert said in error["detail"]
    assert "a secret" not in str(problem)


async def test_an_issuer_must_name_itself_as_it_is_named(owner: Person, issuer: IssuerLab) -> None:
    body = {"name": "x", "client_id": "x", "client_secret": "x"}

    problem = refusal(await owner.post("/issuers", body | {"issuer": f"{issuer.url}/"}), 422)
    assert "names another issuer" in problem["detail"]
    problem = refusal(await owner.post("/issuers", body | {"issuer": f"{issuer.url}/elsewhere"}), 422)
    assert "does not answer there as an OpenID Connect issuer does" in problem["detail"]


@pytest.mark.parametrize(
    "endpoint", ["javascript:alert(1)", "", "/token", 7, None, "http://a:b@login.example/"]
)
async def test_an_issuer_whose_addresses_are_none_is_refused(
    owner: Person, issuer: IssuerLab, endpoint: object
) -> None:
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        issuer.overrides = {name: endpoint}
        body = {"name": "x", "issuer": issuer.url, "client_id": "x", "client_secret": "x"}

        assert name in refusal(await owner.post("/issuers", body), 422)["detail"]


async def test_another_client_ends_what_came_by_the_one_before_and_another_name_does_not(
    owner: Person, issuer: IssuerLab
) -> None:
    made = await an_issuer(owner, issuer)
    issuer.user = ada("owner@example.com")
    person = await Browser(owner.api).sign_in("owner@example.com", start_of(made))

    renamed = await owner.patch(f"/issuers/{made['id']}", {"name": "Staff"})
    assert renamed.json()["name"] == "Staff"
    assert (await person.get("/whoami")).status_code == 200

    await owner.patch(f"/issuers/{made['id']}", {"client_id": "another"})
    refusal(await person.get("/whoami"), 401)


async def test_members_who_are_no_admins_can_not_see_or_touch_issuers(
    owner: Person, issuer: IssuerLab, sessions: Sessions
) -> None:
    made = await an_issuer(owner, issuer)
    marketer = await a_member(owner, sessions, "ada@example.com", "marketer")

    refusal(await marketer.get("/issuers"), 403)
    refusal(await marketer.post("/issuers", {}), 403)
    refusal(await marketer.delete(f"/issuers/{made['id']}"), 403)


async def test_another_workspaces_issuer_is_not_there(
    owner: Person, issuer: IssuerLab, sessions: Sessions
) -> None:
    made = await an_issuer(owner, issuer)
    stranger = await an_owner(owner.api, sessions, "stranger@example.com")

    refusal(await stranger.get(f"/issuers/{made['id']}"), 404)
    refusal(await stranger.patch(f"/issuers/{made['id']}", {"name": "Mine"}), 404)
    refusal(await stranger.patch(f"/issuers/{made['id']}", {}), 422)
    refusal(await stranger.delete(f"/issuers/{made['id']}"), 404)
    assert (await owner.get(f"/issuers/{made['id']}")).json() == made
