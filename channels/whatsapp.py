"""WhatsApp by Meta's Cloud API (Graph v26.0).

Meta knows no idempotency key: our message's id goes along as `biz_opaque_callback_data` and comes back in
the status reports. Plain words are taken only within 24 hours after the person wrote; Meta counts these
hours, and refuses what comes later (131047): such a message needs a template that Meta approved.
"""

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from httpx2 import HTTPError
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from channels import calls
from channels.calls import BAD_MESSAGE, BAD_RECIPIENT, NOT_NOW, OPTED_OUT, SENDER, TOO_FAST, Row
from channels.contract import (
    Account,
    Blame,
    Capabilities,
    Envelope,
    Handshake,
    Hook,
    Kind,
    NotGenuine,
    Outcome,
    OutcomeKind,
    Report,
    ReportKind,
    World,
)
from channels.letters import Said, WhatsApp
from channels.line import Token
from domain.channels import Channel
from domain.texts import word

HOME = "https://graph.facebook.com"
VERSION = "v26.0"
MOST_FIELDS = 20  # Of what Meta asks when a webhook is set up.

DAY = 86_400.0
A_PAIR = 6.0  # Seconds between two messages to one person.

# https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes, by code; the rest goes by the
# status of HTTP. What names an account or a credential is the sender's.
ERRORS: Mapping[int, Row] = {
    1: NOT_NOW,
    2: NOT_NOW,
    4: TOO_FAST,  # The app's calls.
    80007: TOO_FAST,  # The business account's calls.
    130429: TOO_FAST,  # The number's messages a second.
    131000: NOT_NOW,
    131016: NOT_NOW,
    131048: Row(OutcomeKind.RETRY, after=900.0, calm=True, sender=True),  # Too many were called spam.
    131056: Row(OutcomeKind.RETRY, Blame.RECIPIENT, after=A_PAIR),  # Too many to this person.
    131057: NOT_NOW,  # Maintenance.
    133004: NOT_NOW,
    131049: Row(OutcomeKind.RETRY, Blame.RECIPIENT, after=DAY),  # The person had enough marketing today.
    131050: OPTED_OUT,
    131021: BAD_RECIPIENT,  # That is our own number.
    131026: BAD_RECIPIENT,  # No WhatsApp there, or one that is too old: that may change.
    131030: BAD_RECIPIENT,  # A test number may write to a few people only.
    130472: BAD_RECIPIENT,  # Meta keeps this person from such messages, for an experiment of its own.
    130497: BAD_RECIPIENT,  # The account may not write to that country.
    131047: BAD_MESSAGE,  # It needs a template.
    132000: BAD_MESSAGE,
    132001: BAD_MESSAGE,
    132005: BAD_MESSAGE,
    132007: BAD_MESSAGE,
    132012: BAD_MESSAGE,
    132015: BAD_MESSAGE,  # The template is paused.
    132016: BAD_MESSAGE,  # The template is disabled.
    **dict.fromkeys((0, 3, 10, 190, *range(200, 300), 368, 131031, 131042, 131045), SENDER),
}

# "Something went wrong": with a 5xx that may as well be after it was taken.
VAGUE = (1, 131000)

STATUSES: Mapping[str, ReportKind] = {
    "sent": ReportKind.ACCEPTED,
    "delivered": ReportKind.DELIVERED,
    "read": ReportKind.READ,
    "failed": ReportKind.FAILED,
}

CAPABILITIES = Capabilities(
    largest_batch=calls.SIDE_BY_SIDE,
    wire_batch=calls.SIDE_BY_SIDE,
    webhooks=True,
    lookup=False,
    reports=("delivered", "read", "failed", "unsubscribed", "replied"),
)


class WhatsAppSettings(BaseModel):
    """A number of a WhatsApp business account."""

    model_config = ConfigDict(extra="forbid")

    phone_number_id: str = Field(
        pattern="^[0-9]{1,30}$", description="Meta's id of the number, not the number"
    )
    access_token: Token
    app_secret: SecretStr = Field(min_length=1, description="Of the Meta app: webhooks are signed with it")
    verify_token: SecretStr = Field(min_length=1, description="What Meta says when the webhook is set up")


class WhatsAppProvider:
    """One number, by the Cloud API."""

    name = "whatsapp"
    capabilities = CAPABILITIES

    def __init__(self, settings: WhatsAppSettings, *, home: str) -> None:
        self.settings = settings
        self.number = f"{home}/{VERSION}/{settings.phone_number_id}"
        self.client = calls.client()
        self.client.headers["Authorization"] = f"Bearer {settings.access_token.get_secret_value()}"

    async def send(self, letter: WhatsApp, batch: Sequence[Envelope]) -> list[Outcome]:
        async def one(envelope: Envelope) -> Outcome:
            said = calls.fill(letter.said, envelope)
            answer = await self.client.post(f"{self.number}/messages", json=request(envelope, said))
            return outcome(answer.status_code, answer.content, answer.headers)

        return await calls.side_by_side(batch, one)

    async def check(self) -> str | None:
        try:
            answer = await self.client.get(self.number, params={"fields": "id"})
        except HTTPError as error:
            return f"Meta can't be reached: {calls.printable(calls.words(error))}"
        if answer.is_success:
            return None
        _, message = fault(answer.content)
        return f"Meta does not let us use this number with this access token: {message or answer.status_code}"

    async def close(self) -> None:
        await self.client.aclose()

    async def verify(self, hook: Hook, now: datetime) -> Handshake | None:
        """A GET asks whether the address is ours; a POST is signed with the app's secret, over the body.
        Nothing signed says when it was sent: a report that comes twice has the same key."""
        if hook.method == "GET":
            try:
                query = parse_qs(urlsplit(hook.url).query, max_num_fields=MOST_FIELDS)
            except ValueError:
                raise NotGenuine("Meta asks nothing as long as this.") from None
            return self._challenge(query)
        secret = self.settings.app_secret.get_secret_value().encode()
        expected = "sha256=" + hmac.new(secret, hook.body, sha256).hexdigest()
        given = hook.headers.get("x-hub-signature-256", "")
        if not hmac.compare_digest(expected.encode(), given.encode()):
            raise NotGenuine("The signature is not made with the app's secret.")
        return None

    def _challenge(self, query: Mapping[str, Sequence[str]]) -> Handshake:
        mode, token, challenge = (
            query.get(f"hub.{name}", [""])[0] for name in ("mode", "verify_token", "challenge")
        )
        ours = self.settings.verify_token.get_secret_value()
        if mode != "subscribe" or not hmac.compare_digest(ours.encode(), token.encode()):
            raise NotGenuine("The verify token is not the account's.")
        return Handshake(challenge.encode())

    def reports(self, hook: Hook) -> list[Report]:
        try:
            said = calls.object_of(hook.body)
            values = [change["value"] for entry in said["entry"] for change in entry["changes"]]
            return [report for value in values for report in _reports(value)]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("This is no webhook of the Cloud API.") from error


def request(envelope: Envelope, said: Said) -> dict[str, Any]:
    """The body of `POST /{phone number}/messages`."""
    about = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": envelope.address,
        "biz_opaque_callback_data": str(envelope.id),
    }
    if said.template is None:
        return {**about, "type": "text", "text": {"body": said.text or "", "preview_url": False}}
    template: dict[str, Any] = {"name": said.template, "language": {"code": said.language}}
    if said.parameters:
        written = [{"type": "text", "text": text} for text in said.parameters]
        template["components"] = [{"type": "body", "parameters": written}]
    return {**about, "type": "template", "template": template}


def outcome(status: int, body: bytes, headers: Mapping[str, str]) -> Outcome:
    if 200 <= status < 300:
        try:
            return Outcome(OutcomeKind.ACCEPTED, provider_id=str(calls.object_of(body)["messages"][0]["id"]))
        except (ValueError, KeyError, IndexError, TypeError):
            return calls.NOBODY_KNOWS.outcome("The answer can't be read.")
    code, message = fault(body)
    row = ERRORS.get(code) if code is not None else None
    if status >= 500 and code in VAGUE:
        row = calls.NOBODY_KNOWS
    reason = f"{code if code is not None else status} {message}"
    return (row or calls.by_status(status)).outcome(reason, calls.retry_after(headers))


def fault(body: bytes) -> tuple[int | None, str]:
    """Code and words of an error's answer."""
    try:
        error = calls.object_of(body)["error"]
        return _code_and_words(error)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, "without a word"


def _code_and_words(error: Mapping[str, Any]) -> tuple[int | None, str]:
    """Meta advises to build on the code and the details, not on titles."""
    code = error.get("code")
    details = (error.get("error_data") or {}).get("details")
    message = details or error.get("message") or error.get("title") or "without a word"
    return (code if type(code) is int else None), calls.printable(str(message))


def _reports(value: Mapping[str, Any]) -> Iterator[Report]:
    """What one change says: of what we sent, of what people wrote, and of who wants no marketing."""
    parts: tuple[tuple[str, Callable[[Mapping[str, Any]], Iterator[Report]]], ...] = (
        ("statuses", _status),
        ("messages", _written_to_us),
        ("user_preferences", _preference),
    )
    for name, read in parts:
        for each in value.get(name) or ():
            yield from read(each)


def _status(status: Mapping[str, Any]) -> Iterator[Report]:
    kind = STATUSES.get(status["status"])
    if kind is None:
        return
    wamid = str(status["id"])
    code, reason = _code_and_words((status.get("errors") or [{}])[0])
    kinds = [kind]
    if kind is ReportKind.FAILED and code is not None and ERRORS.get(code) is OPTED_OUT:
        kinds.append(ReportKind.UNSUBSCRIBED)
    for each in kinds:
        yield Report(
            each,
            _at(status["timestamp"]),
            f"{wamid}:{status['status']}:{each}",
            message_id=_uuid(status.get("biz_opaque_callback_data")),
            provider_id=wamid,
            address=_phone(status.get("recipient_id")),
            reason=f"{code} {reason}" if kind is ReportKind.FAILED else None,
        )


def _written_to_us(message: Mapping[str, Any]) -> Iterator[Report]:
    """Words, a button, or anything else: of pictures and the like only that they came."""
    kind = message.get("type")
    if kind == "system":  # Such as that a person's number or id changed.
        return
    interactive = message.get("interactive") or {}
    said = (
        (message.get("text") or {}).get("body")
        or (message.get("button") or {}).get("text")
        or (interactive.get("button_reply") or interactive.get("list_reply") or {}).get("title")
        or ""
    )
    meant = word(str(said))
    yield Report(
        calls.MEANT[meant] if meant else ReportKind.REPLIED,
        _at(message["timestamp"]),
        str(message["id"]),
        address=_phone(message.get("from")),
        text=str(said),
        extra={
            "type": kind,
            "in_reply_to": (message.get("context") or {}).get("id"),
            "user_id": message.get("from_user_id"),  # Who has a username may hide the number.
        },
    )


def _preference(preference: Mapping[str, Any]) -> Iterator[Report]:
    """WhatsApp's own button against marketing."""
    kind = {"stop": ReportKind.UNSUBSCRIBED, "resume": ReportKind.RESUBSCRIBED}.get(preference["value"])
    if kind is not None and preference.get("category") == "marketing_messages":
        who, when = preference.get("wa_id"), preference["timestamp"]
        yield Report(kind, _at(when), f"{who}:{when}:{kind}", address=_phone(who))


def _at(seconds: Any) -> datetime:
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise ValueError("A timestamp can't be read.") from error


def _phone(digits: Any) -> str | None:
    """Meta leaves out the plus. What has no digits is an id of another sort, and no number."""
    return f"+{digits}" if isinstance(digits, str) and digits.isdecimal() else None


def _uuid(text: Any) -> UUID | None:
    try:
        return UUID(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _open(account: Account, world: World) -> WhatsAppProvider:
    assert isinstance(account.settings, WhatsAppSettings)
    return WhatsAppProvider(account.settings, home=world.endpoints.get("whatsapp", HOME))


KIND = Kind(
    name="whatsapp",
    title="WhatsApp Cloud API",
    channel=Channel.WHATSAPP,
    settings=WhatsAppSettings,
    capabilities=CAPABILITIES,
    open=_open,
    rate=80.0,
)
