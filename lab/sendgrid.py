"""SendGrid, API v3: mail/send and scopes. A call is taken whole, or not at all."""

import re
import secrets
import time
from functools import lru_cache
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from lab.answers import json
from lab.desk import Desk, desk
from lab.record import Accepted, Call

router = APIRouter()

MOST_RECIPIENTS = 1000
LARGEST_CALL = 30 << 20  # Bytes.
LARGEST_ARGS = 10_000  # Bytes, of custom_args and of substitutions.
LONGEST_DELAY = 72 * 3600  # Seconds.

ADDRESS = re.compile(r"[^\s@<>,;]{1,64}@[^\s@<>,;]{1,255}")
FORBIDDEN = {
    "x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding", "to",
    "from", "subject", "reply-to", "cc", "bcc",
}  # fmt: skip
HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message"
WORDS = {
    401: "The provided authorization grant is invalid, expired, or revoked",
    403: "access forbidden",
    404: "not found",
    413: "payload too large",
    429: "too many requests",
}


class Bad(Exception):
    """A request that is refused; with the field that is wrong."""

    def __init__(self, message: str, field: str | None, status: int = 400) -> None:
        super().__init__(message)
        self.field, self.status = field, status


def errors(status: int, message: str, field: str | None = None) -> Response:
    help_ = f"{HELP}.{field}" if field else None
    return json({"errors": [{"message": message, "field": field, "help": help_}]}, status)


def refuse(status: int, code: str | None) -> Response:
    answer = errors(status, WORDS.get(status, "The lab was told to say so."), code)
    if status == 429:
        answer.headers["X-RateLimit-Remaining"] = "0"
        answer.headers["X-RateLimit-Reset"] = str(int(time.time()) + 1)
    return answer


def scopes(request: Request, lab: Desk) -> list[str]:
    """Raises `Bad` for a key that nobody has."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    found = lab.accounts.sendgrid.get(key) if kind.lower() == "bearer" else None
    if found is None:
        raise Bad(WORDS[401], None, 401)
    return found


@router.get("/v3/scopes")
async def list_scopes(request: Request) -> Response:
    lab = desk(request)
    try:
        answer = json({"scopes": scopes(request, lab)})
    except Bad as no:
        return errors(no.status, str(no), no.field)
    return await lab.look("sendgrid", answer, refuse)


@router.post("/v3/mail/send")
async def send(request: Request) -> Response:
    lab = desk(request)
    try:
        if "mail.send" not in scopes(request, lab):
            raise Bad(WORDS[403], None, 403)
        body = await request.body()
        asked = read(body)
        try:
            validate(asked)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise Bad("Bad Request", None) from None
    except Bad as no:
        return errors(no.status, str(no), no.field)
    people = asked["personalizations"]
    to = [one["to"][0]["email"] for one in people]
    shared = asked.get("custom_args") or {}

    def accept(refused: frozenset[int], code: str | None) -> Response:
        if refused:
            message = code or "Does not contain a valid address."
            return errors(400, message, f"personalizations.{min(refused)}.to")
        sandbox = ((asked.get("mail_settings") or {}).get("sandbox_mode") or {}).get("enable")
        if sandbox:
            return Response(status_code=200)
        name = secrets.token_urlsafe(16)
        taken = [
            (at, f"{name}.recvd-lab-{at}", own({**shared, **(one.get("custom_args") or {})}), to[at])
            for at, one in enumerate(people)
        ]
        lab.record.accept("sendgrid", Call(body), taken)
        return Response(status_code=202, headers={"X-Message-Id": name})

    return await lab.take("sendgrid", to, accept, refuse)


def own(custom_args: dict[str, Any]) -> str | None:
    found = custom_args.get("campanile_message")
    return None if found is None else str(found)


def read(body: bytes) -> dict[str, Any]:
    if len(body) > LARGEST_CALL:
        raise Bad(WORDS[413], None, 413)
    try:
        asked = orjson.loads(body)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise Bad("Bad Request", None)
    return asked


def validate(asked: dict[str, Any]) -> None:
    people = asked.get("personalizations")
    if not isinstance(people, list) or not people:
        raise Bad("The personalizations field is required and must have at least one personalization.",
                  "personalizations")  # fmt: skip
    if len(people) > MOST_RECIPIENTS:
        raise Bad(f"No more than {MOST_RECIPIENTS} personalizations are allowed.", "personalizations")
    if not ADDRESS.fullmatch((asked.get("from") or {}).get("email") or ""):
        raise Bad("The from object must be provided for every email send. It is an object that requires the "
                  "email parameter, but may also contain a name parameter.", "from.email")  # fmt: skip
    shared_args = asked.get("custom_args") or {}
    seen: set[str] = set()
    for at, one in enumerate(people):
        addresses(one, f"personalizations.{at}", seen)
        if not (one.get("subject") or asked.get("subject") or asked.get("template_id")):
            raise Bad("The subject is required. You can get around this requirement if you use a template "
                      "with a subject defined or if every personalization has a subject defined.",
                      "subject")  # fmt: skip
        headers(one.get("headers") or {}, f"personalizations.{at}.headers")
        sizes(one, shared_args, f"personalizations.{at}")
    if len(seen) > MOST_RECIPIENTS:
        raise Bad(f"No more than {MOST_RECIPIENTS} recipients are allowed.", "personalizations")
    headers(asked.get("headers") or {}, "headers")
    content(asked)
    categories = asked.get("categories") or []
    if len(categories) > 10 or len(set(categories)) < len(categories):
        raise Bad("There can be at most 10 unique categories.", "categories")
    if (asked.get("send_at") or 0) > time.time() + LONGEST_DELAY:
        raise Bad("Scheduling more than 72 hours in advance is forbidden.", "send_at")


def addresses(one: dict[str, Any], field: str, seen: set[str]) -> None:
    if not one.get("to"):
        raise Bad("The to array is required for all personalization objects, and must have at least one "
                  "email object with a valid email address.", f"{field}.to")  # fmt: skip
    for kind in ("to", "cc", "bcc"):
        for at, person in enumerate(one.get(kind) or ()):
            address = person.get("email") or ""
            if not ADDRESS.fullmatch(address):
                raise Bad("Does not contain a valid address.", f"{field}.{kind}.{at}.email")
            if address.lower() in seen:
                raise Bad("Each email address in the personalization block should be unique between to, cc, "
                          f"and bcc. We found the first duplicate instance of [{address}] in the {field} "
                          "field.", field)  # fmt: skip
            seen.add(address.lower())


def headers(given: dict[str, Any], field: str) -> None:
    for name, value in given.items():
        if name.lower() in FORBIDDEN or name.lower().startswith("x-sg-"):
            raise Bad("You cannot use a reserved header in the headers object.", f"{field}.{name}")
        if not isinstance(value, str) or not name.isascii() or "\n" in value:
            raise Bad("Invalid header.", f"{field}.{name}")


def sizes(one: dict[str, Any], shared_args: dict[str, Any], field: str) -> None:
    given = {**shared_args, **(one.get("custom_args") or {})}
    if len(orjson.dumps(given)) >= LARGEST_ARGS:
        raise Bad("The custom_args must be less than 10,000 bytes.", f"{field}.custom_args")
    substitutions = one.get("substitutions") or {}
    if not all(isinstance(value, str) for value in (*given.values(), *substitutions.values())):
        raise Bad("Values must be strings.", f"{field}.substitutions")
    if substitutions and sum(map(size, substitutions.items())) > LARGEST_ARGS:
        raise Bad("Substitutions in your personalization block cannot exceed 10000 bytes.",
                  f"{field}.substitutions")  # fmt: skip


def size(pair: tuple[str, str]) -> int:
    return len(pair[0].encode()) + len(pair[1].encode())


def content(asked: dict[str, Any]) -> None:
    parts = asked.get("content") or []
    if not parts and not asked.get("template_id"):
        raise Bad("Unless a valid template_id is provided, the content parameter is required. There must be "
                  "at least one defined content block.", "content")  # fmt: skip
    for at, part in enumerate(parts):
        if not part.get("type") or not part.get("value"):
            raise Bad("The content value must be a string at least one character in length.",
                      f"content.{at}.value")  # fmt: skip
    kinds = [part["type"] for part in parts]
    if kinds != sorted(kinds, key=lambda kind: {"text/plain": 0, "text/html": 1}.get(kind, 2)):
        raise Bad("If present, text/plain must be first, followed by text/html, followed by any other "
                  "content.", "content")  # fmt: skip


@lru_cache(maxsize=8)
def parsed(body: bytes) -> Any:
    return orjson.loads(body)


def contents(one: Accepted) -> dict[str, Any]:
    """What the recipient gets: {"from", "to", "subject", "html", "text", "headers", "custom_args",
    "attachments"}. SendGrid substitutes in the subject, the content and the reply address, not in headers."""
    asked = parsed(one.call.body)
    person = asked["personalizations"][one.index]
    pairs = person.get("substitutions") or {}

    def filled(text: str | None) -> str | None:
        if text is None or not pairs:
            return text
        return re.sub("|".join(map(re.escape, pairs)), lambda found: pairs[found[0]], text)

    bodies = {part["type"]: filled(part["value"]) for part in asked.get("content") or []}
    return {
        "from": person.get("from") or asked["from"],
        "to": one.recipient,
        "reply_to": filled((asked.get("reply_to") or {}).get("email")),
        "subject": filled(person.get("subject") or asked.get("subject")),
        "html": bodies.get("text/html"),
        "text": bodies.get("text/plain"),
        "headers": {**(asked.get("headers") or {}), **(person.get("headers") or {})},
        "custom_args": {**(asked.get("custom_args") or {}), **(person.get("custom_args") or {})},
        "attachments": [file.get("filename") for file in asked.get("attachments") or []],
    }
