"""What the mailbox shows: a list, one mail as its reader would see it, and the same as JSON for programs.

GET    /                      the newest mails; ?to= and ?subject= filter, ?before= pages
GET    /messages              the same as {"count", "messages": [{id, received_at, …}], "next"}, ?limit=
GET    /messages/{id}         one mail: rendered, as text, its headers
GET    /messages/{id}.json    the same as {…, "headers": [[name, value]], "text", "html"}
GET    /messages/{id}/html    the HTML part alone, in a sandbox
GET    /messages/{id}/source  as it came over the wire
DELETE /messages              forgets all; answers {"deleted": n}
GET    /servers               {"smtp": …, "relay": …}: the addresses of the two mail servers
GET    /patience              {"mails": n}: how many more the relay takes; null: it takes all
PUT    /patience              the same, as it should be: then the relay answers 451 to every mail
DELETE /patience              the relay takes all again
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from html import escape
from typing import TypedDict
from urllib.parse import urlencode

from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from dev.mailbox import Mailbox, Relay

PAGE_SIZE = 50
LARGEST_PAGE = 1000

# A mail is somebody else's HTML: no scripts, no forms, no origin; links open in a tab of their own.
SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
MAIL_POLICY = (
    f"sandbox {SANDBOX}; default-src 'none'; img-src http: https: data:; font-src http: https:; "
    "style-src 'unsafe-inline' http: https:; frame-ancestors 'self'"
)
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .8rem .3rem 0 }
tr + tr { border-top: 1px solid #ddd } a { color: #0b57d0; text-decoration: none }
iframe { width: 100%; height: 38rem; border: 1px solid #ccc; background: #fff } pre { white-space: pre-wrap }
small { color: #666 }
"""


class Line(TypedDict):
    """A mail in a list."""

    id: int
    received_at: str
    sender: str
    recipients: list[str]
    subject: str


@dataclass(frozen=True)
class Wish:
    """What part of the mails is asked for."""

    to: str
    subject: str
    before: int | None
    limit: int

    @classmethod
    def of(cls, request: Request, limit: int = PAGE_SIZE) -> "Wish":
        asked = request.query_params
        try:
            before = int(asked["before"]) if "before" in asked else None
            limit = int(asked.get("limit", limit))
        except ValueError:
            raise HTTPException(400, "before and limit are whole numbers") from None
        return cls(asked.get("to", ""), asked.get("subject", ""), before, max(1, min(limit, LARGEST_PAGE)))


class Page:
    """The answers, each read in a thread of its own so that mail keeps coming in."""

    def __init__(self, mailbox: Mailbox, relay: Relay, ports: dict[str, int]) -> None:
        self.mailbox = mailbox
        self.relay = relay
        self.servers = {name: f"smtp://127.0.0.1:{port}" for name, port in ports.items()}

    def app(self) -> Starlette:
        one = "/messages/{id:int}"
        return Starlette(
            routes=[
                Route("/", self.answer(self.front)),
                Route("/health", self.answer(lambda _: JSONResponse({"status": "up"}))),
                Route("/messages", self.answer(self.lines)),
                Route("/messages", self.answer(self.forget), methods=["DELETE"]),
                Route(one, self.answer(self.mail)),
                Route(f"{one}.json", self.answer(self.mail_as_json)),
                Route(f"{one}/html", self.answer(self.html)),
                Route(f"{one}/source", self.answer(self.source)),
                Route("/servers", self.answer(lambda _: JSONResponse(self.servers))),
                Route("/patience", self.patience, methods=["GET", "PUT", "DELETE"]),
            ]
        )

    def answer(self, of: Callable[[Request], Response]) -> Callable[[Request], object]:
        async def endpoint(request: Request) -> Response:
            return await asyncio.to_thread(of, request)

        return endpoint

    def find(self, wish: Wish) -> tuple[int, list[Line]]:
        """How many mails match, and the newest of them."""
        where = "instr(lower(recipients), lower(?)) and instr(lower(subject), lower(?))"
        values = [wish.to, wish.subject]
        with closing(self.mailbox.connect()) as db, db:
            count = db.execute(f"select count(*) from mails where {where}", values).fetchone()[0]
            rows = db.execute(
                f"select id, received_at, sender, recipients, subject from mails where {where} "
                "and id < ? order by id desc limit ?",
                [*values, wish.before or 1 << 62, wish.limit],
            ).fetchall()
        return count, [line(row) for row in rows]

    def one(self, request: Request) -> tuple[Line, bytes]:
        with closing(self.mailbox.connect()) as db, db:
            row = db.execute("select * from mails where id = ?", [request.path_params["id"]]).fetchone()
        if row is None:
            raise HTTPException(404, "There is no such mail any more")
        return line(row), row["content"]

    def lines(self, request: Request) -> Response:
        wish = Wish.of(request)
        count, lines = self.find(wish)
        after = lines[-1]["id"] if len(lines) == wish.limit else None
        return JSONResponse({"count": count, "messages": lines, "next": after})

    def forget(self, request: Request) -> Response:
        with closing(self.mailbox.connect()) as db, db:
            deleted = db.execute("delete from mails").rowcount
        return JSONResponse({"deleted": deleted})

    async def patience(self, request: Request) -> Response:
        if request.method == "PUT":
            self.relay.patience = await mails_in(request)
        elif request.method == "DELETE":
            self.relay.patience = None
        return JSONResponse({"mails": self.relay.patience})

    def front(self, request: Request) -> Response:
        wish = Wish.of(request)
        count, lines = self.find(wish)
        rows = "".join(row(each) for each in lines)
        older = ""
        if len(lines) == wish.limit:
            query = urlencode({"to": wish.to, "subject": wish.subject, "before": lines[-1]["id"]})
            older = f'<p><a href="/?{escape(query)}">Older</a></p>'
        return shown(
            "Mailbox",
            f"<h1>Mailbox</h1><form>To <input name=to value='{escape(wish.to)}'> "
            f"Subject <input name=subject value='{escape(wish.subject)}'> <button>Find</button></form>"
            f"<p><small>{count:,} mail{'s' * (count != 1)}</small></p><table>{rows}</table>{older}",
        )

    def mail(self, request: Request) -> Response:
        about, content = self.one(request)
        parts = Parts.of(content)
        here = f"/messages/{about['id']}"
        sender = dict(parts.headers).get("From", about["sender"])  # With the name that its reader sees.
        headers = "".join(f"{escape(name)}: {escape(value)}\n" for name, value in parts.headers)
        rendered = f'<iframe sandbox="{SANDBOX}" src="{here}/html" title="The mail"></iframe>'
        return shown(
            about["subject"],
            f'<p><a href="/">Mailbox</a></p><h1>{escape(about["subject"])}</h1>'
            f"<p>From {escape(sender)} to {escape(', '.join(about['recipients']))} "
            f"<small>{about['received_at']} · <a href='{here}/source'>source</a></small></p>"
            f"{rendered if parts.html else ''}<h2>Text</h2><pre>{escape(parts.text)}</pre>"
            f"<details><summary>Headers</summary><pre>{headers}</pre></details>",
        )

    def mail_as_json(self, request: Request) -> Response:
        about, content = self.one(request)
        parts = Parts.of(content)
        return JSONResponse({**about, "headers": parts.headers, "text": parts.text, "html": parts.html})

    def html(self, request: Request) -> Response:
        parts = Parts.of(self.one(request)[1])
        return HTMLResponse(
            f'<base target="_blank">{parts.html}',
            headers={"Content-Security-Policy": MAIL_POLICY, "Referrer-Policy": "no-referrer"},
        )

    def source(self, request: Request) -> Response:
        text = self.one(request)[1].decode("utf-8", "replace")
        return PlainTextResponse(text, headers={"X-Content-Type-Options": "nosniff"})


async def mails_in(request: Request) -> int:
    try:
        match await request.json():
            case {"mails": int(mails)} if mails >= 0 and not isinstance(mails, bool):
                return mails
    except ValueError:
        pass
    raise HTTPException(400, 'Say how many more mails the relay takes: {"mails": 10}')


@dataclass(frozen=True)
class Parts:
    """A mail taken apart; a part that it does not have is empty."""

    headers: list[tuple[str, str]]
    text: str
    html: str

    @classmethod
    def of(cls, content: bytes) -> "Parts":
        mail = message_from_bytes(content, EmailMessage, policy=default)
        return cls(
            [(name, str(value)) for name, value in mail.items()], body(mail, "plain"), body(mail, "html")
        )


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    if part is None:
        return ""
    try:
        return str(part.get_content())
    except (LookupError, UnicodeError):  # A charset that nobody knows.
        raw = part.get_payload(decode=True)
        return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else ""


def line(row: sqlite3.Row) -> Line:
    return Line(
        id=row["id"],
        received_at=row["received_at"],
        sender=row["sender"],
        recipients=row["recipients"].split("\n"),
        subject=decoded(row["subject"]),
    )


def row(each: Line) -> str:
    return (
        f'<tr><td><a href="/messages/{each["id"]}">{escape(each["subject"]) or "(no subject)"}</a></td>'
        f"<td>{escape(', '.join(each['recipients']))}</td>"
        f"<td><small>{each['received_at']}</small></td></tr>"
    )


def decoded(subject: str) -> str:
    try:
        return str(make_header(decode_header(subject)))
    except (LookupError, UnicodeError, ValueError):
        return subject


def shown(title: str, inner: str) -> HTMLResponse:
    return HTMLResponse(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
        f"<style>{STYLE}</style>{inner}",
        headers={"Content-Security-Policy": PAGE_POLICY},
    )


def server(mailbox: Mailbox, relay: Relay, smtp: dict[str, int], port: int) -> Server:
    """What serves it on the loopback address, by `await server.serve()` until `server.stop()`.

    `smtp` says on which ports the two mail servers are.
    """
    return Server(
        Page(mailbox, relay, smtp).app(),
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        websockets=False,
        log_enabled=False,
    )
