"""Accounts by HTTP, as a new user would try them, and as somebody would who wants another's."""

from datetime import timedelta

import pyotp
import pytest
from httpx2 import AsyncClient
from pwdlib.hashers.bcrypt import BcryptHasher
from sqlalchemy import text

from models.base import Sessions
from models.queries import accounts
from tests.api.conftest import Clocked
from tests.api.people import PASSWORD, Person, a_person, mailed, registered, signed_in
from tests.api.support import V1, created, refusal

EMAIL = "ada@example.com"


async def test_somebody_registers_confirms_and_signs_in(nobody: AsyncClient, sessions: Sessions) -> None:
    await registered(nobody, sessions, EMAIL)
    person = await signed_in(nobody, EMAIL)

    me = (await person.get("/users/me")).json()
    assert (me["email"], me["has_password"], me["second_factor"]) == (EMAIL, True, False)
    who = (await person.get("/whoami")).json()
    assert (who["kind"], who["name"], who["workspace_id"], who["permissions"]) == ("user", EMAIL, None, [])


async def test_the_mail_about_an_account_is_a_line_of_the_ledger(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    await nobody.post(f"{V1}/auth/register", json={"email": EMAIL, "password": PASSWORD})

    async with sessions.accounts() as db:
        [line] = await db.execute(
            text("select state, class, step, profile_id from messages where bare = :email"), {"email": EMAIL}
        )
    assert tuple(line) == ("queued", "transactional", "verify email", None)


async def test_whether_an_address_is_known_shows_in_no_answer(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    await registered(nobody, sessions, EMAIL)

    for path, known, unknown in (
        (
            "register",
            {"email": EMAIL, "password": PASSWORD},
            {"email": "new@example.com", "password": PASSWORD},
        ),
        ("forgot-password", {"email": EMAIL}, {"email": "none@example.com"}),
        (
            "login",
            {"email": EMAIL, "password": "another password"},
            {"email": "none@example.com", "password": "another password"},
        ),
    ):
        answers = [await nobody.post(f"{V1}/auth/{path}", json=body) for body in (known, unknown)]
        assert answers[0].status_code == answers[1].status_code, path
        told = [{k: v for k, v in answer.json().items() if k != "request_id"} for answer in answers]
        assert told[0] == told[1], path
    assert await mailed(sessions, EMAIL, "registered already") == [""]


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short", "at least 10"),
        ("password123", "common"),
        ("ada@example.com", "easy to guess"),
        ("a" * 201, "at most 200"),
    ],
)
async def test_a_trivial_password_is_refused_with_a_reason(
    nobody: AsyncClient, password: str, reason: str
) -> None:
    answer = await nobody.post(f"{V1}/auth/register", json={"email": EMAIL, "password": password})
    problem = refusal(answer, 422)
    assert problem["errors"][0]["pointer"] == "/password"
    assert reason in problem["detail"]
    assert password not in answer.text or password == EMAIL


async def test_who_has_not_confirmed_the_address_cannot_sign_in_and_gets_another_mail(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    body = {"email": EMAIL, "password": PASSWORD}
    await nobody.post(f"{V1}/auth/register", json=body)

    assert "was not confirmed" in refusal(await nobody.post(f"{V1}/auth/login", json=body), 401)["detail"]
    old, new = await mailed(sessions, EMAIL, "verify email")
    refusal(await nobody.post(f"{V1}/auth/verify-email", json={"token": old}), 422)
    assert (await nobody.post(f"{V1}/auth/verify-email", json={"token": new})).status_code == 204
    refusal(await nobody.post(f"{V1}/auth/verify-email", json={"token": new}), 422)


async def test_whoever_answers_the_mail_has_the_account_and_not_who_registered_the_address_before(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    theirs = {"email": EMAIL, "password": "the bells of another tower", "name": "Eve"}
    await created(await nobody.post(f"{V1}/auth/register", json=theirs))
    mine = {"email": EMAIL, "password": PASSWORD, "name": "Ada"}
    await created(await nobody.post(f"{V1}/auth/register", json=mine))
    await created(await nobody.post(f"{V1}/auth/register", json=theirs))
    _, token, _ = await mailed(sessions, EMAIL, "verify email")

    assert (await nobody.post(f"{V1}/auth/verify-email", json={"token": token})).status_code == 204

    login = {"email": EMAIL, "password": theirs["password"]}
    refusal(await nobody.post(f"{V1}/auth/login", json=login), 401)
    me = await signed_in(nobody, EMAIL)
    assert (await me.get("/users/me")).json()["name"] == "Ada"
    for other in await mailed(sessions, EMAIL, "verify email"):
        refusal(await nobody.post(f"{V1}/auth/verify-email", json={"token": other}), 422)


async def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_session(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    person = await a_person(nobody, sessions)
    first = person.tokens["refresh_token"]

    second = await created(await nobody.post(f"{V1}/auth/refresh", json={"refresh_token": first}))
    assert second["refresh_token"] != first
    assert (
        "used before"
        in refusal(await nobody.post(f"{V1}/auth/refresh", json={"refresh_token": first}), 401)["detail"]
    )
    refusal(await nobody.post(f"{V1}/auth/refresh", json={"refresh_token": second["refresh_token"]}), 401)
    person.tokens = second
    refusal(await person.get("/users/me"), 401)


async def test_an_access_token_ends_after_a_quarter_of_an_hour(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    person = await a_person(nobody, sessions)
    clocked.clock.move(timedelta(minutes=14))
    assert (await person.get("/users/me")).is_success
    clocked.clock.move(timedelta(minutes=2))
    refusal(await person.get("/users/me"), 401)


async def test_a_forgotten_password_is_set_anew_and_every_session_ends(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    person = await a_person(nobody, sessions)
    await nobody.post(f"{V1}/auth/forgot-password", json={"email": EMAIL})
    [token] = await mailed(sessions, EMAIL, "reset password")

    weak = await nobody.post(f"{V1}/auth/reset-password", json={"token": token, "password": "password123"})
    refusal(weak, 422)
    new = {"token": token, "password": "six bells in the evening"}
    assert (await nobody.post(f"{V1}/auth/reset-password", json=new)).status_code == 204

    refusal(await nobody.post(f"{V1}/auth/reset-password", json=new), 422)
    refusal(await person.get("/users/me"), 401)
    refusal(await nobody.post(f"{V1}/auth/login", json={"email": EMAIL, "password": PASSWORD}), 401)
    again = {"email": EMAIL, "password": new["password"]}
    assert (await nobody.post(f"{V1}/auth/login", json=again)).is_success
    assert await mailed(sessions, EMAIL, "password changed") == [""]


async def test_a_mailed_token_is_too_old_after_its_time(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    await registered(nobody, sessions, EMAIL)
    await nobody.post(f"{V1}/auth/forgot-password", json={"email": EMAIL})
    [token] = await mailed(sessions, EMAIL, "reset password")
    clocked.clock.move(timedelta(hours=1, seconds=1))

    body = {"token": token, "password": "six bells in the evening"}
    assert "too old" in refusal(await nobody.post(f"{V1}/auth/reset-password", json=body), 422)["detail"]


async def test_a_new_password_ends_the_other_sessions_and_asks_for_the_old_one(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    person = await a_person(nobody, sessions)
    other = await signed_in(nobody, EMAIL)
    new = "six bells in the evening"

    refusal(await person.patch("/users/me", {"password": new}), 422)
    refusal(await person.patch("/users/me", {"password": new, "current_password": "wrong one"}), 403)
    await created(await person.patch("/users/me", {"password": new, "current_password": PASSWORD}))

    assert (await person.get("/users/me")).is_success
    refusal(await other.get("/users/me"), 401)


async def test_a_new_address_holds_once_it_was_confirmed(nobody: AsyncClient, sessions: Sessions) -> None:
    person = await a_person(nobody, sessions)
    change = {"email": "Ada@Other.example", "current_password": PASSWORD}
    assert (await created(await person.patch("/users/me", change)))["email"] == EMAIL

    [token] = await mailed(sessions, "ada@other.example", "change email")
    assert (await nobody.post(f"{V1}/auth/verify-email", json={"token": token})).status_code == 204

    refusal(await person.get("/users/me"), 401)
    again = await signed_in(nobody, "ada@other.example")
    assert (await again.get("/users/me")).json()["email"] == "ada@other.example"
    assert len(await mailed(sessions, EMAIL, "email changed")) == 1


async def test_sessions_are_listed_and_ended(nobody: AsyncClient, sessions: Sessions) -> None:
    person = await a_person(nobody, sessions)
    other = await signed_in(nobody, EMAIL)
    stranger = await a_person(nobody, sessions, "eve@example.com")

    listed = (await person.get("/users/me/sessions")).json()["items"]
    assert [each["current"] for each in listed].count(True) == 1
    theirs = next(each["id"] for each in listed if not each["current"])
    refusal(await stranger.delete(f"/users/me/sessions/{theirs}"), 404)
    assert (await other.get("/users/me")).is_success
    assert (await person.delete(f"/users/me/sessions/{theirs}")).status_code == 204
    refusal(await other.get("/users/me"), 401)
    assert (await person.post("/auth/logout")).status_code == 204
    refusal(await person.get("/users/me"), 401)


async def test_the_second_factor_is_asked_for_and_each_code_is_good_once(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    person = await a_person(nobody, sessions)
    codes, totp = await second_factor(person, clocked)
    login = {"email": EMAIL, "password": PASSWORD}

    problem = refusal(await nobody.post(f"{V1}/auth/login", json=login), 401)
    assert problem["type"].endswith("second-factor-required")
    used = totp.at(clocked.clock.now())
    refusal(await nobody.post(f"{V1}/auth/login", json=login | {"code": used}), 401)
    clocked.clock.move(timedelta(seconds=30))
    code = totp.at(clocked.clock.now())
    assert (await nobody.post(f"{V1}/auth/login", json=login | {"code": code})).is_success
    refusal(await nobody.post(f"{V1}/auth/login", json=login | {"code": code}), 401)
    typed = codes[0].replace("-", " ").upper()
    assert (await nobody.post(f"{V1}/auth/login", json=login | {"code": typed})).is_success
    assert len(await mailed(sessions, EMAIL, "recovery code used")) == 1
    assert len(await mailed(sessions, EMAIL, "second factor on")) == 1
    refusal(await nobody.post(f"{V1}/auth/login", json=login | {"code": codes[0]}), 401)
    refusal(await nobody.post(f"{V1}/auth/login", json=login | {"code": "000000", "password": "x"}), 401)


async def test_the_second_factor_can_be_turned_off_with_a_code_and_the_password(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    person = await a_person(nobody, sessions)
    codes, _ = await second_factor(person, clocked)

    refusal(await person.post("/users/me/second-factor/off", {"code": codes[0]}), 422)
    off = {"code": codes[0], "current_password": PASSWORD}
    assert (await person.post("/users/me/second-factor/off", off)).status_code == 204
    assert (await signed_in(nobody, EMAIL)).tokens


async def test_the_secret_of_the_second_factor_is_sealed(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    person = await a_person(nobody, sessions)
    _, totp = await second_factor(person, clocked)

    async with sessions.accounts() as db:
        kept = await db.scalar(text("select totp_secret from users where email = :email"), {"email": EMAIL})
    assert kept.startswith("v1.dev.")
    assert totp.secret not in kept


async def test_a_bcrypt_hash_is_accepted_and_becomes_argon2_at_the_next_sign_in(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    await registered(nobody, sessions, EMAIL)
    async with sessions.accounts() as db:
        await db.execute(
            text("update users set password_hash = :hash"), {"hash": BcryptHasher(4).hash(PASSWORD)}
        )

    await signed_in(nobody, EMAIL)

    async with sessions.accounts() as db:
        kept = await db.scalar(text("select password_hash from users where email = :email"), {"email": EMAIL})
    assert kept.startswith("$argon2id$")
    await signed_in(nobody, EMAIL)


async def test_the_pages_of_the_mails_ask_before_they_do(nobody: AsyncClient, sessions: Sessions) -> None:
    await nobody.post(f"{V1}/auth/register", json={"email": EMAIL, "password": PASSWORD})
    [token] = await mailed(sessions, EMAIL, "verify email")

    asked = await nobody.get(f"/accounts/confirm?token={token}")
    assert "<form" in asked.text
    refusal(await nobody.post(f"{V1}/auth/login", json={"email": EMAIL, "password": PASSWORD}), 401)
    token = (await mailed(sessions, EMAIL, "verify email"))[-1]
    done = await nobody.post("/accounts/confirm", data={"token": token})
    assert "This address is yours" in done.text
    assert (await nobody.post("/accounts/confirm", data={"token": token})).status_code == 422
    assert "<script" not in (await nobody.get("/accounts/confirm?token=<script>")).text


async def second_factor(person: Person, clocked: Clocked) -> tuple[list[str], pyotp.TOTP]:
    begun = await created(await person.post("/users/me/second-factor", {"current_password": PASSWORD}))
    totp = pyotp.TOTP(begun["secret"])
    refusal(await person.post("/users/me/second-factor/confirm", {"code": "abcdef"}), 422)
    code = totp.at(clocked.clock.now())
    kept = await created(await person.post("/users/me/second-factor/confirm", {"code": code}))
    return kept["recovery_codes"], totp


async def test_guessing_is_slowed_down_alike_whether_the_address_is_known(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    await a_person(nobody, sessions)
    for email in (EMAIL, "none@example.com"):
        wrong = {"email": email, "password": "another password"}
        for _ in range(10):
            refusal(await nobody.post(f"{V1}/auth/login", json=wrong), 401)
        late = await nobody.post(f"{V1}/auth/login", json={"email": email, "password": PASSWORD})
        assert refusal(late, 429)["detail"].startswith("Too many attempts")
        assert int(late.headers["retry-after"]) > 0

    clocked.clock.move(timedelta(minutes=15))
    for _ in range(11):  # Whoever knows the password may come as often as they like.
        assert (await signed_in(nobody, EMAIL)).tokens


async def test_what_is_of_no_use_any_more_is_removed(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    person = await a_person(nobody, sessions)
    await nobody.post(f"{V1}/auth/forgot-password", json={"email": EMAIL})
    first = person.tokens["refresh_token"]
    await created(await nobody.post(f"{V1}/auth/refresh", json={"refresh_token": first}))
    counted = text(
        "select (select count(*) from sessions), (select count(*) from refresh_tokens),"
        " (select count(*) from user_tokens)"
    )

    left = []
    for days in (0, 8, 53):
        clocked.clock.move(timedelta(days=days))
        async with sessions.engine() as db:
            await accounts.drop_old(db, clocked.clock.now())
            left.append(tuple((await db.execute(counted)).one()))
    assert left == [(1, 2, 1), (1, 1, 0), (0, 0, 0)]
