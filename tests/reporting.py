"""What tests of reports begin with: a kind of provider that says whatever it is sent, and its accounts."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel, SecretStr
from sqlalchemy import text
from uuid_utils.compat import uuid7

from activities.accounts import Accounts
from activities.bell import Bell
from activities.reports import Mails, ReportActivities, Reported
from activities.slices import Timing
from channels import credentials, registry
from channels.contract import (
    Account,
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
from channels.egress import EgressTransport
from domain.channels import Channel
from domain.clock import Clock
from domain.secrets import Sealer
from domain.tokens import Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import hooks
from models.queries.hooks import Coming
from settings import DEVELOPMENT_ENCRYPTION_KEY
from tests.sending import NOW, SIGNING
from tests.support import GivenClock

TOKENS = Tokens(SIGNING)
CAPABILITIES = Capabilities(1, 1, webhooks=True, lookup=False)
SEALER = Sealer.of(DEVELOPMENT_ENCRYPTION_KEY)
SECRET = "the secret of the parrot"


class ParrotSettings(BaseModel):
    secret: SecretStr


class Parrot:
    """Its webhooks are lists of reports as JSON, signed by the secret itself."""

    name = "parrot"
    capabilities = CAPABILITIES

    def __init__(self, settings: ParrotSettings) -> None:
        self._secret = settings.secret.get_secret_value()

    async def send(self, letter: object, batch: Sequence[Envelope]) -> list[Outcome]:
        return [Outcome(OutcomeKind.ACCEPTED) for _ in batch]

    async def check(self) -> str | None:
        return None

    async def close(self) -> None:
        pass

    async def verify(self, hook: Hook, now: datetime) -> Handshake | None:
        if hook.headers.get("x-parrot") == "stumble":
            raise KeyError(self._secret)
        if hook.headers.get("x-parrot") != self._secret:
            raise NotGenuine("The signature is not ours.")
        if hook.method == "GET":
            return Handshake(b"hello", "text/plain")
        return None

    def reports(self, hook: Hook) -> list[Report]:
        found = json.loads(hook.body)
        return [
            Report(
                ReportKind(each["kind"]),
                datetime.fromisoformat(each["at"]),
                each["key"],
                UUID(each["message_id"]) if each.get("message_id") else None,
                each.get("provider_id"),
                each.get("address"),
                each.get("reason"),
                each.get("text"),
                each.get("machine", False),
                each.get("extra", {}),
            )
            for each in found
        ]


class Mute:
    """It reports nothing."""

    name = "mute"
    capabilities = Capabilities(1, 1, webhooks=False, lookup=False)

    def __init__(self, settings: ParrotSettings) -> None:
        pass

    send, check, close = Parrot.send, Parrot.check, Parrot.close


def _kind(name: str, channel: Channel, bird: type[Parrot | Mute]) -> Kind:
    def opened(account: Account, world: World) -> Parrot | Mute:
        assert isinstance(account.settings, ParrotSettings)
        return bird(account.settings)

    return Kind(name, "Parrot", channel, ParrotSettings, bird.capabilities, opened)


KINDS = {channel: _kind(f"parrot of {channel}", channel, Parrot) for channel in (Channel.EMAIL, Channel.SMS)}
MUTE = _kind("mute", Channel.EMAIL, Mute)
for _each in (*KINDS.values(), MUTE):
    registry.register(_each)


async def an_account(
    sessions: Sessions,
    channel: Channel = Channel.EMAIL,
    workspace_id: UUID = DEFAULT_WORKSPACE,
    kind: str | None = None,
) -> UUID:
    """An account with the parrot, or with another kind."""
    id_ = uuid4()
    added = text(
        "insert into providers (workspace_id, id, name, kind, channel, credentials)"
        " values (:workspace, :id, 'Parrot', :kind, :channel, :sealed)"
    )
    sealed = credentials.seal(SEALER, {"secret": SECRET}, id_)
    kind = kind or KINDS[channel].name
    values = {"workspace": workspace_id, "id": id_, "kind": kind, "channel": channel.value}
    async with sessions(workspace_id) as db:
        await db.execute(added, {**values, "sealed": sealed})
    return id_


def accounts() -> Accounts:
    return Accounts(SEALER, World(EgressTransport, {}, "https://campanile.example"))


def a_report(kind: str, message_id: UUID | None = None, **values: Any) -> dict[str, Any]:
    """What the parrot is told to say."""
    at: datetime = values.pop("at", NOW)
    said = {"kind": kind, "at": at.isoformat(), "key": uuid4().hex, **values}
    return said | ({"message_id": str(message_id)} if message_id else {})


async def came(
    sessions: Sessions, account: UUID, *told: dict[str, Any], workspace_id: UUID = DEFAULT_WORKSPACE
) -> None:
    """A genuine webhook with these reports waits."""
    hook = Coming(uuid7(), workspace_id, account, NOW, "POST", "", {}, json.dumps(told).encode())
    async with sessions.engine_batch() as db:
        await hooks.put(db, [hook])


def a_settler(
    sessions: Sessions, clock: Clock | None = None, most: int = 200, turn: float = 5.0
) -> ReportActivities:
    """Who settles, with a bell that nobody rings."""
    mails = Mails("https://campanile.example", "accounts@campanile.example")
    given = clock or GivenClock()
    return ReportActivities(sessions, accounts(), TOKENS, Bell(""), given, Timing(slice=1), mails, most, turn)


async def settled(sessions: Sessions, clock: Clock | None = None) -> Reported:
    """Settle all that waits by now."""
    done = Reported()
    await a_settler(sessions, clock).round(done)
    return done
