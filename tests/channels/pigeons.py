"""Mail by carrier pigeon: a provider as somebody else would write it, to see how little it takes."""

from collections.abc import Sequence

from httpx2 import AsyncClient, ConnectError, HTTPError
from pydantic import BaseModel, Field, SecretStr

from channels import registry
from channels.contract import Account, Blame, Capabilities, Envelope, Kind, Outcome, OutcomeKind, World
from channels.letters import Mail
from domain.channels import Channel


class Loft(BaseModel):
    loft: str
    pigeons: int = 3
    ring: str | None = Field(None, pattern="^[0-9]+$", description="The number on its ring")
    token: SecretStr


class Pigeons:
    name = "pigeons"
    capabilities = Capabilities(largest_batch=50, wire_batch=5, webhooks=False, lookup=False)

    def __init__(self, account: Account, world: World) -> None:
        settings = Loft.model_validate(account.settings)
        headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}", "Loft": settings.loft}
        url = world.endpoints.get("pigeons", "https://pigeons.example")
        self.client = AsyncClient(base_url=url, headers=headers, timeout=20, trust_env=False)

    async def send(self, letter: Mail, batch: Sequence[Envelope]) -> list[Outcome]:
        return [await self.fly(letter, envelope) for envelope in batch]

    async def fly(self, letter: Mail, envelope: Envelope) -> Outcome:
        try:
            flight = {"to": envelope.address, "mail": letter.fill(envelope).decode()}
            answer = await self.client.post("/flights", json=flight)
        except ConnectError:
            return Outcome(OutcomeKind.RETRY, reason="The loft can't be reached.", retry_after=60)
        except HTTPError as error:
            return Outcome(OutcomeKind.UNKNOWN, reason=f"The pigeon is not back: {type(error).__name__}.")
        except Exception as error:  # noqa: BLE001 - a letter that can't be filled stops no other
            return Outcome(OutcomeKind.REJECTED, reason=str(error), blame=Blame.MESSAGE)
        if answer.status_code == 201:
            return Outcome(OutcomeKind.ACCEPTED, provider_id=answer.json()["flight"])
        if answer.status_code == 400:
            return Outcome(OutcomeKind.REJECTED, reason=answer.text, blame=Blame.MESSAGE)
        return Outcome(OutcomeKind.RETRY, reason=f"The loft answers {answer.status_code}.", retry_after=60)

    async def check(self) -> str | None:
        answer = await self.client.get("/loft")
        return None if answer.is_success else f"The loft does not let us in: {answer.text}"

    async def close(self) -> None:
        await self.client.aclose()


KIND = Kind("pigeons", "Carrier pigeons", Channel.EMAIL, Loft, Pigeons.capabilities, Pigeons, rate=10)
registry.register(KIND)
