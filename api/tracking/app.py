"""The ASGI application of the tracking paths, mounted beside the API or alone in its own process."""

import re
from dataclasses import replace
from urllib.parse import parse_qsl
from uuid import UUID

from starlette.types import Receive, Scope, Send
from uuid_utils.compat import uuid7

from api.tracking import pages
from api.tracking.answers import TRY_AGAIN, UNKNOWN, Answer, answer, header, page, read_body
from api.tracking.people import People
from api.tracking.reads import Click, Links, Reads
from api.tracking.storage import Away, Storage
from domain.clock import Clock, SystemClock
from domain.errors import NotFound
from domain.messages import Interaction
from domain.profiles import ConsentSource
from domain.tokens import LENGTH, Tokens
from models.base import Sessions
from models.queries import profiles, tracking
from models.queries.tracking import Arrival
from settings import Settings

POOL = 4  # Connections a role: one that writes, one that looks links up, and some for unsubscribes.
LONGEST_AGENT = 300  # Characters.

_TOKEN = f"[A-Za-z0-9_-]{{{LENGTH}}}"
_OPEN = re.compile(f"/o/({_TOKEN})").fullmatch
_CLICK = re.compile(f"/c/({_TOKEN})/([0-9]{{1,4}})").fullmatch
_UNSUBSCRIBE = re.compile(f"/u/({_TOKEN})").fullmatch
_ASKED = re.compile(rb"asked=([0-9a-f]{32})").fullmatch
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_NAMED_ONE_CLICK = re.compile(rb'\bname="?list-unsubscribe"?\s*(?:[;\r\n]|\Z)').search

PIXEL = answer(
    200,
    bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c000000000100010000020144003b"),
    (b"content-type", b"image/gif"),
)


def build(settings: Settings) -> "Tracking":
    """The application alone, to be mounted. It opens connections when the first reader comes."""
    return Tracking(
        Sessions(settings.database_url, settings.engine_database_url, POOL),
        Tokens(settings.signing_key.encode()),
        settings.public_url,
        SystemClock(),
    )


class Tracking:
    """Answers readers. Closes `sessions` when its server stops."""

    def __init__(
        self,
        sessions: Sessions,
        tokens: Tokens,
        public_url: str,
        clock: Clock,
        *,
        patience: float = 5.0,
        room: int = 20_000,
    ) -> None:
        """`patience` is how many seconds the database may be away before something is lost, and `room` how
        many opens and clicks may wait to be written down."""
        self._sessions, self._tokens, self._clock = sessions, tokens, clock
        self._storage = Storage(patience)
        self._reads = Reads(sessions, self._storage, room=room)
        self._links = Links(sessions, self._storage, public_url)
        self._people = People(sessions, self._storage, tokens, public_url, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            status, headers, body = await self._respond(scope, receive)
            await send({"type": "http.response.start", "status": status, "headers": headers})
            body = b"" if scope["method"] == "HEAD" else body
            await send({"type": "http.response.body", "body": body})

    async def close(self) -> None:
        """Write down what has come in, and close the connections."""
        await self._links.close()
        await self._reads.close()
        await self._sessions.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, scope: Scope, receive: Receive) -> Answer:
        path, method = scope["path"], scope["method"]
        posts = path.startswith(("/u/", "/s/", "/p/"))
        if method not in ("GET", "HEAD") and not (posts and method == "POST"):
            allowed = b"GET, HEAD, POST" if posts else b"GET, HEAD"
            return page(405, pages.not_that_way(), (b"allow", allowed))
        if path.startswith("/o/"):
            return await self._open(scope)
        if (found := _CLICK(path)) and (message := self._tokens.read(found[1])):
            return await self._click(scope, Click(*message, int(found[2])))
        if (found := _UNSUBSCRIBE(path)) and (message := self._tokens.read(found[1])):
            if method == "POST":
                return await self._unsubscribe(scope, receive, *message)
            return await self._ask(found[1], *message)
        if path.startswith(("/s/", "/p/")):
            return await self._people.respond(scope, receive)
        if path == "/t/ok":
            return self._here(scope)
        return UNKNOWN

    def _here(self, scope: Scope) -> Answer:
        """Whoever set up a name of their own is told whether it leads here.

        The answer is to a number that they have just drawn, so that nobody else can give it, not even who
        kept an earlier one.
        """
        if not (asked := _ASKED(scope["query_string"])):
            return UNKNOWN
        proof = self._tokens.here(UUID(asked[1].decode()))
        return answer(200, proof.encode(), (b"content-type", b"text/plain"))

    async def _open(self, scope: Scope) -> Answer:
        """A picture in any case: a mail must not look broken because of us."""
        found = _OPEN(scope["path"])
        message = found and self._tokens.read(found[1])
        if message and scope["method"] == "GET":
            await self._reads.note(self._arrival(scope, *message, Interaction.OPENED))
        return PIXEL

    async def _click(self, scope: Scope, click: Click) -> Answer:
        counts = scope["method"] == "GET"
        arrival = self._arrival(
            scope, click.workspace_id, click.message_id, Interaction.CLICKED, click.number
        )
        try:
            target = await self._links.target(click)
        except Away as error:
            target = self._links.remembered(click)
            if target is None:
                return TRY_AGAIN
            if counts:
                self._reads.lost(arrival, str(error))
        else:
            if target is None:
                return UNKNOWN
            if counts:
                await self._reads.note(replace(arrival, url=target))
        return answer(302, b"", (b"location", target.encode("ascii")))

    async def _ask(self, token: str, workspace_id: UUID, message_id: UUID) -> Answer:
        try:
            sender = await self._sender(workspace_id, message_id)
        except Away:
            return page(200, pages.asking(None))
        return UNKNOWN if sender is None else page(200, pages.asking(sender, f"/p/{token}"))

    async def _unsubscribe(
        self, scope: Scope, receive: Receive, workspace_id: UUID, message_id: UUID
    ) -> Answer:
        """RFC 8058, section 3.2: no cookies, no redirect, no question; the POST's token says it all."""
        one_click = is_one_click(header(scope["headers"], b"content-type"), await read_body(receive))
        source = ConsentSource.ONE_CLICK if one_click else ConsentSource.UNSUBSCRIBE_PAGE
        now = self._clock.now()

        async def write() -> None:
            async with self._sessions(workspace_id) as db:
                await profiles.unsubscribe(db, message_id, now, source)

        try:
            await self._storage.do(write)
        except NotFound:
            return UNKNOWN
        except Away:
            return TRY_AGAIN
        return page(200, pages.unsubscribed())

    async def _sender(self, workspace_id: UUID, message_id: UUID) -> str | None:
        async def look_up() -> str | None:
            async with self._sessions.engine() as db:
                return await tracking.sender(db, workspace_id, message_id)

        return await self._storage.do(look_up)

    def _arrival(
        self, scope: Scope, workspace_id: UUID, message_id: UUID, kind: Interaction, link: int | None = None
    ) -> Arrival:
        agent = header(scope["headers"], b"user-agent").decode("utf-8", "replace").replace("\0", "")
        return Arrival(
            workspace_id, message_id, kind, self._clock.now(), link, agent[:LONGEST_AGENT] or None, uuid7()
        )


def is_one_click(content_type: bytes, body: bytes) -> bool:
    """Whether a mail program asks (RFC 8058): List-Unsubscribe=One-Click, as form data of either kind."""
    if content_type.lower().startswith(b"multipart/form-data"):
        return any(map(_is_one_click_part, body.lower().split(b"\n--")))
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), max_num_fields=20)
    except ValueError:
        return False
    return any(name.lower() == "list-unsubscribe" and said.lower() == "one-click" for name, said in pairs)


def _is_one_click_part(part: bytes) -> bool:
    """Whether a part of a form, in lower case, names the field and holds its value, which ends it.

    Each byte is looked at a few times and no more, whatever stands there: others wait meanwhile.
    """
    if not part.rstrip().endswith(b"one-click"):
        return False
    head, *value = _BLANK_LINE.split(part, maxsplit=1)
    return [each.strip() for each in value] == [b"one-click"] and _NAMED_ONE_CLICK(head) is not None
