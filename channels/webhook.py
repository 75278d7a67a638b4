"""Webhooks to an address that the customer gave, signed as Standard Webhooks 1.0 says.

| the receiver says                     | outcome                                                         |
|---------------------------------------|-----------------------------------------------------------------|
| 2xx                                   | accepted                                                        |
| 410                                   | rejected: it wants no more                                      |
| 408, 425, 429, 5xx                    | retry, when it says                                             |
| 401, 403, 404                         | retry much later: somebody has to switch it on                  |
| another 3xx or 4xx                    | rejected                                                        |
| nothing: lost, or too late            | retry                                                           |
| an address that is not public         | rejected                                                        |

It is safe to send again what may have arrived: the header `webhook-id` is our message's id, the same each
time, and receivers of Standard Webhooks drop what they had. A receiver's trouble is its own: it says nothing
about the road, so the recipient has the blame.
"""

from collections.abc import Mapping, Sequence

from httpx2 import HTTPError
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from channels import calls
from channels.calls import BAD_RECIPIENT, Row
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
from channels.egress import AnswerRefused, EgressClient, EgressRefused, EgressTransport
from channels.letters import Payload
from channels.line import Value
from channels.signing import Signer
from domain.channels import Channel
from domain.clock import Clock, SystemClock
from domain.webhooks import checked_secret

LATER = Row(OutcomeKind.RETRY, Blame.RECIPIENT, after=30.0)
MUCH_LATER = Row(OutcomeKind.RETRY, Blame.RECIPIENT, after=calls.AFTER_A_SENDERS_FAULT)

STATUSES: Mapping[int, Row] = {
    401: MUCH_LATER,
    403: MUCH_LATER,
    404: MUCH_LATER,
    408: LATER,
    410: BAD_RECIPIENT,
    425: LATER,
    429: LATER,
}

CAPABILITIES = Capabilities(
    largest_batch=calls.SIDE_BY_SIDE, wire_batch=calls.SIDE_BY_SIDE, webhooks=False, lookup=False
)

_OURS = ("webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "content-length", "host")


class WebhookSettings(BaseModel):
    """How webhooks are signed, and a header of the customer's own for receivers that can't verify that."""

    model_config = ConfigDict(extra="forbid")

    secret: SecretStr = Field(description="whsec_ and 24 to 64 bytes in base64")
    header_name: str | None = Field(None, pattern="^[A-Za-z0-9-]{1,100}$", description="A header of your own")
    header_value: Value | None = Field(None, max_length=1000)

    @field_validator("secret")
    @classmethod
    def secret_is_long(cls, secret: SecretStr) -> SecretStr:
        return SecretStr(checked_secret(secret.get_secret_value()))

    @field_validator("header_name")
    @classmethod
    def header_is_not_ours(cls, name: str | None) -> str | None:
        if name is not None and name.lower() in _OURS:
            raise ValueError("This header is ours; take another name")
        return name


class WebhookProvider:
    """Posts what the template says to the address of each message."""

    name = "webhook"
    capabilities = CAPABILITIES

    def __init__(self, settings: WebhookSettings, guard: EgressTransport, clock: Clock) -> None:
        """`clock` is the wall's: receivers refuse what was not signed in the last minutes."""
        self.signer = Signer(settings.secret.get_secret_value())
        self.client = EgressClient(guard)
        self.clock = clock
        self.own: dict[str, str] = {}
        if settings.header_name and settings.header_value:
            self.own = {settings.header_name: settings.header_value.get_secret_value()}

    async def send(self, letter: Payload, batch: Sequence[Envelope]) -> list[Outcome]:
        async def one(envelope: Envelope) -> Outcome:
            body = calls.fill(letter.payload, envelope)
            return await self._post(envelope, body)

        return await calls.side_by_side(batch, one, Blame.RECIPIENT)

    async def _post(self, envelope: Envelope, body: bytes) -> Outcome:
        try:
            headers = {**self.own, **self.signer.headers(str(envelope.id), body, self.clock.now())}
            answer = await self.client.post(envelope.address, content=body, headers=headers)
        except AnswerRefused as error:  # It was heard; only what was said to it is nothing for us.
            return LATER.outcome(error.message)
        except EgressRefused as error:
            return BAD_RECIPIENT.outcome(error.message)
        except (HTTPError, TimeoutError) as error:
            return LATER.outcome(f"There was no answer: {calls.words(error)}")
        return outcome(answer.status_code, answer.headers)

    async def check(self) -> str | None:
        """Each message has an address of its own, so that there is nothing to ask beforehand."""
        return None

    async def close(self) -> None:
        await self.client.aclose()


def outcome(status: int, headers: Mapping[str, str]) -> Outcome:
    if 200 <= status < 300:
        return Outcome(OutcomeKind.ACCEPTED)
    row = STATUSES.get(status) or (LATER if status >= 500 else BAD_RECIPIENT)
    moved = ": it sends us elsewhere, and we don't follow" if 300 <= status < 400 else ""
    return row.outcome(f"The receiver answered {status}{moved}", calls.retry_after(headers))


def _open(account: Account, world: World) -> WebhookProvider:
    assert isinstance(account.settings, WebhookSettings)
    return WebhookProvider(account.settings, world.egress(), SystemClock())


KIND = Kind(
    name="webhook",
    title="Webhook",
    channel=Channel.WEBHOOK,
    settings=WebhookSettings,
    capabilities=CAPABILITIES,
    open=_open,
)
