"""Sign-in by issuers, by real HTTP against the lab's: whole, and each way to get it wrong."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select, text, update

from lab.issuer import Fault, IssuerLab
from models.accounts import ExternalIdentity, Session, SignIn, User
from models.base import Sessions
from tests.api.browser import Browser, ada, an_issuer, query_of, start_of
from tests.api.conftest import Clocked, the_app
from tests.api.people import PASSWORD, a_member, a_person, an_owner, mailed, signed_in
from tests.api.support import V1, created, refusal

ADA = "ada@example.com"


async def user(sessions: Sessions, email: str) -> User:
    async with sessions.accounts() as db:
        return (await db.scalars(select(User).where(User.email == email))).one()


async def identities(sessions: Sessions) -> list[tuple[str, UUID]]:
    async with sessions.accounts() as db:
        rows = await db.execute(select(ExternalIdentity.subject, ExternalIdentity.user_id))
        return [(subject, user_id) for subject, user_id in rows]


# With Google.


async def test_the_browser_is_sent_to_the_issuer_with_state_nonce_and_a_challenge(
    anybody: AsyncClient, issuer: IssuerLab
) -> None:
    response = await anybody.get(f"{V1}/auth/google/start")

    there = response.headers["location"]
    asked = query_of(there)
    assert there.startswith(f"{issuer.url}/authorize?")
    assert asked["response_type"] == "code"
    assert asked["client_id"] == "campanile"
    assert asked["redirect_uri"] == f"https://mail.records.example{V1}/auth/oidc/callback"
    assert set(asked["scope"].split()) == {"openid", "email", "profile"}
    assert asked["code_challenge_method"] == "S256"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("campanile_sign_in=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "lab-secret" not in there + cookie


async def test_what_is_kept_of_a_sign_in_opens_nothing_to_who_reads_it(
    anybody: AsyncClient, sessions: Sessions
) -> None:
    there = await Browser(anybody).begin()

    async with sessions.accounts() as db:
        kept = (await db.scalars(select(SignIn))).one()
    secrets = {query_of(there)["state"], anybody.cookies["campanile_sign_in"]}
    assert not secrets & {kept.hash.decode("latin-1"), kept.browser_hash.decode("latin-1"), kept.nonce}


async def test_somebody_new_gets_an_account_whose_address_is_proved(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    issuer.user = ada("Ada@Example.com")

    person = await Browser(anybody).sign_in(ADA)

    assert person.tokens["token_type"] == "bearer"
    assert person.tokens["expires_in"] == 900
    me = (await person.get("/users/me")).json()
    assert (me["email"], me["name"], me["has_password"]) == (ADA, "Ada Lovelace", False)
    made = await user(sessions, ADA)
    assert made.verified_at is not None
    assert await identities(sessions) == [("1001", made.id)]
    refreshed = await anybody.post(
        f"{V1}/auth/refresh", json={"refresh_token": person.tokens["refresh_token"]}
    )
    assert refreshed.status_code == 200


async def test_who_was_here_before_gets_into_the_same_account_whatever_their_address_is_now(
    anybody: AsyncClient, issuer: IssuerLab
) -> None:
    issuer.user = ada()
    first = await Browser(anybody).sign_in(ADA)
    issuer.user = ada("countess@example.com")

    second = await Browser(anybody).sign_in(ADA)

    assert (await second.get("/users/me")).json() == (await first.get("/users/me")).json()


async def test_an_account_with_the_address_is_linked_and_its_password_stays(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    before = await a_person(anybody, sessions, ADA)
    issuer.user = ada()

    person = await Browser(anybody).sign_in(ADA)

    assert (await person.get("/users/me")).json()["id"] == (await before.get("/users/me")).json()["id"]
    await signed_in(anybody, ADA)


async def test_an_account_that_somebody_else_made_for_the_address_is_its_owners_from_now_on(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    """Registered by a stranger, who never proved the address: their password must not open it."""
    body = {"email": ADA, "password": PASSWORD, "name": "Stranger"}
    await created(await anybody.post(f"{V1}/auth/register", json=body))
    [token] = await mailed(sessions, ADA, "verify email")
    issuer.user = ada()

    await Browser(anybody).sign_in(ADA)

    refusal(await anybody.post(f"{V1}/auth/login", json={"email": ADA, "password": PASSWORD}), 401)
    refusal(await anybody.post(f"{V1}/auth/verify-email", json={"token": token}), 422)


async def test_the_second_factor_is_the_issuers_business(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    await a_person(anybody, sessions, ADA)
    async with sessions.accounts() as db:
        await db.execute(update(User).values(totp_secret="sealed", totp_since=text("now()")))
    issuer.user = ada()

    assert (await Browser(anybody).come()).status_code == 200


@pytest.mark.parametrize("methods", [("client_secret_post",), ("client_secret_basic",)])
async def test_we_prove_ourselves_as_the_issuer_takes_it(
    anybody: AsyncClient, issuer: IssuerLab, methods: tuple[str, ...]
) -> None:
    issuer.methods = methods

    assert (await Browser(anybody).come()).status_code == 200
    assert issuer.seen.token_requests == [*methods]


async def test_an_issuer_may_change_its_keys_between_two_sign_ins(
    anybody: AsyncClient, issuer: IssuerLab
) -> None:
    for _ in range(3):
        assert (await Browser(anybody).come()).status_code == 200
        issuer.rotate()


async def test_an_issuer_may_sign_by_an_elliptic_curve(anybody: AsyncClient, issuer: IssuerLab) -> None:
    issuer.algorithm = "ES256"
    issuer.rotate()

    assert (await Browser(anybody).come()).status_code == 200


async def test_outside_development_the_cookie_goes_by_tls_and_no_other_host_can_set_it(
    anybody: AsyncClient,
) -> None:
    stack = the_app().state.stack
    stack.settings = stack.settings.model_copy(update={"environment": "production"})

    cookie = (await anybody.get(f"{V1}/auth/google/start")).headers["set-cookie"]

    assert cookie.startswith("__Host-campanile_sign_in=")
    assert {"Secure", "HttpOnly", "Path=/"} <= set(cookie.split("; "))


async def test_where_only_invited_people_register_google_lets_nobody_else_in(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    owner = await an_owner(anybody, sessions, "owner@example.com")
    stack = the_app().state.stack
    stack.settings = stack.settings.model_copy(update={"registration": "invited"})
    issuer.user = ada()

    assert "invited" in refusal(await Browser(anybody).come(), 403)["detail"]
    await created(await owner.post("/invitations", {"email": ADA, "role": "viewer"}))
    assert (await Browser(anybody).come()).status_code == 200


async def test_without_a_client_at_google_there_is_no_sign_in_with_it(nobody: AsyncClient) -> None:
    assert "not set up" in refusal(await nobody.get(f"{V1}/auth/google/start"), 404)["detail"]


# What is not believed.


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (Fault.OTHER_NONCE, 401, "its nonce is wrong"),
        (Fault.NO_NONCE, 401, "does not say its nonce"),
        (Fault.OTHER_AUDIENCE, 401, "its aud is wrong"),
        (Fault.OTHER_PARTY, 401, "its azp is wrong"),
        (Fault.SEVERAL_AUDIENCES, 401, "its azp is wrong"),
        (Fault.OTHER_ISSUER, 401, "its iss is wrong"),
        (Fault.EXPIRED, 401, "past its end"),
        (Fault.FROM_THE_FUTURE, 401, "its iat is wrong"),
        (Fault.NO_SUBJECT, 401, "does not say its sub"),
        (Fault.ALG_NONE, 401, "not signed by one of the issuer's keys"),
        (Fault.SHARED_SECRET, 401, "not signed by one of the issuer's keys"),
        (Fault.PUBLIC_KEY_AS_SECRET, 401, "not signed by one of the issuer's keys"),
        (Fault.OTHER_KEY, 401, "not signed by one of the issuer's keys"),
        (Fault.CHANGED, 401, "not signed by one of the issuer's keys"),
        (Fault.UNVERIFIED, 403, "does not say that it verified your address"),
        (Fault.NO_TOKEN, 503, "without an id token"),
        (Fault.NOT_JSON, 503, "does not answer as it should"),
        (Fault.DOWN, 503, "does not answer as it should"),
    ],
)
async def test_a_token_with_anything_wrong_in_it_signs_nobody_in(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions, fault: Fault, status: int, said: str
) -> None:
    issuer.orders.append(fault)

    problem = refusal(await Browser(anybody).come(), status)

    assert said in problem["detail"]
    assert "lab-secret" not in str(problem)
    async with sessions.accounts() as db:
        assert not (await db.scalars(select(Session))).all()
    assert await identities(sessions) == []


async def test_a_sign_in_is_good_once(anybody: AsyncClient) -> None:
    browser = Browser(anybody)
    back = await browser.consent(await browser.begin())
    kept = dict(anybody.cookies)

    assert (await anybody.get(back)).status_code == 200
    anybody.cookies.update(kept)
    assert "finished before" in refusal(await anybody.get(back), 401)["detail"]


async def test_a_sign_in_is_good_for_ten_minutes(anybody: AsyncClient, clocked: Clocked) -> None:
    browser = Browser(anybody)
    back = await browser.consent(await browser.begin())
    clocked.clock.move(timedelta(minutes=10))

    assert "took too long" in refusal(await anybody.get(back), 401)["detail"]


async def test_another_browser_can_not_finish_it_and_then_nobody_can(anybody: AsyncClient) -> None:
    """Or whoever sends somebody their own address back would sign them in as somebody else."""
    browser = Browser(anybody)
    back = await browser.consent(await browser.begin())
    mine = dict(anybody.cookies)
    anybody.cookies.clear()

    assert "another browser" in refusal(await anybody.get(back), 401)["detail"]
    anybody.cookies.update(mine)
    refusal(await anybody.get(back), 401)


async def test_a_code_of_another_sign_in_is_refused_by_its_verifier(
    anybody: AsyncClient, issuer: IssuerLab
) -> None:
    """A stolen code, brought with a state and a cookie of the thief's own."""
    browser = Browser(anybody)
    issuer.user = ada("victim@example.com", "2002")
    stolen = query_of(await browser.consent(await browser.begin()))["code"]
    state = query_of(await browser.begin())["state"]

    answer = await anybody.get(
        f"{V1}/auth/oidc/callback", params={"code": stolen, "state": state, "iss": issuer.url}
    )

    assert "invalid_grant" in refusal(answer, 401)["detail"]


@pytest.mark.parametrize("query", ["", "?code=x", "?state=x", "?code=x&state=x", "?state=%00&code=x"])
async def test_what_nobody_began_can_not_be_finished(anybody: AsyncClient, query: str) -> None:
    refusal(await anybody.get(f"{V1}/auth/oidc/callback{query}"), 401)


async def test_who_does_not_consent_is_told_so(anybody: AsyncClient, issuer: IssuerLab) -> None:
    issuer.user = None

    assert "(access_denied)" in refusal(await Browser(anybody).come(), 401)["detail"]


@pytest.mark.parametrize("iss", ["https://issuer.example", None])
async def test_an_answer_that_another_issuer_gave_is_refused(anybody: AsyncClient, iss: str | None) -> None:
    browser = Browser(anybody)
    said = query_of(await browser.consent(await browser.begin()))
    params = {"code": said["code"], "state": said["state"]} | ({"iss": iss} if iss else {})

    answer = await anybody.get(f"{V1}/auth/oidc/callback", params=params)

    assert "another issuer" in refusal(answer, 403)["detail"]


async def test_an_issuer_that_is_away_is_said_to_be(anybody: AsyncClient, issuer: IssuerLab) -> None:
    issuer.overrides["issuer"] = "https://issuer.example"

    assert "names another issuer" in refusal(await anybody.get(f"{V1}/auth/google/start"), 503)["detail"]


async def test_an_issuer_can_not_send_us_to_what_is_not_public(
    anybody: AsyncClient, issuer: IssuerLab
) -> None:
    issuer.overrides["jwks_uri"] = "http://169.254.169.254/latest/meta-data"

    assert "not on the public Internet" in refusal(await Browser(anybody).come(), 503)["detail"]


# By a workspace's issuer.


async def test_a_member_comes_by_the_workspaces_issuer_and_enters_that_workspace_alone(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    owner = await an_owner(anybody, sessions, "owner@example.com")
    member = await a_member(owner, sessions, ADA, "marketer")
    other = (await created(await member.post("/workspaces", {"name": "Her own"})))["id"]
    set_up = await an_issuer(owner, issuer)
    issuer.user = ada()

    person = await Browser(anybody).sign_in(ADA, start_of(set_up))

    who = (await person.get("/whoami")).json()
    assert (who["workspace_id"], who["role"]) == (owner.workspace, "marketer")
    assert [each["id"] for each in (await person.get("/workspaces")).json()["items"]] == [owner.workspace]
    person.workspace = other
    refusal(await person.get("/segments"), 404)
    refusal(await person.get(f"/workspaces/{other}"), 404)


THE_ACCOUNT: list[tuple[str, str, Any]] = [
    ("GET", "/users/me", None),
    ("PATCH", "/users/me", {"password": "another bell at midnight"}),
    ("PATCH", "/users/me", {"email": "mallory@example.com"}),
    ("GET", "/users/me/sessions", None),
    ("DELETE", "/users/me/sessions", None),
    ("POST", "/users/me/second-factor", {}),
    ("POST", "/workspaces", {"name": "More"}),
    ("POST", "/invitations/accept", {"token": "x" * 43}),
]


async def test_who_came_by_a_workspaces_issuer_can_not_touch_the_account(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    owner = await an_owner(anybody, sessions, "owner@example.com")
    set_up = await an_issuer(owner, issuer)
    await created(await owner.post("/invitations", {"email": ADA, "role": "viewer"}))
    issuer.user = ada()
    person = await Browser(anybody).sign_in(ADA, start_of(set_up))

    for method, path, body in THE_ACCOUNT:
        answer = await anybody.request(method, f"{V1}{path}", json=body, headers=person.headers)

        assert "not in charge of your account" in refusal(answer, 403)["detail"], path


async def test_such_a_session_stays_of_its_workspace_when_it_is_refreshed_and_can_be_ended(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    owner = await an_owner(anybody, sessions, "owner@example.com")
    set_up = await an_issuer(owner, issuer)
    issuer.user = ada("owner@example.com")
    person = await Browser(anybody).sign_in("owner@example.com", start_of(set_up))

    refresh = {"refresh_token": person.tokens["refresh_token"]}
    person.tokens = await created(await anybody.post(f"{V1}/auth/refresh", json=refresh))

    refusal(await person.get("/users/me"), 403)
    assert (await person.post("/auth/logout")).status_code == 204
    refusal(await person.get("/whoami"), 401)


async def test_nobody_comes_as_an_owner_by_an_issuer_that_an_admin_could_set_up(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    owner = await an_owner(anybody, sessions, "owner@example.com")
    admin = await a_member(owner, sessions, "admin@example.com", "admin")
    set_up = await an_issuer(admin, issuer)
    issuer.user = ada("owner@example.com")

    person = await Browser(anybody).sign_in("owner@example.com", start_of(set_up))

    assert (await person.get("/whoami")).json()["role"] == "admin"
    refusal(await person.delete(f"/workspaces/{owner.workspace}"), 403)


async def test_an_issuer_opens_no_account_of_somebody_who_is_no_member(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    ceo = await an_owner(anybody, sessions, "ceo@other.example")
    mallory = await an_owner(anybody, sessions, "mallory@example.com")
    set_up = await an_issuer(mallory, issuer)
    issuer.user = ada("ceo@other.example", "6666")

    assert "no member" in refusal(await Browser(anybody).come(start_of(set_up)), 403)["detail"]
    # Nor when the workspace invites them, of which they know nothing.
    await created(await mallory.post("/invitations", {"email": "ceo@other.example", "role": "viewer"}))
    assert "accept the invitation" in refusal(await Browser(anybody).come(start_of(set_up)), 403)["detail"]
    assert await identities(sessions) == []
    assert (await ceo.get("/workspaces")).json()["items"][0]["id"] == ceo.workspace


async def test_whoever_was_invited_and_has_no_account_gets_one_whose_address_is_not_proved(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    owner = await an_owner(anybody, sessions, "owner@example.com")
    set_up = await an_issuer(owner, issuer)
    await created(await owner.post("/invitations", {"email": ADA, "role": "marketer"}))
    issuer.user = ada()

    person = await Browser(anybody).sign_in(ADA, start_of(set_up))

    assert (await person.get("/whoami")).json()["role"] == "marketer"
    assert (await user(sessions, ADA)).verified_at is None
    lines = (await owner.get("/audit-log")).json()["items"]
    assert next(line["actor"]["name"] for line in lines if line["object_kind"] == "member") == ADA


async def test_who_was_not_invited_is_refused(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    owner = await an_owner(anybody, sessions, "owner@example.com")
    set_up = await an_issuer(owner, issuer)
    issuer.user = ada("stranger@example.com")

    assert "no member" in refusal(await Browser(anybody).come(start_of(set_up)), 403)["detail"]
    async with sessions.accounts() as db:
        assert await db.scalar(select(User).where(User.email == "stranger@example.com")) is None


async def test_who_is_no_member_any_more_comes_in_no_more(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    owner = await an_owner(anybody, sessions, "owner@example.com")
    await a_member(owner, sessions, ADA, "viewer")
    set_up = await an_issuer(owner, issuer)
    issuer.user = ada()
    person = await Browser(anybody).sign_in(ADA, start_of(set_up))
    user_id = (await person.get("/whoami")).json()["id"]

    assert (await owner.delete(f"/members/{user_id}")).status_code == 204

    refusal(await Browser(anybody).come(start_of(set_up)), 403)


async def test_what_one_workspace_believes_of_an_issuer_means_nothing_to_another_or_to_google(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    """The same issuer, the same subject: it was linked for the workspace alone."""
    owner = await an_owner(anybody, sessions, "owner@example.com")
    set_up = await an_issuer(owner, issuer)
    issuer.user = ada("owner@example.com", "7777")
    await Browser(anybody).sign_in("owner@example.com", start_of(set_up))
    issuer.user = ada("mallory@example.com", "7777")

    by_google = await Browser(anybody).sign_in("mallory@example.com")

    assert (await by_google.get("/users/me")).json()["email"] == "mallory@example.com"


async def test_an_answer_for_one_issuer_is_not_taken_at_anothers_address(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    """The mix-up: an issuer hands the browser on to another one, to be brought that one's code."""
    owner = await an_owner(anybody, sessions, "owner@example.com")
    mine, other = await an_issuer(owner, issuer), await an_issuer(owner, issuer, name="Other")
    browser = Browser(anybody)
    for start, callback in (
        (start_of(mine), "/auth/oidc/callback"),
        (start_of(mine), f"/auth/issuers/{other['id']}/callback"),
        ("/auth/google/start", f"/auth/issuers/{mine['id']}/callback"),
    ):
        said = query_of(await browser.consent(await browser.begin(start)))

        answer = await anybody.get(f"{V1}{callback}", params=said)

        assert "another issuer" in refusal(answer, 403)["detail"]


async def test_a_deleted_issuer_signs_nobody_in_and_its_sessions_are_over(
    anybody: AsyncClient, issuer: IssuerLab, sessions: Sessions
) -> None:
    owner = await an_owner(anybody, sessions, "owner@example.com")
    set_up = await an_issuer(owner, issuer)
    issuer.user = ada("owner@example.com")
    person = await Browser(anybody).sign_in("owner@example.com", start_of(set_up))
    browser = Browser(anybody)
    back = await browser.consent(await browser.begin(start_of(set_up)))

    assert (await owner.delete(f"/issuers/{set_up['id']}")).status_code == 204

    refusal(await person.get("/whoami"), 401)
    refusal(await anybody.get(back), 404)
    refusal(await anybody.get(f"{V1}{start_of(set_up)}"), 404)
    assert await identities(sessions) == []
