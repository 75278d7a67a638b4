"""The page that a sender's link leads to. It asks before it does: scanners follow every link."""

import re
from html import escape
from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import HTMLResponse

from api.routes.account_pages import page
from api.sender_links import confirm
from api.stack import Opened
from domain.errors import CampanileError

router = APIRouter(prefix="/accounts", include_in_schema=False)

NO_TOKEN = "<p>This link is not whole; open the one in the mail.</p>"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{80}")


@router.get("/sender")
async def ask_to_confirm_sender(token: str = "") -> HTMLResponse:
    return _ask("May they send from this address?", token)


@router.post("/sender")
async def confirm_sender(opened: Opened, token: Annotated[str, Form(max_length=200)] = "") -> HTMLResponse:
    try:
        address = await confirm(opened, token)
    except CampanileError as error:
        return _ask("Not confirmed", token, error)
    return page("Confirmed", f"<p>Mail may come from {escape(address)} now.</p>")


def _ask(title: str, token: str, refused: CampanileError | None = None) -> HTMLResponse:
    known = token if _TOKEN.fullmatch(token) else ""
    why = f"<p><strong>{escape(refused.message)}</strong></p>" if refused else ""
    hidden = f'<input type="hidden" name="token" value="{known}">'
    form = f'<form method="post">{hidden}<button>They may</button></form>' if known else ""
    return page(title, why + form or NO_TOKEN, 422 if refused else 200)
