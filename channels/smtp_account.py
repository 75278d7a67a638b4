"""A mail server of a workspace's own, as an account: somebody gave its address, so it is looked at first.

The installation's own server, `SMTP_URL`, is the operator's, and needs no guard.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Self

from httpx2 import ConnectError
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from channels.contract import Account, Kind, World
from channels.egress import EgressRefused, EgressTransport
from channels.smtp import SmtpProvider
from channels.smtp_replies import senders_fault
from channels.smtp_wire import PORTS, Resolve, Server, Timeouts, Unreachable
from domain.channels import Channel

HASTE = Timeouts(connect=5.0, greeting=5.0, command=10.0, content=20.0)  # It shares a slice with others.
SCHEMES = {"tls": "smtps", "starttls": "smtp+starttls", "none": "smtp"}


class SmtpSettings(BaseModel):
    """What an account with a mail server needs."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field(pattern=r"^[^\s/@\\]+$", max_length=253, description="Such as mail.shop.example")
    port: int | None = Field(default=None, ge=1, le=65_535, description="The usual one by default")
    security: Literal["tls", "starttls", "none"] = Field(
        default="starttls", description="tls from the first byte, starttls, or none without a password"
    )
    user: str | None = Field(default=None, max_length=256, description="Who logs in, if anybody")
    password: SecretStr | None = Field(default=None, description="Their password")
    connections: int = Field(default=4, ge=1, le=32, description="How many are kept open at most")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("Give both user and password, or neither.")
        if self.user is not None and self.security == "none":
            raise ValueError("A password only goes over TLS: set security to tls or starttls.")
        return self


def guarded(egress: Callable[[], EgressTransport]) -> Resolve:
    """Looks a host up, and at where it is."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        try:
            return [str(address) for address in await egress().addresses(host, port)]
        except EgressRefused as refusal:
            raise Unreachable(senders_fault(refusal.message)) from None
        except ConnectError as failure:
            raise OSError(str(failure)) from None

    return resolve


def open_account(account: Account, world: World) -> SmtpProvider:
    settings = account.settings
    assert isinstance(settings, SmtpSettings)
    scheme = SCHEMES[settings.security]
    server = Server(
        settings.host,
        settings.port or PORTS[scheme],
        scheme,
        settings.user,
        settings.password.get_secret_value() if settings.password else "",
        guarded(world.egress),
    )
    return SmtpProvider(server, connections=settings.connections, timeouts=HASTE)


KIND = Kind(
    name="smtp",
    title="Mail server (SMTP)",
    channel=Channel.EMAIL,
    settings=SmtpSettings,
    capabilities=SmtpProvider.capabilities,
    open=open_account,
)
