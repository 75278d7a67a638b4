"""Text messages by Twilio: what an account with it says of itself."""

from decimal import Decimal
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from channels import calls
from channels.contract import Account, Capabilities, Kind, Provider, World
from channels.letters import Text
from channels.line import Token
from domain.channels import Channel
from domain.money import Code

HOME = "https://api.twilio.com"

CAPABILITIES = Capabilities(
    largest_batch=calls.SIDE_BY_SIDE,
    wire_batch=calls.SIDE_BY_SIDE,
    webhooks=True,
    lookup=False,
    reports=("delivered", "failed", "soft bounce", "hard bounce", "unsubscribed", "replied"),
)


class TwilioSettings(BaseModel):
    """An account with Twilio, and from whom its texts come."""

    model_config = ConfigDict(extra="forbid")

    account_sid: str = Field(pattern="^AC[0-9a-f]{32}$", description="AC and 32 digits")
    auth_token: Token
    # A number in E.164, a short code, or a name with a letter in it (Twilio's "alphanumeric sender ID").
    from_number: str | None = Field(
        None,
        pattern=r"^(\+[1-9]\d{6,14}|\d{4,6}|[A-Za-z0-9 +&_-]{0,10}[A-Za-z][A-Za-z0-9 +&_-]{0,10})$",
        max_length=16,
        description="A number such as +4917012345678, a short code, or a name of up to 11 letters",
    )
    messaging_service_sid: str | None = Field(None, pattern="^MG[0-9a-f]{32}$")
    prices: dict[str, Decimal] = Field(
        default={}, description="What a segment costs, by the beginning of the number: +49, +1"
    )
    currency: Code = "USD"

    @model_validator(mode="after")
    def comes_from_somebody(self) -> Self:
        if (self.from_number is None) == (self.messaging_service_sid is None):
            raise ValueError("Give either from_number or messaging_service_sid")
        return self

    @model_validator(mode="after")
    def prices_can_be_used(self) -> Self:
        for prefix, price in self.prices.items():
            if not (prefix.startswith("+") and prefix[1:].isascii() and prefix[1:].isdigit() and price >= 0):
                raise ValueError('Write prices like {"+49": "0.0811"}')
        return self


def _open(account: Account, world: World) -> Provider[Text]:
    from channels.twilio_account import Twilio  # Its client takes 3 MB.

    assert isinstance(account.settings, TwilioSettings)
    return Twilio(
        account.settings,
        home=world.endpoints.get("twilio", HOME),
        callback=f"{world.public_url}/hooks/{account.id}",
    )


KIND = Kind(
    name="twilio",
    title="Twilio",
    channel=Channel.SMS,
    settings=TwilioSettings,
    capabilities=CAPABILITIES,
    open=_open,
)
