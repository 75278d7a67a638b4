"""Email by SendGrid (API v3): up to a thousand people a call, each with what fills the letter for them.

`sendgrid_replies` says what its answers mean, `sendgrid_hooks` what its webhook reports. SendGrid's client
library opens a connection for each call, so that it is not used to send; it verifies webhooks.
"""

import asyncio
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator

from channels.contract import (
    Account,
    Attachment,
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
from channels.letters import Mail, Parts
from channels.line import Line, NotHeard, NotWritten, Token
from channels.merging import Calling, everything, headers_of, unmistakable
from channels.mime_bulk import ID, TOKEN
from channels.sendgrid_hooks import MESSAGE, WORKSPACE, reports_of
from channels.sendgrid_replies import at_fault, in_check, not_taken, outcome_of, rejected
from channels.smtp import Unsendable, in_ascii
from channels.smtp_replies import senders_fault
from domain.channels import Channel

PEOPLE = b"personalizations"
MOST = 1000  # Personalizations a call.
LARGEST_CALL = 30_000_000  # Bytes; the manual says 30 MB.
LARGEST_SUBSTITUTIONS = 10_000  # Bytes, of one person.
TRIES = 5  # Calls for the same people: one more each time that some are found at fault.
FRESH = 300  # Seconds that a webhook's signature is good for.
TIME, SIGNATURE = "x-twilio-email-event-webhook-timestamp", "x-twilio-email-event-webhook-signature"
ADDRESSES = {"global": "https://api.sendgrid.com", "eu": "https://api.eu.sendgrid.com"}

# We follow links and opens ourselves, where the person lets us; and our own link unsubscribes.
UNTOUCHED = {
    "click_tracking": {"enable": False, "enable_text": False},
    "open_tracking": {"enable": False},
    "subscription_tracking": {"enable": False},
}

CAPABILITIES = Capabilities(
    largest_batch=MOST,
    wire_batch=MOST,
    webhooks=True,
    lookup=False,
    reports=(
        ReportKind.ACCEPTED,
        ReportKind.DEFERRED,
        ReportKind.SOFT_BOUNCE,
        ReportKind.DELIVERED,
        ReportKind.FAILED,
        ReportKind.HARD_BOUNCE,
        ReportKind.COMPLAINED,
        ReportKind.UNSUBSCRIBED,
        ReportKind.RESUBSCRIBED,
    ),
    attachments=True,
)

OTHERS_AT_FAULT = Outcome(
    OutcomeKind.RETRY,
    reason="SendGrid refused others of the same call.",
    retry_after=1.0,
    blame=Blame.MESSAGE,
)


class SendGridSettings(BaseModel):
    """What an account with SendGrid needs."""

    model_config = ConfigDict(extra="forbid")

    api_key: Token = Field(description="An API key with the permission Mail Send")
    webhook_key: str | None = Field(
        default=None, description="The verification key of Settings, Mail Settings, Event Webhook"
    )
    region: Literal["global", "eu"] = Field(default="global", description="global, or eu for EU subusers")
    ip_pool: str | None = Field(default=None, max_length=64, description="The IP pool to send from")
    sandbox: bool = Field(default=False, description="Whether SendGrid only checks mails and delivers none")

    @field_validator("webhook_key")
    @classmethod
    def _is_a_key(cls, key: str | None) -> str | None:
        if not key:
            return None
        try:
            _verifier(key)
        except (ValueError, TypeError):
            raise ValueError("This is no verification key: copy it whole from SendGrid.") from None
        return key


def _verifier(key: str) -> Any:
    from sendgrid.helpers.eventwebhook import EventWebhook  # Slow to load.

    return EventWebhook(key.strip())


class SendGrid:
    """An account with SendGrid."""

    name = "sendgrid"
    capabilities = CAPABILITIES

    def __init__(self, account: Account, world: World) -> None:
        settings = account.settings
        assert isinstance(settings, SendGridSettings)
        self.settings = settings
        self.workspace = str(account.workspace_id)
        key = settings.api_key.get_secret_value()
        base = world.endpoints.get("sendgrid", ADDRESSES[settings.region])
        self.line = Line(base, {"Authorization": f"Bearer {key}"})
        self.verifier = _verifier(settings.webhook_key) if settings.webhook_key else None

    async def send(self, letter: Mail, batch: Sequence[Envelope]) -> list[Outcome]:
        until = self.line.until()
        outcomes: list[Outcome | None] = [None] * len(batch)
        calls = [call for tracked in (True, False) for call in self.calls(letter, batch, tracked, outcomes)]
        await asyncio.gather(*(self.deliver(call, outcomes, until) for call in calls))
        return [outcome for outcome in outcomes if outcome]

    async def check(self) -> str | None:
        try:
            reply = await self.line.call("GET", "/v3/scopes")
        except (NotWritten, NotHeard) as failure:
            return f"SendGrid: {failure}"
        if reply.status != 200:
            return in_check(reply)
        try:
            may_send = "mail.send" in orjson.loads(reply.body)["scopes"]
        except (ValueError, TypeError, KeyError):
            return "SendGrid answered something else than the key's permissions."
        return None if may_send else "Give the API key the permission Mail Send at SendGrid."

    async def close(self) -> None:
        await self.line.close()

    # Calls.

    def calls(
        self, letter: Mail, batch: Sequence[Envelope], tracked: bool, outcomes: list[Outcome | None]
    ) -> list[Calling]:
        """The calls for those who are tracked, or are not. Whom we can't write to has an outcome already."""
        chosen = [(place, each) for place, each in enumerate(batch) if each.tracked == tracked]
        if not chosen:
            return []
        try:
            opening = unmistakable(letter, tracked)
            merged = Merged(self, letter, tracked, opening) if opening else None
        except Exception as error:  # noqa: BLE001 - the letter as a whole can't go out
            for place, _ in chosen:
                outcomes[place] = _unsendable(error)
            return []
        calls: list[Calling] = []
        rounds: list[Calling] = []  # An address may be in a call once: the nth time it goes to the nth.
        seen: dict[str, int] = {}
        for place, envelope in chosen:
            try:
                person = merged.person(envelope) if merged and not envelope.attachments else None
                if merged is None or person is None:
                    calls.append(self.single(letter, place, envelope))
                    continue
            except Exception as error:  # noqa: BLE001 - the contract: one message's fault stops no other
                outcomes[place] = _unsendable(error)
                continue
            address = envelope.address.lower()
            nth = seen[address] = seen.get(address, -1) + 1
            if nth == len(rounds):
                rounds.append(Calling(PEOPLE, merged.common))
            call = rounds[nth]
            if len(call.people) == MOST or call.size + len(person) > LARGEST_CALL - MOST:
                calls.append(call)
                call = rounds[nth] = Calling(PEOPLE, merged.common)
            call.add(place, person)
        return calls + rounds

    def single(self, letter: Mail, place: int, envelope: Envelope) -> Calling:
        """A call for one, with the letter as it reads: nothing in it is replaced."""
        parts = letter.parts(envelope)
        person = self.person(envelope, str(envelope.id), dict(parts.headers), None)
        call = Calling(PEOPLE, self.common(parts, envelope.attachments), [(place, person)])
        if len(call.body) > LARGEST_CALL:
            raise ValueError(f"it has {len(call.body):,} bytes, and SendGrid takes {LARGEST_CALL:,}")
        return call

    def common(self, parts: Parts, attachments: Sequence[Attachment] = ()) -> bytes:
        content = [("text/plain", parts.text), ("text/html", parts.html)]
        body: dict[str, Any] = {
            "from": {"email": _sender(parts.from_email), "name": parts.from_name},
            "subject": parts.subject,
            "content": [{"type": kind, "value": value} for kind, value in content if value],
            "tracking_settings": UNTOUCHED,
        }
        if not parts.from_name:
            del body["from"]["name"]
        if parts.reply_to:
            body["reply_to"] = {"email": parts.reply_to}
        if attachments:
            body["attachments"] = [
                {
                    "content": binascii.b2a_base64(each.content, newline=False).decode(),
                    "filename": each.name,
                    "type": each.content_type,
                    "disposition": "attachment",
                }
                for each in attachments
            ]
        if self.settings.ip_pool:
            body["ip_pool_name"] = self.settings.ip_pool
        if self.settings.sandbox:
            body["mail_settings"] = {"sandbox_mode": {"enable": True}}
        return orjson.dumps(body)[1:]

    def person(
        self, envelope: Envelope, message: str, headers: dict[str, str], substitutions: bytes | None
    ) -> bytes:
        """One person's part. What it has takes the place of the call's as a whole, so it has all headers."""
        part: dict[str, Any] = {
            "to": [{"email": in_ascii(envelope.address).decode()}],
            "headers": headers,
            "custom_args": {MESSAGE: message, WORKSPACE: self.workspace},
        }
        if substitutions is not None:
            part["substitutions"] = orjson.Fragment(substitutions)
        return orjson.dumps(part)

    async def deliver(self, call: Calling, outcomes: list[Outcome | None], until: float) -> None:
        """Make the call. Who is named as at fault is left out of another, since nobody was accepted."""
        for _ in range(TRIES):
            try:
                reply = await self.line.call("POST", "/v3/mail/send", call.body, until=until)
            except (NotWritten, NotHeard) as failure:
                _settle(call, not_taken(failure), outcomes)
                return
            if reply.status == 413 and len(call.people) > 1:
                await asyncio.gather(*(self.deliver(half, outcomes, until) for half in call.halves()))
                return
            faults = at_fault(reply.status, reply.body)
            if not any(at < len(call.people) for at in faults):
                outcome = outcome_of(reply.status, reply.headers, reply.body)
                _settle(call, outcome, outcomes)
                return
            left = []
            for at, (place, person) in enumerate(call.people):
                if at in faults:
                    outcomes[place] = faults[at]
                else:
                    left.append((place, person))
            call = call.with_people(left)
            if not left:
                return
        _settle(call, OTHERS_AT_FAULT, outcomes)

    # Webhooks.

    async def verify(self, hook: Hook, now: datetime) -> Handshake | None:
        if self.verifier is None:
            raise NotGenuine("Enter the verification key of SendGrid's event webhook in the account first.")
        sent, signature = hook.headers.get(TIME, ""), hook.headers.get(SIGNATURE, "")
        if not sent.isdecimal() or len(sent) > 12 or not signature:
            raise NotGenuine("SendGrid's signature is missing.")
        if abs(now.timestamp() - int(sent)) > FRESH:
            raise NotGenuine("This webhook was signed too long ago.")
        try:
            genuine = self.verifier.verify_signature(hook.body.decode(), signature, sent)
        except ValueError:  # No base64, no UTF-8.
            genuine = False
        if not genuine:
            raise NotGenuine("The signature is not SendGrid's.")
        return None

    def reports(self, hook: Hook) -> list[Report]:
        return reports_of(hook.body)


class Merged:
    """A letter that SendGrid fills in: said once, with tags, and for each person what stands for them."""

    def __init__(self, account: SendGrid, letter: Mail, tracked: bool, opening: str) -> None:
        self.account, self.opening = account, opening
        bulk = letter.bulk(tracked, self.tag)
        self.common = account.common(bulk.parts)
        self.values = bulk.values
        # SendGrid replaces nothing in headers.
        self.same, self.differing = headers_of(bulk.parts, (self.tag(TOKEN), self.tag(ID)))
        self.content = everything(bulk.parts)
        self.spare: list[str] | None = None  # Tags that only headers have.

    def tag(self, number: int) -> str:
        return f"{self.opening}{number}-"

    def person(self, envelope: Envelope) -> bytes | None:
        """None for somebody whose mail has to be written out: too large, or with what looks like a tag."""
        values = self.values(envelope)
        headers = {**self.same, **self.differing(values)}
        message = values[self.tag(ID)]
        if self.spare is None:
            self.spare = [tag for tag in values if tag not in self.content]
        for tag in self.spare:
            del values[tag]
        if any(self.opening in value for value in values.values()):
            return None
        substitutions = orjson.dumps(values)
        if len(substitutions) > LARGEST_SUBSTITUTIONS:
            return None
        return self.account.person(envelope, message, headers, substitutions)


def _settle(call: Calling, outcome: Outcome, outcomes: list[Outcome | None]) -> None:
    for place in call.places:
        outcomes[place] = outcome


class _BadSender(Exception):
    pass


def _sender(address: str) -> str:
    try:
        return in_ascii(address).decode()
    except Unsendable as error:
        raise _BadSender(str(error)) from error


def _unsendable(error: Exception) -> Outcome:
    if isinstance(error, _BadSender):
        return senders_fault(str(error))
    if isinstance(error, Unsendable):
        return rejected(str(error), Blame.RECIPIENT)
    return rejected(f"The letter could not be filled: {error}")


def advice(settings: Mapping[str, Any]) -> list[str]:
    """What an account lacks so that its reports count."""
    if settings.get("webhook_key"):
        return []
    return ["Without webhook_key SendGrid's reports are refused: deliveries and bounces stay unknown."]


KIND = Kind(
    name="sendgrid",
    title="SendGrid",
    channel=Channel.EMAIL,
    settings=SendGridSettings,
    capabilities=CAPABILITIES,
    open=SendGrid,
    advice=advice,
)
