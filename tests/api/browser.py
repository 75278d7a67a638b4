"""A browser between us and an issuer."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from httpx2 import AsyncClient, Response

from channels.authorities import of_the_web
from lab.issuer import Client, IssuerLab, Person
from tests.api.people import Person as User
from tests.api.support import V1, created

GOOGLE = "/auth/google/start"


@dataclass
class Browser:
    """Follows redirects by hand, one at a time. Its cookies are the client's."""

    api: AsyncClient

    async def begin(self, start: str = GOOGLE) -> str:
        """The address at the issuer that we send it to."""
        response = await self.api.get(f"{V1}{start}")
        assert response.status_code == 302, response.text
        return response.headers["location"]

    async def consent(self, there: str) -> str:
        """The address that the issuer sends it back to, without our host."""
        async with AsyncClient(trust_env=False, verify=of_the_web()) as outside:
            response = await outside.get(there)
        assert response.status_code == 302, response.text
        back = urlsplit(response.headers["location"])
        assert back.netloc == "mail.records.example"
        return f"{back.path}?{back.query}"

    async def come(self, start: str = GOOGLE) -> Response:
        """All of it: what we answer in the end."""
        return await self.api.get(await self.consent(await self.begin(start)))

    async def sign_in(self, email: str, start: str = GOOGLE) -> User:
        return User(self.api, email, await created(await self.come(start)))


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def an_issuer(owner: User, issuer: IssuerLab, **more: Any) -> dict[str, Any]:
    """The issuer next door, set up in the owner's workspace."""
    issuer.clients["records"] = Client("records", "the secret of records")
    body = {
        "name": "Our staff",
        "issuer": issuer.url,
        "client_id": "records",
        "client_secret": "the secret of records",
        **more,
    }
    return await created(await owner.post("/issuers", body))


def start_of(set_up: dict[str, Any]) -> str:
    return f"/auth/issuers/{set_up['id']}/start"


def ada(email: str = "ada@example.com", subject: str = "1001") -> Person:
    return Person(subject, email)
