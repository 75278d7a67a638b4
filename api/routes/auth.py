"""Register, sign in, stay signed in, and get back in. Whether an address is known shows in no answer."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Header, Request, status
from pydantic import AfterValidator, Field, StringConstraints
from sqlalchemy.ext.asyncio import AsyncSession

from api.callers import Somebody, actor
from api.errors import Forbidden, SecondFactorRequired, Unauthorized
from api.hashing import EvenTimes
from api.limits import guess, was_right
from api.manners import Feature
from api.once import SHOWN_ONCE
from api.shapes import In, Out, example
from api.stack import Opened, Stack
from domain import passwords, second_factor
from domain.access import LIFETIME, Access
from domain.accounts import Purpose
from domain.addresses import normal_address
from domain.errors import Conflict, Invalid
from models.accounts import User
from models.base import act_as
from models.queries import account_mails, accounts, invitations

router = Feature(prefix="/auth", tags=["auth"])

Email = Annotated[str, StringConstraints(max_length=320), AfterValidator(normal_address)]
Password = Annotated[str, StringConstraints(max_length=1000)]
PersonsName = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^[^\r\n]*$")]
Token = Annotated[str, StringConstraints(min_length=20, max_length=200)]
Agent = Annotated[str, Header(alias="User-Agent", include_in_schema=False)]

_EMAIL, _PASSWORD = "ada@example.com", "a bell that rings at noon"
_TOKEN = "6Jv2Jm3b0u8n3o1rT5QkqkVt0bJx8m5m2r7s1w9e4yA"


class RegisterIn(In):
    email: Email
    password: Password
    name: PersonsName = ""
    invitation: Token | None = Field(
        None, description="The token of an invitation to this address: it proves the address, and you join."
    )

    model_config = example({"email": _EMAIL, "password": _PASSWORD, "name": "Ada Lovelace"})


class LoginIn(In):
    email: Email
    password: Password
    code: str | None = Field(
        None, max_length=40, description="Of the second factor, if it is on: six digits, or a recovery code."
    )

    model_config = example({"email": _EMAIL, "password": _PASSWORD})


class RefreshIn(In):
    refresh_token: Token

    model_config = example({"refresh_token": _TOKEN})


class TokenIn(In):
    token: Token = Field(description="From the link in the mail.")

    model_config = example({"token": _TOKEN})


class EmailIn(In):
    email: Email

    model_config = example({"email": _EMAIL})


class ResetIn(In):
    token: Token = Field(description="From the link in the mail.")
    password: Password

    model_config = example({"token": _TOKEN, "password": "a bell that rings at six"})


class Tokens(Out):
    """A session: send the access token as `Authorization: Bearer`, and refresh it before it ends."""

    access_token: str
    refresh_token: str = Field(description="Good once. To use it twice ends the session.")
    token_type: str
    expires_in: int = Field(description="Seconds that the access token is good.")

    model_config = example(
        {
            "access_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIwMTk5In0.3q2-7w",
            "refresh_token": _TOKEN,
            "token_type": "bearer",
            "expires_in": 900,
        }
    )


class Told(Out):
    """What happens next, in words."""

    detail: str

    model_config = example({"detail": "If this address can be used, a mail is on its way to it."})


_SIGN_IN = Told(detail="You belong to the workspace now: sign in.")
_ON_ITS_WAY = Told(detail="If this address can be used, a mail is on its way to it.")


@router.post("/register", status_code=status.HTTP_202_ACCEPTED)
async def register(body: RegisterIn, request: Request, opened: Opened) -> Told:
    """Make an account. A mail asks to confirm the address; whether it has an account shows in no answer."""
    await guess(opened, request, "register", body.email)
    await refuse_a_weak(opened, body.password, "/password", body.email, body.name)
    async with EvenTimes():
        joined = await _register(opened, body, await opened.hashing(passwords.hash_of, body.password))
    return _SIGN_IN if joined else _ON_ITS_WAY


async def _register(opened: Stack, body: RegisterIn, hashed: str) -> bool:
    """Whether the address was proved by an invitation to it."""
    now = opened.clock.now()
    async with opened.sessions.accounts() as db:
        invited = await invitations.by_token(db, body.invitation, now) if body.invitation else None
        proven = invited is not None and invited.email == body.email
        if body.invitation and not proven:
            raise Invalid("This invitation is unknown, used, too old, or for another address.", "/invitation")
        if opened.settings.registration == "invited" and not proven:
            raise Forbidden("Only invited people can register here: ask for an invitation.")
        user = await accounts.create(db, body.email, body.name, hashed)
        user = user or await accounts.by_email(db, body.email, lock=True)
        assert user is not None, "It was there a moment ago, and accounts are not removed."
        if user.verified_at is not None:
            await mail(opened, db, "registered already", body.email)
        elif invited:
            await accounts.prove(db, user.id, hashed, body.name, now)
            await act_as(db, actor("user", user.id, user.email))
            await invitations.accept(db, invited, user.id, now)
        else:
            await _ask_to_confirm(opened, db, user, hashed, body.name, now)
    return proven


@router.post("/login", openapi_extra=SHOWN_ONCE)
async def login(body: LoginIn, request: Request, opened: Opened, user_agent: Agent = "") -> Tokens:
    """Sign in. With the second factor on, the `code` belongs to it."""
    attempt = await guess(opened, request, "sign in", body.email)
    async with EvenTimes():
        async with opened.sessions.accounts() as db:
            user = await accounts.by_email(db, body.email)
        kept = user.password_hash if user else None
        good, rehashed = await opened.hashing(passwords.verify, body.password, kept)
        try:
            opening = await _opened(opened, user, body.code, rehashed, user_agent) if good and user else None
        except SecondFactorRequired:
            await was_right(opened, attempt)
            raise
    if opening is None:
        raise Unauthorized(
            "The address or the password is wrong, or the address was not confirmed: then a new mail with "
            "the link is on its way to it."
        )
    await was_right(opened, attempt)
    return opening


async def _opened(
    opened: Stack, known: User, code: str | None, rehashed: str | None, user_agent: str
) -> Tokens | None:
    """A session for who knew the password, unless it is another by now or the address is not confirmed.

    Of that, no answer tells: who registered a stranger's address would learn whether it had an account.
    """
    now = opened.clock.now()
    async with opened.sessions.accounts() as db:
        user = await accounts.get(db, known.id, lock=True)
        if user.password_hash is None or user.password_hash != known.password_hash:
            return None
        if user.verified_at is None:
            await _ask_to_confirm(opened, db, user, user.password_hash, user.name, now)
            return None
        if user.totp_since is not None:
            await check_second_factor(opened, db, user, code, now)
        if rehashed:
            await accounts.change(db, user.id, {"password_hash": rehashed})
        session_id, refresh_token = await accounts.open_session(db, user.id, user_agent, now)
    return tokens(opened, user.id, session_id, refresh_token)


@router.post("/refresh", openapi_extra=SHOWN_ONCE)
async def refresh(body: RefreshIn, opened: Opened) -> Tokens:
    """A new pair of tokens for a refresh token. One that was used before ends its whole session."""
    now = opened.clock.now()
    async with opened.sessions.accounts() as db:
        found = await accounts.refresh(db, body.refresh_token, now)
    if found is None:
        raise Unauthorized("This session has ended: sign in again.")
    if found.token is None:
        opened.visitors.forget()
        raise Unauthorized(
            "This refresh token was used before, so somebody else may have it: the session was ended. "
            "Sign in again."
        )
    return tokens(opened, found.user_id, found.session_id, found.token)


@router.post("/logout", status_code=status.HTTP_204_NO_CONTENT)
async def logout(opened: Opened, asker: Somebody) -> None:
    """End the session that asks."""
    assert asker.session_id is not None, "A person has one."
    async with opened.sessions.accounts() as db:
        await accounts.end_session(db, asker.id, asker.session_id, opened.clock.now())
    opened.visitors.forget()


@router.post("/verify-email", status_code=status.HTTP_204_NO_CONTENT)
async def verify_email(body: TokenIn, opened: Opened) -> None:
    """Confirm an address, of a new account or a new one of an old account, by the mailed token."""
    await confirm(opened, body.token)


@router.post("/forgot-password", status_code=status.HTTP_202_ACCEPTED)
async def forgot_password(body: EmailIn, request: Request, opened: Opened) -> Told:
    """Ask for a mail by which a new password can be set."""
    await guess(opened, request, "reset", body.email)
    now = opened.clock.now()
    async with EvenTimes(), opened.sessions.accounts() as db:
        if user := await accounts.by_email(db, body.email):
            token = await accounts.issue(db, user.id, Purpose.RESET_PASSWORD, user.email, now)
            link = link_to(opened, "reset", token)
            name = user.name if user.verified_at else ""  # A stranger may have given it.
            await mail(opened, db, "reset password", user.email, name=name, link=link)
    return _ON_ITS_WAY


@router.post("/reset-password", status_code=status.HTTP_204_NO_CONTENT)
async def reset_password(body: ResetIn, request: Request, opened: Opened) -> None:
    """Set a new password by the mailed token. All sessions end."""
    await set_password(opened, request, body.token, body.password)


# What the pages that mails lead to need, too.


async def confirm(opened: Stack, token: str) -> None:
    """Raises `Invalid` for a token that is not good, `Conflict` for an address that has an account by now."""
    now = opened.clock.now()
    async with opened.sessions.accounts() as db:
        found = await accounts.redeem(db, token, (Purpose.VERIFY_EMAIL, Purpose.CHANGE_EMAIL), now)
        if found is None:
            raise _not_good("sign in, which sends a new one to an address that is not confirmed yet")
        user = await accounts.get(db, found.user_id, lock=True)
        if found.purpose is Purpose.VERIFY_EMAIL:
            if user.email == found.email and user.verified_at is None:
                await accounts.prove(db, user.id, found.password_hash or user.password_hash, found.name, now)
            return
        if (other := await accounts.by_email(db, found.email)) and other.id != user.id:
            raise Conflict("This address has an account of its own by now.")
        before = user.email
        await accounts.change(db, user.id, {"email": found.email, "verified_at": now})
        await accounts.forget_tokens(db, user.id)  # Those in the old mailbox, too.
        await accounts.end_sessions(db, user.id, now)
        await mail(opened, db, "email changed", before, name=user.name, email=found.email)
    opened.visitors.forget()


async def join_by_mail(opened: Stack, request: Request, token: str, name: str, password: str) -> None:
    """Whoever reads the invited address joins: with their account's password, or with a new account.

    Raises `Invalid`, `Unauthorized`.
    """
    now = opened.clock.now()
    async with opened.sessions.accounts() as db:
        invited = await invitations.by_token(db, token, now)
        user = await accounts.by_email(db, invited.email) if invited else None
    if invited is None:
        raise Invalid("This invitation is unknown, was used or revoked, or is too old.", "/token")
    await guess(opened, request, "sign in", invited.email)
    hashed = None
    if user is None or user.verified_at is None:
        await refuse_a_weak(opened, password, "/password", invited.email, name)
        hashed = await opened.hashing(passwords.hash_of, password)
    elif not (await opened.hashing(passwords.verify, password, user.password_hash))[0]:
        raise Unauthorized(
            "You have an account, and this is not its password. If it has none, sign in and accept the "
            "invitation by POST /api/v1/invitations/accept."
        )
    async with opened.sessions.accounts() as db:
        again = await invitations.by_token(db, token, now)
        if user is None:
            user = await accounts.create(db, invited.email, name, hashed)
        elif user.password_hash != (user := await accounts.get(db, user.id, lock=True)).password_hash:
            user = None
        if again is None or user is None:
            raise Invalid("This invitation or the account was changed meanwhile: start again.", "/token")
        if hashed:
            await accounts.prove(db, user.id, hashed, name, now)
        await act_as(db, actor("user", user.id, user.email))
        await invitations.accept(db, again, user.id, now)
    opened.visitors.forget()


async def set_password(opened: Stack, request: Request, token: str, password: str) -> None:
    """Raises `Invalid` with the field at fault; the token stays good then."""
    await guess(opened, request, "set password")
    now = opened.clock.now()
    async with opened.sessions.accounts() as db:
        asked = await accounts.meant_for(db, token, now)
    if asked is None:
        raise _not_good("ask for a new one by POST /api/v1/auth/forgot-password")
    await refuse_a_weak(opened, password, "/password", *asked)
    hashed = await opened.hashing(passwords.hash_of, password)
    async with opened.sessions.accounts() as db:
        found = await accounts.redeem(db, token, (Purpose.RESET_PASSWORD,), now)
        if found is None:
            raise _not_good("ask for a new one by POST /api/v1/auth/forgot-password")
        user = await accounts.get(db, found.user_id, lock=True)
        if user.email != found.email:  # It was mailed to an address that the account had before.
            raise _not_good("ask for a new one by POST /api/v1/auth/forgot-password")
        await accounts.change(db, user.id, {"password_hash": hashed, "verified_at": user.verified_at or now})
        await accounts.forget_tokens(db, user.id)  # A thief may have asked for another address.
        await accounts.end_sessions(db, user.id, now)
        await mail(opened, db, "password changed", user.email, name=user.name)
    opened.visitors.forget()


async def refuse_a_weak(opened: Stack, password: str, field: str, *about: str) -> None:
    if reason := await opened.hashing(passwords.weakness, password, about):
        raise Invalid(reason, field)


async def check_second_factor(
    opened: Stack, db: AsyncSession, user: User, code: str | None, now: datetime
) -> None:
    """Use the code up. Raises `SecondFactorRequired` without one, `Unauthorized` for a wrong one."""
    if not code:
        raise SecondFactorRequired("The second factor is on: send its `code` with the password.")
    assert user.totp_secret is not None
    secret = opened.sealer.open(user.totp_secret, f"totp:{user.id}")
    step = second_factor.matching_step(secret, code, now)
    if step is not None and await accounts.use_totp_step(db, user.id, step):
        return
    if step is None and await accounts.use_recovery_code(db, user.id, code, now):
        await mail(opened, db, "recovery code used", user.email, name=user.name)
        return
    raise Unauthorized(
        "This code is wrong, too old, or was used before: wait for the app's next one, or take another "
        "recovery code, written as it was shown."
    )


def tokens(opened: Stack, user_id: UUID, session_id: UUID, refresh_token: str) -> Tokens:
    """What a session is answered with."""
    access = opened.access.sign(Access(user_id, session_id), opened.clock.now())
    return Tokens(
        access_token=access,
        refresh_token=refresh_token,
        token_type="bearer",
        expires_in=int(LIFETIME.total_seconds()),
    )


async def mail(opened: Stack, db: AsyncSession, kind: str, address: str, **variables: str) -> None:
    settings = opened.settings
    await account_mails.queue(
        db,
        kind,
        address,
        variables,
        public_url=settings.public_url,
        sender=settings.accounts_email,
        now=opened.clock.now(),
    )


async def _ask_to_confirm(
    opened: Stack, db: AsyncSession, user: User, hashed: str | None, name: str, now: datetime
) -> None:
    """The mail's answer makes the account theirs who gave this password: others may have tried before.

    It greets nobody by name, since a stranger may have given it, to say something of their own.
    """
    token = await accounts.issue(db, user.id, Purpose.VERIFY_EMAIL, user.email, now, hashed, name)
    await mail(opened, db, "verify email", user.email, link=link_to(opened, "confirm", token))


def link_to(opened: Stack, page: str, token: str) -> str:
    return f"{opened.settings.public_url.rstrip('/')}/accounts/{page}?token={token}"


def _not_good(remedy: str) -> Invalid:
    return Invalid(f"This link is unknown, was used before, or is too old: {remedy}.", "/token")
