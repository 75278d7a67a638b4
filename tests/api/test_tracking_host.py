"""A workspace's links lead to a name of its own once that name leads to us."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid4

import pytest
from httpx2 import ASGITransport, AsyncClient, Request, Response

from api.front import Front
from api.tracking import Tracking
from channels.egress import EgressTransport
from domain.clock import SystemClock
from domain.networks import networks_of
from domain.tokens import Tokens
from models.base import Sessions
from tests.api.conftest import SETTINGS
from tests.api.people import Person, an_owner, stack_of
from tests.api.support import created, refusal
from tests.channels.smtp_support import certified, trusting

AT = "/workspace/tracking-host"
HOST = "click.records.example"
TOKENS = Tokens(SETTINGS.signing_key.encode())


class NextDoor(EgressTransport):
    """The same guard, with another port in the place of 443 and one certificate for all names."""

    def __init__(self, port: int) -> None:
        tls = trusting()
        tls.check_hostname = False
        super().__init__(networks_of("127.0.0.1/32"), resolve=self.look, tls=tls, seconds=3)
        self.port, self.found = port, ["127.0.0.1"]

    async def look(self, host: str, port: int) -> Sequence[str]:
        return self.found

    async def handle_async_request(self, request: Request) -> Response:
        request.url = request.url.copy_with(port=self.port)
        return await super().handle_async_request(request)


class Site:
    """What is at the name."""

    def __init__(self) -> None:
        self.says: str | None = None  # None: what this installation would.
        self.status, self.asked, self.proof = "200 OK", b"", ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = await reader.readuntil(b"\r\n\r\n")
        self.proof = TOKENS.here(UUID(self.asked.split()[1].decode().removeprefix("/t/ok?asked=")))
        says = self.proof if self.says is None else self.says
        lines = [
            f"HTTP/1.1 {self.status}",
            f"Content-Length: {len(says)}",
            "Location: https://x.example/",
        ]
        writer.write("\r\n".join([*lines, "", says]).encode())
        writer.close()


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
async def owner(nobody: AsyncClient, sessions: Sessions, site: Site) -> AsyncIterator[Person]:
    server = await asyncio.start_server(site.talk, "127.0.0.1", 0, ssl=certified())
    async with server:
        stack_of(nobody).egress = NextDoor(server.sockets[0].getsockname()[1])
        yield await an_owner(nobody, sessions, "owner@example.com")


async def test_a_name_that_leads_to_us_is_taken_and_can_be_given_back(owner: Person, site: Site) -> None:
    assert (await created(await owner.post(AT, {"host": "Click.Records.Example."})))["tracking_host"] == HOST
    assert site.asked.startswith(b"GET /t/ok?asked=")
    assert (await owner.get("/workspace")).json()["tracking_host"] == HOST

    assert (await created(await owner.post(AT, {"host": None})))["tracking_host"] is None


@pytest.mark.parametrize(
    ("status", "says"),
    [("200 OK", "hello"), ("200 OK", ""), ("302 Found", None), ("404 Not Found", "")],
)
async def test_a_name_at_which_somebody_else_answers_is_refused(
    owner: Person, site: Site, status: str, says: str | None
) -> None:
    site.status, site.says = status, says

    problem = refusal(await owner.post(AT, {"host": HOST}), 422)
    assert problem["errors"][0]["pointer"] == "/host"
    assert "have click.records.example lead to mail.records.example (a CNAME)" in problem["detail"]
    assert (await owner.get("/workspace")).json()["tracking_host"] is None


@pytest.mark.parametrize(("found", "says"), [([], "can't be reached"), (["10.0.0.7"], "not on the public")])
async def test_a_name_that_leads_nowhere_or_within_is_refused(
    owner: Person, found: list[str], says: str
) -> None:
    egress = stack_of(owner.api).egress
    assert isinstance(egress, NextDoor)
    egress.found = found

    assert says in refusal(await owner.post(AT, {"host": HOST}), 422)["detail"]


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "https://x.example", "x.example/path", "x.example:1"]
)
async def test_what_is_no_name_is_refused(owner: Person, host: str) -> None:
    assert refusal(await owner.post(AT, {"host": host}), 422)["errors"][0]["pointer"] == "/host"


async def test_a_stranger_can_not_say_again_what_we_said_once(owner: Person, site: Site) -> None:
    await created(await owner.post(AT, {"host": HOST}))
    site.says = site.proof

    refusal(await owner.post(AT, {"host": f"evil.{HOST}"}), 422)
    assert site.proof != site.says


async def test_we_prove_where_we_are_to_whoever_draws_a_number(sessions: Sessions) -> None:
    asked = uuid4()
    tracking = Tracking(sessions, TOKENS, "https://mail.records.example", SystemClock())
    async with AsyncClient(transport=ASGITransport(app=Front(None, tracking)), base_url="http://x") as reader:
        answer = await reader.get("/t/ok", params={"asked": asked.hex})
        others = [
            (await reader.get(f"/t/ok{query}")).status_code
            for query in ("", "?asked=", "?asked=x", f"?asked={asked}", f"?asked={asked.hex}&b=c")
        ]

    assert (answer.status_code, answer.text) == (200, TOKENS.here(asked))
    assert {*others} == {404}
    assert TOKENS.here(uuid4()) != answer.text
    assert Tokens(b"another key, just as long").here(asked) != answer.text
