"""The second factor of one's account: turned on in two steps, so that nobody locks themselves out."""

from fastapi import Request, status
from pydantic import Field

from api.callers import Person
from api.limits import guess
from api.manners import Feature
from api.once import SHOWN_ONCE
from api.routes.auth import Password, check_second_factor, mail
from api.routes.users import check_password, locked
from api.shapes import In, Out, example
from api.stack import Opened
from domain import second_factor
from domain.accounts import RECOVERY_CODES
from domain.errors import Conflict, Invalid
from models.queries import accounts

router = Feature(prefix="/users/me/second-factor", tags=["users"])


class PasswordIn(In):
    current_password: Password | None = Field(None, description="Left out by who has none.")

    model_config = example({"current_password": "a bell that rings at noon"})


class SecondFactorBegun(Out):
    secret: str = Field(description="Base32, to type into an app.")
    uri: str = Field(description="The same as an address, for a QR code.")

    model_config = example(
        {
            "secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
            "uri": "otpauth://totp/Campanile:ada%40example.com?secret=JBSWY3DPEHPK3PXP&issuer=Campanile",
        }
    )


class CodeIn(In):
    code: str = Field(max_length=40, description="Six digits from the app.")

    model_config = example({"code": "492039"})


class OffIn(In):
    code: str = Field(max_length=40, description="Six digits from the app, or a recovery code.")
    current_password: Password | None = None

    model_config = example({"code": "492039", "current_password": "a bell that rings at noon"})


class RecoveryCodes(Out):
    recovery_codes: list[str] = Field(description="Each stands in for the app once. Not shown again.")

    model_config = example({"recovery_codes": ["k3m9x-qt27w", "h8wpq-4dk2n"]})


@router.post("", status_code=status.HTTP_201_CREATED, openapi_extra=SHOWN_ONCE)
async def begin_second_factor(
    body: PasswordIn, request: Request, opened: Opened, asker: Person
) -> SecondFactorBegun:
    """Get a secret for an authenticator app. It counts once a code of it was confirmed."""
    async with opened.sessions.accounts() as db:
        user = await accounts.get(db, asker.id)
    await check_password(opened, request, user, body.current_password)
    secret = second_factor.new_secret()
    async with opened.sessions.accounts() as db:
        if (await locked(db, user)).totp_since is not None:
            raise Conflict("The second factor is on already: turn it off first.")
        sealed = opened.sealer.seal(secret, f"totp:{asker.id}")
        await accounts.change(db, asker.id, {"totp_secret": sealed, "totp_step": None})
    return SecondFactorBegun(secret=secret, uri=second_factor.uri(secret, user.email))


@router.post("/confirm", openapi_extra=SHOWN_ONCE)
async def confirm_second_factor(body: CodeIn, opened: Opened, asker: Person) -> RecoveryCodes:
    """Turn it on, by a code that the app shows. Keep the recovery codes that are answered."""
    now = opened.clock.now()
    codes = second_factor.recovery_codes(RECOVERY_CODES)
    async with opened.sessions.accounts() as db:
        user = await accounts.get(db, asker.id, lock=True)
        if user.totp_since is not None or user.totp_secret is None:
            raise Conflict("There is no second factor to confirm: begin with POST …/second-factor.")
        secret = opened.sealer.open(user.totp_secret, f"totp:{user.id}")
        step = second_factor.matching_step(secret, body.code, now)
        if step is None:
            raise Invalid("This code is not one of now; look at the app, and at the clock.", "/code")
        await accounts.change(db, user.id, {"totp_since": now, "totp_step": step})
        await accounts.keep_recovery_codes(db, user.id, codes)
        await accounts.end_sessions(db, user.id, now, but=asker.session_id)
        await mail(opened, db, "second factor on", user.email, name=user.name)
    opened.visitors.forget()
    return RecoveryCodes(recovery_codes=codes)


@router.post("/off", status_code=status.HTTP_204_NO_CONTENT)
async def end_second_factor(body: OffIn, request: Request, opened: Opened, asker: Person) -> None:
    """Turn it off, with a code and the password."""
    async with opened.sessions.accounts() as db:
        user = await accounts.get(db, asker.id)
    if user.totp_since is None:
        raise Conflict("The second factor is off.")
    await guess(opened, request, "second factor", str(user.id))
    await check_password(opened, request, user, body.current_password)
    async with opened.sessions.accounts() as db:
        user = await locked(db, user)
        if user.totp_secret is None:
            raise Conflict("The second factor is off.")
        await check_second_factor(opened, db, user, body.code, opened.clock.now())
        await accounts.change(db, user.id, {"totp_secret": None, "totp_since": None, "totp_step": None})
        await accounts.keep_recovery_codes(db, user.id, [])
        await mail(opened, db, "second factor off", user.email, name=user.name)
