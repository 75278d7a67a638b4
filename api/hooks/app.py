"""The ASGI application of the incoming webhooks."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from typing import NamedTuple
from uuid import UUID

import structlog
from starlette.types import Receive, Scope, Send
from uuid_utils.compat import uuid7

from activities.accounts import Accounts, CannotUse
from api.hooks.known import KnownAccounts
from api.ingest import answers
from api.ingest.answers import Answer, Header, problem
from api.ingest.reading import Crowded, Garbled, HungUp, Pieces, TooLarge, TooSlow, Unknown, body_of
from api.request_ids import request_id
from api.tracking.groups import Full, Groups
from api.tracking.storage import Away, Storage
from channels.contract import Handshake, Hook, NotGenuine
from domain.clock import Clock
from models.base import Sessions
from models.queries import hooks
from models.queries.hooks import Coming, Known

log = structlog.get_logger("hooks")

PREFIX = "/hooks/"
LARGEST = 1_000_000  # Bytes of a body.
LARGEST_GROUP = 50  # Webhooks of one commit.
ROOM = 500  # Webhooks that wait for it.
PATIENCE = 10.0  # Seconds that a provider's check may take: some fetch a certificate.
COUNT_EVERY = 5.0  # Seconds between two notes of how many were refused.
KEPT = ("content-type", "x-amz-sns-message-type")  # What says how a body is to be read.

_ACCOUNT = re.compile(r"/hooks/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE).fullmatch

NOWHERE = problem(404, "No account has this address for its webhooks.")
GONE = problem(410, "The account was deleted, with what proves its webhooks: stop sending them.")
SILENT = problem(404, "The provider of this account reports nothing by webhooks.")
AWAY = problem(503, "The webhook can't be stored now: send it again soon.", (b"retry-after", b"5"))
UNREADABLE = problem(400, "The webhook can't be read: it is not what this provider sends.")
BROKEN = problem(503, "The webhook can't be checked now: send it again later.", (b"retry-after", b"60"))
TOO_LARGE = answers.too_large(f"{LARGEST:,} bytes")


class Refused(NamedTuple):
    workspace_id: UUID
    account_id: UUID


class Hooks:
    """Answers providers. Closes `sessions` and `accounts` when its server stops."""

    def __init__(
        self,
        sessions: Sessions,
        accounts: Accounts,
        public_url: str,
        clock: Clock,
        *,
        patience: float = 3.0,
        slowest: float = 10.0,
        unfinished: int = 32_000_000,
    ) -> None:
        """`patience` is how many seconds the database may be away before providers are told to come again. A
        body may take `slowest` seconds, and those that are not whole yet hold so many bytes `unfinished`."""
        self._sessions, self._accounts, self._clock = sessions, accounts, clock
        self._public_url = public_url.rstrip("/")
        self._storage = Storage(patience)
        self._known = KnownAccounts(sessions, self._storage)
        self._pieces = Pieces(slowest, unfinished)
        self._groups: Groups[Coming, None] = Groups(self._write, largest=LARGEST_GROUP, room=ROOM)
        self._refused: Counter[Refused] = Counter()
        self._counting: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
            }
            try:
                answer = await self._respond(scope, headers, receive)
            except HungUp:
                return
            if answer.status >= 400:
                answer = self._named(answer, headers)
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
            await send({"type": "http.response.body", "body": answer.body})

    async def settle(self) -> None:
        """Store what has come in, and write down how many were refused."""
        await self._groups.close()
        if self._counting is not None:
            self._counting.cancel()
            with suppress(asyncio.CancelledError):
                await self._counting
        await self._count()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.settle()
        await self._accounts.close()
        await self._sessions.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _named(self, answer: Answer, headers: Mapping[str, str]) -> Answer:
        id_ = request_id(headers.get("x-request-id", ""))
        log.info("Refused", request_id=id_, status=answer.status, detail=answers.detail_of(answer))
        return answers.named(answer, id_)

    async def _respond(self, scope: Scope, headers: dict[str, str], receive: Receive) -> Answer:
        found = _ACCOUNT(scope["path"])
        if found is None:
            return NOWHERE
        if scope["method"] not in ("GET", "POST"):
            return answers.wrong_method("GET", "POST")
        try:
            known = await self._known.of(UUID(found[1]))
            if known is None:
                return NOWHERE
            if known.deleted:
                return GONE
            body = await body_of(dict(scope["headers"]), receive, LARGEST, self._pieces)
            query = scope["query_string"].decode("latin-1")
            url = f"{self._public_url}{scope['path']}{'?' + query if query else ''}"
            return await self._take(known, Hook(scope["method"], url, headers, body))
        except TooLarge:
            return TOO_LARGE
        except (Unknown, Garbled):
            return UNREADABLE
        except TooSlow:
            return answers.TOO_SLOW
        except (Crowded, Full):
            return answers.CROWDED
        except Away:
            return AWAY

    async def _take(self, known: Known, hook: Hook) -> Answer:
        """Ask the provider's module whether it is genuine, and have it wait. Raises `Away` and `Full`."""
        try:
            provider = self._accounts.of(known.workspace_id, known.row)
        except CannotUse as error:
            log.error("An account can't be opened", provider=str(known.row.id), why=str(error))
            return BROKEN
        verify = getattr(provider, "verify", None)
        if verify is None:
            return SILENT
        try:
            async with asyncio.timeout(PATIENCE):
                handshake: Handshake | None = await verify(hook, self._clock.now())
        except NotGenuine as error:
            self._refuse(known)
            return problem(401, str(error) or "The webhook is not genuine.")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            # What a careless parser says of a strange body, of which nobody knows who sent it.
            self._refuse(known)
            log.warning("A webhook can't be read", provider=str(known.row.id), error=type(error).__name__)
            return UNREADABLE
        except TimeoutError:
            return BROKEN
        if handshake is not None:
            return _plain(handshake.body, handshake.content_type)
        await self._groups.put(self._coming(known, hook))
        return _plain(b"", "text/plain")

    def _coming(self, known: Known, hook: Hook) -> Coming:
        kept = {name: hook.headers[name].replace("\0", "") for name in KEPT if name in hook.headers}
        url = hook.url.replace("\0", "")[:8_000]
        return Coming(
            uuid7(),
            known.workspace_id,
            known.row.id,
            self._clock.now(),
            hook.method,
            url,
            kept,
            hook.body,
        )

    async def _write(self, group: Sequence[Coming]) -> Sequence[None]:
        async def write() -> None:
            async with self._sessions.engine_batch() as db:
                await hooks.put(db, group)

        await self._storage.do(write)
        return [None] * len(group)

    def _refuse(self, known: Known) -> None:
        self._refused[Refused(known.workspace_id, known.row.id)] += 1
        if self._counting is None or self._counting.done():
            self._counting = asyncio.create_task(self._count_soon())

    async def _count_soon(self) -> None:
        await asyncio.sleep(COUNT_EVERY)
        await self._count()

    async def _count(self) -> None:
        counted, self._refused = self._refused, Counter()
        if not counted:
            return
        rows = [(*which, {"refused": n}) for which, n in counted.items()]

        async def write() -> None:
            async with self._sessions.engine_batch() as db:
                await hooks.count(db, rows, self._clock.now().astimezone(UTC).date())

        try:
            await self._storage.do(write)
        except Away:
            self._refused.update(counted)


def _plain(body: bytes, content_type: str) -> Answer:
    headers: tuple[Header, ...] = (
        (b"content-type", content_type.encode("latin-1")),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    )
    return Answer(200, headers, body)
