"""An account with Twilio, through Twilio's own client.

Twilio knows no idempotency key, so what was lost on the way stays unknown until a status callback names it:
the callback's address carries our message's id.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit
from uuid import UUID

from httpx2 import HTTPError
from twilio.base import values
from twilio.base.exceptions import TwilioException
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from channels import calls
from channels.calls import BAD_MESSAGE, BAD_RECIPIENT, NO_SUCH_RECIPIENT, OPTED_OUT, SENDER, TOO_FAST, Row
from channels.contract import Envelope, Handshake, Hook, NotGenuine, Outcome, OutcomeKind, Report, ReportKind
from channels.letters import Text
from channels.twilio import CAPABILITIES, HOME, TwilioSettings
from domain.texts import word

LARGEST_FORM = 64_000  # Bytes: 1,600 characters are 15,000, and ten addresses of pictures come with them.
MOST_FIELDS = 200

# https://www.twilio.com/docs/api/errors, by code; the rest goes by the status of HTTP.
ERRORS: Mapping[int, Row] = {
    20003: SENDER,  # The account or its token is wrong.
    20005: SENDER,  # The account is not active.
    20429: TOO_FAST,
    21211: NO_SUCH_RECIPIENT,  # No valid number.
    21212: SENDER,  # No valid number of ours.
    21408: BAD_RECIPIENT,  # The account may not send to that country.
    21265: BAD_RECIPIENT,  # A short code.
    21266: BAD_RECIPIENT,  # Our own number.
    21602: BAD_MESSAGE,  # Nothing to say.
    21603: SENDER,  # No number of ours.
    21606: SENDER,  # Our number can't send texts.
    21608: BAD_RECIPIENT,  # An account on trial writes to numbers that it verified.
    21610: OPTED_OUT,
    21611: TOO_FAST,  # Our number's queue is full.
    21612: BAD_RECIPIENT,  # No road from our number to that one.
    21614: NO_SUCH_RECIPIENT,  # No mobile number.
    21617: BAD_MESSAGE,  # Longer than 1,600 characters.
    21635: BAD_RECIPIENT,  # A landline.
    21659: SENDER,  # The number is not ours.
    21660: SENDER,  # The number is another account's.
    21703: SENDER,  # The messaging service has no number.
    21705: SENDER,  # There is no such messaging service.
    30001: TOO_FAST,  # The queue is full.
    30002: SENDER,  # The account is suspended.
    30005: NO_SUCH_RECIPIENT,
    30006: NO_SUCH_RECIPIENT,  # A landline.
    30007: SENDER,  # Filtered.
    30034: SENDER,  # Our number is not registered (A2P 10DLC).
}

# What a code of a status callback says about a message that was accepted; others say that it failed.
FATES: Mapping[int, ReportKind] = {
    30003: ReportKind.SOFT_BOUNCE,  # The phone is off.
    30005: ReportKind.HARD_BOUNCE,
    30006: ReportKind.HARD_BOUNCE,
    30008: ReportKind.SOFT_BOUNCE,  # The network does not say why.
    21211: ReportKind.HARD_BOUNCE,
    21614: ReportKind.HARD_BOUNCE,
}

STATUSES: Mapping[str, ReportKind] = {
    "queued": ReportKind.ACCEPTED,
    "accepted": ReportKind.ACCEPTED,
    "scheduled": ReportKind.ACCEPTED,
    "sending": ReportKind.ACCEPTED,
    "sent": ReportKind.ACCEPTED,
    "delivered": ReportKind.DELIVERED,
    "read": ReportKind.READ,
    "undelivered": ReportKind.FAILED,
    "failed": ReportKind.FAILED,
    "canceled": ReportKind.FAILED,
}


class Refused(Exception):
    """Twilio's answer was a no."""

    def __init__(self, status: int, code: int, message: str, after: float | None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.after = status, code, message, after

    @property
    def outcome(self) -> Outcome:
        row = ERRORS.get(self.code) or calls.by_status(self.status)
        return row.outcome(f"{self.code} {self.message}", self.after)


class _Wire(AsyncHttpClient):  # type: ignore[misc]  # It has no types.
    """Carries what Twilio's client asks: with our time-outs, and to where the operator says Twilio is."""

    def __init__(self, home: str) -> None:
        super().__init__(logging.getLogger("twilio.http_client"), is_async=True)
        self.home = home
        self.client = calls.client()

    async def request(
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        answer = await self.client.request(
            method,
            self.home + uri.removeprefix(HOME),
            params=_strings(params),
            data=_strings(data),
            headers=headers,
            auth=auth,
        )
        if answer.status_code >= 400:
            raise _refused(answer.status_code, answer.text, answer.headers)
        return Response(answer.status_code, answer.text, answer.headers)


def _strings(given: Mapping[str, object] | None) -> dict[str, str] | None:
    return {name: str(value) for name, value in given.items()} if given else None


def _refused(status: int, text: str, headers: Mapping[str, str]) -> Refused:
    """The client's own exception would leave out the headers, and so when to come again."""
    try:
        said = calls.object_of(text)
    except ValueError:
        said = {}
    code, message = said.get("code"), said.get("message") or said.get("detail") or "without a word"
    return Refused(status, code if type(code) is int else status, str(message), calls.retry_after(headers))


class Twilio:
    """One account with Twilio, sending from one number or messaging service."""

    name = "twilio"
    capabilities = CAPABILITIES

    def __init__(self, settings: TwilioSettings, *, home: str, callback: str) -> None:
        """`callback` is where Twilio reports, without a query."""
        self.settings = settings
        self.callback = callback
        token = settings.auth_token.get_secret_value()
        self.wire = _Wire(home)
        self.client = Client(settings.account_sid, token, http_client=self.wire)
        self.validator = RequestValidator(token)

    async def send(self, letter: Text, batch: Sequence[Envelope]) -> list[Outcome]:
        async def one(envelope: Envelope) -> Outcome:
            return await self._send(envelope, calls.fill(letter.text, envelope))

        return await calls.side_by_side(batch, one)

    async def _send(self, envelope: Envelope, text: str) -> Outcome:
        try:
            sent = await self.client.messages.create_async(
                to=envelope.address,
                body=text,
                from_=self.settings.from_number or values.unset,
                messaging_service_sid=self.settings.messaging_service_sid or values.unset,
                status_callback=f"{self.callback}?{urlencode({'message': envelope.id})}",
            )
        except Refused as error:
            return error.outcome
        except (
            TwilioException,
            ValueError,
            TypeError,
            AttributeError,
        ) as error:  # A yes that makes no sense.
            return calls.NOBODY_KNOWS.outcome(f"The answer can't be read: {calls.words(error)}")
        return Outcome(OutcomeKind.ACCEPTED, provider_id=sent.sid)

    async def check(self) -> str | None:
        try:
            account = await self.client.api.v2010.accounts(self.settings.account_sid).fetch_async()
        except Refused as error:
            if error.status in (401, 403, 404):
                return "Twilio does not know this account SID with this auth token."
            return f"Twilio answers {error.status}: {calls.printable(error.message)}"
        except (TwilioException, ValueError, HTTPError) as error:
            return f"Twilio can't be reached: {calls.printable(calls.words(error))}"
        if account.status not in (None, "active"):
            return f"Twilio says that the account is {account.status}."
        return None

    async def close(self) -> None:
        await self.wire.client.aclose()

    async def verify(self, hook: Hook, now: datetime) -> Handshake | None:
        """By X-Twilio-Signature, over the public URL and the form. Twilio signs no time: a report that comes
        twice has the same key."""
        signature = hook.headers.get("x-twilio-signature", "")
        try:
            form = _form(hook.body)
        except ValueError:
            raise NotGenuine("Twilio sends no forms as large as this one.") from None
        if not self.validator.validate(hook.url, form, signature):
            raise NotGenuine(
                "The signature is not Twilio's, or the public URL is not the one that it called."
            )
        return None

    def reports(self, hook: Hook) -> list[Report]:
        form = _form(hook.body)
        sid = form.get("MessageSid") or form.get("SmsSid")
        if not sid:
            raise ValueError("There is no MessageSid.")
        if form.get("SmsStatus") == "received" or "MessageStatus" not in form:
            return [_written_to_us(sid, form)]
        return _status(sid, form, _message_id(hook.url))


def _form(body: bytes) -> dict[str, str]:
    """Raises `ValueError` for more than Twilio ever sends: nobody knows yet who wrote it."""
    if len(body) > LARGEST_FORM:
        raise ValueError("The form is too large.")
    text = body.decode("utf-8", "replace")
    return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))


def _message_id(url: str) -> UUID | None:
    try:
        return UUID(parse_qs(urlsplit(url).query)["message"][0])
    except (KeyError, ValueError):
        return None


def _status(sid: str, form: Mapping[str, str], message_id: UUID | None) -> list[Report]:
    status = form["MessageStatus"]
    kind = STATUSES.get(status)
    if kind is None:
        return []
    code = int(form.get("ErrorCode", "")) if form.get("ErrorCode", "").isdecimal() else None
    if kind is ReportKind.FAILED and code is not None:
        kind = FATES.get(code, kind)
    reason = " ".join(filter(None, (form.get("ErrorCode"), form.get("ErrorMessage")))) or status

    def report(kind: ReportKind, about: UUID | None = message_id) -> Report:
        return Report(
            kind,
            None,
            f"{sid}:{status}:{kind}",
            message_id=about,
            provider_id=sid,
            address=form.get("To"),
            reason=calls.printable(reason) if kind not in _GOOD else None,
        )

    if code != 21610:
        return [report(kind)]
    return [report(kind), report(ReportKind.UNSUBSCRIBED, None)]  # They had said so before this message.


_GOOD = (ReportKind.ACCEPTED, ReportKind.DELIVERED, ReportKind.READ)


def _written_to_us(sid: str, form: Mapping[str, str]) -> Report:
    """A text of a person. A messaging service says itself what it took for STOP, START or HELP."""
    text = form.get("Body", "")
    meant = word(form.get("OptOutType", "")) or word(text)
    extra: dict[str, Any] = {"to": form.get("To")}
    if form.get("OptOutType"):
        extra["answered"] = True  # By the Messaging Service itself.
    return Report(
        calls.MEANT[meant] if meant else ReportKind.REPLIED,
        None,
        sid,
        address=form.get("From"),
        text=text,
        extra=extra,
    )
