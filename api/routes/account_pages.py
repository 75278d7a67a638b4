"""The pages that mails about accounts lead to. They ask before they do: scanners follow every link."""

import re
from html import escape
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse

from api.routes.auth import confirm, join_by_mail, set_password
from api.stack import Opened
from domain.errors import CampanileError

router = APIRouter(prefix="/accounts", include_in_schema=False)

Token = Annotated[str, Form(max_length=200)]
Secret = Annotated[str, Form(max_length=1000)]

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def page(title: str, body: str, status: int = 200) -> HTMLResponse:
    """A page in our plain dress; `body` is HTML."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return HTMLResponse(
        f"<!doctype html><html lang=en><head>{head}</head><body><h1>{title}</h1>{body}", status
    )


def _ask(
    title: str, token: str, button: str, fields: str = "", refused: CampanileError | None = None
) -> HTMLResponse:
    """The form; after a refusal, with why it was refused. What is no token of ours is not repeated."""
    known = token if _TOKEN.fullmatch(token) else ""
    hidden = f'<input type="hidden" name="token" value="{known}">'
    why = f"<p><strong>{escape(refused.message)}</strong></p>" if refused else ""
    form = f'{why}<form method="post">{hidden}{fields}<button>{button}</button></form>'
    return page(title, form, 422 if refused else 200)


_NEW_PASSWORD = (
    '<p><label>New password <input type="password" name="password" autocomplete="new-password" required>'
    "</label></p>"
)
_WHO_JOINS = (
    "<p>Who has an account gives its password; who has none makes one by this.</p>"
    '<p><label>Your name <input name="name" autocomplete="name"></label></p>'
    '<p><label>Password <input type="password" name="password" required></label></p>'
)


@router.get("/confirm")
async def ask_to_confirm(token: str = "") -> HTMLResponse:
    return _ask("Confirm your address", token, "Confirm")


@router.post("/confirm")
async def confirm_address(opened: Opened, token: Token = "") -> HTMLResponse:
    try:
        await confirm(opened, token)
    except CampanileError as error:
        return _ask("Not confirmed", token, "Try again", refused=error)
    return page("Confirmed", "<p>This address is yours: you can sign in now.</p>")


@router.get("/reset")
async def ask_for_password(token: str = "") -> HTMLResponse:
    return _ask("Set a new password", token, "Set it", _NEW_PASSWORD)


@router.post("/reset")
async def reset(request: Request, opened: Opened, token: Token = "", password: Secret = "") -> HTMLResponse:
    try:
        await set_password(opened, request, token, password)
    except CampanileError as error:
        return _ask("Not set", token, "Set it", _NEW_PASSWORD, error)
    return page("Done", "<p>Your new password is set, and all sessions were ended: sign in with it.</p>")


@router.get("/join")
async def ask_to_join(token: str = "") -> HTMLResponse:
    return _ask("You are invited", token, "Join", _WHO_JOINS)


@router.post("/join")
async def join(
    request: Request,
    opened: Opened,
    token: Token = "",
    password: Secret = "",
    name: Annotated[str, Form(max_length=200)] = "",
) -> HTMLResponse:
    try:
        await join_by_mail(opened, request, token, " ".join(name.split()), password)
    except CampanileError as error:
        return _ask("Not joined", token, "Join", _WHO_JOINS, error)
    return page(
        "You are in", "<p>Sign in with your address and password: you belong to the workspace now.</p>"
    )
