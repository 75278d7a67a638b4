"""Email by Mixmax, through somebody's own Gmail account: mail from one person to another, not for campaigns.

It takes one message a call, two calls a second and user (120 a minute), and carries neither headers nor an id
of ours. So there is no List-Unsubscribe, nothing is reported, and what is unknown stays so.

| the answer                               | outcome                                                  |
|------------------------------------------|----------------------------------------------------------|
| 2xx                                      | accepted                                                 |
| 400, 422                                 | rejected: the message                                    |
| 400, 422 about the recipient             | rejected: the recipient                                  |
| 413                                      | rejected: the message                                    |
| 408                                      | retry: it did not hear us out                            |
| 429                                      | retry, calm, when it says                                |
| 401, 403, any other 3xx or 4xx           | retry much later, "sender: …"                            |
| 503 with Retry-After                     | retry                                                    |
| 5xx else, any other status               | unknown                                                  |
| no connection                            | retry                                                    |
| cut or silent once we wrote              | unknown                                                  |
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from channels.contract import (
    Account,
    Blame,
    Capabilities,
    Envelope,
    Kind,
    Outcome,
    OutcomeKind,
    World,
)
from channels.letters import Mail
from channels.line import Line, NotHeard, NotWritten, Token, rest
from channels.mime import mailbox
from channels.smtp import Unsendable, in_ascii
from channels.smtp_replies import (
    AFTER_A_NOT_NOW,
    LONGEST_REASON,
    not_sent,
    senders_fault,
    unknown,
)
from domain.channels import Channel

ADDRESS = "https://api.mixmax.com"
A_SECOND = 2.0  # Calls.
CAPABILITIES = Capabilities(largest_batch=20, wire_batch=4, webhooks=False, lookup=False)


def outcome_of(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """The table above."""
    message = _message(body)
    said = f"Mixmax answered {status}: {message}" if message else f"Mixmax answered {status}"
    match status:
        case _ if 200 <= status < 300:
            return Outcome(OutcomeKind.ACCEPTED, provider_id=_id(body))
        case 400 | 422:
            blame = Blame.RECIPIENT if "recipient" in message.lower() else Blame.MESSAGE
            return Outcome(OutcomeKind.REJECTED, reason=said, blame=blame)
        case 413:
            return Outcome(OutcomeKind.REJECTED, reason=said, blame=Blame.MESSAGE)
        case 408:
            return not_sent(said)
        case 429:
            seconds = rest(headers)
            wait = AFTER_A_NOT_NOW if seconds is None else seconds
            return Outcome(OutcomeKind.RETRY, reason=said, retry_after=wait, calm=True)
        case _ if 300 <= status < 500:
            return senders_fault(said)
        case 503 if (seconds := rest(headers)) is not None:
            return Outcome(OutcomeKind.RETRY, reason=said, retry_after=seconds)
        case _:
            return unknown(said)


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        said = orjson.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _message(body: bytes) -> str:
    said = _read(body)
    found = said.get("message") or said.get("error") or ""
    return found[:LONGEST_REASON] if isinstance(found, str) else ""


def _id(body: bytes) -> str | None:
    found = _read(body).get("_id")
    return found if isinstance(found, str) else None


class MixmaxSettings(BaseModel):
    """What an account with Mixmax needs."""

    model_config = ConfigDict(extra="forbid")

    api_token: Token = Field(description="An API token of the Mixmax user who sends")


class Mixmax:
    """An account with Mixmax."""

    name = "mixmax"
    capabilities = CAPABILITIES

    def __init__(self, account: Account, world: World) -> None:
        settings = account.settings
        assert isinstance(settings, MixmaxSettings)
        token = settings.api_token.get_secret_value()
        base = world.endpoints.get("mixmax", ADDRESS)
        self.line = Line(base, {"X-API-Token": token}, connections=2)

    async def send(self, letter: Mail, batch: Sequence[Envelope]) -> list[Outcome]:
        until = self.line.until()
        return await asyncio.gather(*(self.deliver(letter, envelope, until) for envelope in batch))

    async def deliver(self, letter: Mail, envelope: Envelope, until: float) -> Outcome:
        try:
            body = self.message(letter, envelope)
        except Unsendable as error:
            return Outcome(OutcomeKind.REJECTED, reason=str(error), blame=Blame.RECIPIENT)
        except Exception as error:  # noqa: BLE001 - the contract: one message's fault stops no other
            reason = f"The letter could not be filled: {error}"
            return Outcome(OutcomeKind.REJECTED, reason=reason, blame=Blame.MESSAGE)
        try:
            reply = await self.line.call("POST", "/v1/send/", body, until=until)
        except NotWritten as failure:
            return not_sent(f"Mixmax: {failure}")
        except NotHeard as failure:
            return unknown(f"Mixmax: {failure}")
        return outcome_of(reply.status, reply.headers, reply.body)

    def message(self, letter: Mail, envelope: Envelope) -> bytes:
        """In the HTML alone: Mixmax makes the text itself."""
        if envelope.attachments:
            raise ValueError("Mixmax takes no files")
        parts = letter.parts(envelope)
        return orjson.dumps(
            {
                "message": {
                    "to": in_ascii(envelope.address).decode(),
                    "from": mailbox(parts.from_name, parts.from_email).decode().replace("\r\n", ""),
                    "subject": parts.subject,
                    "html": parts.html,
                }
            }
        )

    async def check(self) -> str | None:
        try:
            reply = await self.line.call("GET", "/v1/users/me")
        except (NotWritten, NotHeard) as failure:
            return f"Mixmax: {failure}"
        if reply.status in (401, 403):
            return "Mixmax refuses the API token: make a new one in its settings, and enter it."
        return None if reply.status == 200 else f"Mixmax answered {reply.status} when we asked who we are."

    async def close(self) -> None:
        await self.line.close()


KIND = Kind(
    name="mixmax",
    title="Mixmax",
    channel=Channel.EMAIL,
    settings=MixmaxSettings,
    capabilities=CAPABILITIES,
    open=Mixmax,
    rate=A_SECOND,
)
