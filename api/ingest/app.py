"""The ASGI application of the tracking API."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog
from starlette.types import Receive, Scope, Send

from api.ingest import answers
from api.ingest.answers import Answer
from api.ingest.inbox import Fate, Inbox
from api.ingest.reading import (
    MOST_EVENTS,
    Crowded,
    Garbled,
    HungUp,
    Pieces,
    TooLarge,
    TooSlow,
    Unknown,
    body_of,
)
from api.ingest.refusals import Refusals
from api.ingest.routes import PROJECTS, ROUTES, SETTINGS, Route, serves
from api.ingest.senders import Sender, Senders, key_in
from api.ingest.settings_document import settings_document
from api.leases import Leases
from api.request_ids import request_id
from api.tracking.groups import Full
from api.tracking.storage import Away, Storage
from domain import arrivals, calls
from domain.arrivals import KINDS, Arrived, Refused
from domain.calls import Call, Fault, Sent, Unreadable
from domain.clock import Clock
from domain.events import EventKind, RefusalStage
from models.base import Sessions
from models.queries import inbox

log = structlog.get_logger("ingest")

MINUTE = timedelta(minutes=1)
MOST_LOGGED = 20  # Refusals in a second.
NOT_STORABLE = "This can't be stored: our log says why."


class Ingest:
    """Takes events in. Closes `sessions` when its server stops."""

    def __init__(
        self,
        sessions: Sessions,
        public_url: str,
        clock: Clock,
        *,
        events_a_minute: int = 1_200_000,
        patience: float = 3.0,
        room: int = 20_000,
        slowest: float = 10.0,
        unfinished: int = 64_000_000,
    ) -> None:
        """`patience` is how many seconds the database may be away before senders are told, and `room` how
        many events may wait to be stored. A body that comes in pieces may take `slowest` seconds, and those
        that are not whole yet may hold so many bytes `unfinished` together."""
        self._sessions, self._public_url, self._clock = sessions, public_url, clock
        self._senders = Senders(sessions, Storage(patience), clock)
        self._inbox = Inbox(sessions, Storage(patience), room=room)
        self._refusals = Refusals(sessions, Storage(patience), clock)
        self._pieces = Pieces(slowest, unfinished)
        self._leases = Leases(sessions, events_a_minute, MINUTE)
        self._leasing = Storage(patience)
        self._second = self._logged = 0  # How many refusals were logged in which second.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            headers: Mapping[bytes, bytes] = dict(scope["headers"])
            try:
                answer = await self._respond(scope, headers, receive)
            except HungUp:
                return
            if answer.status >= 400:
                answer = self._named(answer, scope, headers)
            if (origin := headers.get(b"origin")) is not None and answer.status != 204:
                answer = answers.readable_by(answer, origin)
            status, said, body = answer
            await send({"type": "http.response.start", "status": status, "headers": said})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _named(self, answer: Answer, scope: Scope, headers: Mapping[bytes, bytes]) -> Answer:
        """The same problem under an id, by which our log knows it, unless it knows many of this second."""
        id_ = request_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        second = int(self._clock.now().timestamp())
        if second != self._second:
            self._second, self._logged = second, 0
        if self._logged < MOST_LOGGED:
            self._logged += 1
            # Other paths are anybody's, and may hold a key.
            path = scope["path"] if scope["path"] in ROUTES else None
            log.info("Refused", request_id=id_, path=path, status=answer.status)
        return answers.named(answer, id_)

    async def settle(self) -> None:
        """Store what has come in, and write down what was refused."""
        await self._senders.close()
        await self._inbox.close()
        await self._refusals.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.settle()
        await self._sessions.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> Answer:
        path, method = scope["path"], scope["method"]
        route = ROUTES.get(path)
        try:
            if route is not None and method == "POST":
                return await self._take(route, headers, receive)
            if method == "OPTIONS" and b"access-control-request-method" in headers and serves(path):
                return answers.preflight(headers.get(b"origin", b"*"))
            if route is not None:
                return answers.wrong_method("POST")
            if path.startswith(PROJECTS) and path.endswith(SETTINGS):
                if method not in ("GET", "HEAD"):
                    return answers.wrong_method("GET", "HEAD")
                return await self._settings(path[len(PROJECTS) : -len(SETTINGS)], headers.get(b"origin"))
        except Away:
            return answers.AWAY
        except Full:
            return answers.FULL
        except TooSlow:
            return answers.TOO_SLOW
        except Crowded:
            return answers.CROWDED
        return answers.NOWHERE

    async def _take(self, route: Route, headers: Mapping[bytes, bytes], receive: Receive) -> Answer:
        header = headers.get(b"authorization")
        sender = None
        if header is not None:
            sender = await self._sender(header, key_in)
            if sender is None:
                return answers.UNKNOWN_KEY
        body = b""
        try:
            body = await body_of(headers, receive, route.most, self._pieces)
            sent = calls.batch(body) if route.kind is None else calls.single(body)
        except (TooLarge, Unknown, Garbled, Unreadable) as error:
            answer = _unread(error, route.most)
            if sender is not None and isinstance(error, Unreadable):
                self._note(sender, route, error.seen, error.fault, body)
                return answer
            return self._told(sender, answer, body)
        if sender is None:
            if not sent.key:
                return answers.NO_KEY
            sender = await self._sender(sent.key.encode(), bytes.decode)
            if sender is None:
                return answers.UNKNOWN_KEY
        if refusal := self._refusal(sender, headers.get(b"origin"), route):
            return self._told(sender, refusal, body)
        events = len(sent.calls)
        if not events:
            empty = Fault(sent.place, "There is no event in it: send one at least.")
            self._note(sender, route, None, empty, body)
            return answers.all_refused([(0, empty)])
        if events > MOST_EVENTS:
            return self._told(sender, answers.too_large(f"{MOST_EVENTS:,} events"), body)
        now = self._clock.now()
        if not self._leases.spend(sender.allowance, now, events):
            allowance = sender.allowance
            standing = await self._leasing.do(lambda: self._leases.take(allowance, now, events))
            if not standing.granted:
                return answers.too_fast(self._leases.limit, standing.seconds)
        return await self._keep(route, sender, sent, body, now)

    async def _sender(self, credential: bytes, key_of: Callable[[bytes], str]) -> Sender | None:
        """Who sent this. Raises `Away`."""
        sender = self._senders.remembered(credential)
        if sender is None:
            sender = await self._senders.of(credential, key_of(credential))
        if sender is None or (sender.expires_at is not None and sender.expires_at <= self._clock.now()):
            return None
        return sender

    def _refusal(self, sender: Sender, origin: bytes | None, route: Route) -> Answer | None:
        if not sender.may:
            return answers.NOT_PERMITTED
        if not sender.may_from(origin):
            return answers.OTHER_ORIGIN
        if route.historical and not sender.trusted:
            return answers.NO_HISTORY
        return None

    async def _keep(self, route: Route, sender: Sender, sent: Sent, body: bytes, now: datetime) -> Answer:
        """Store what of it is good. Raises `Away` and `Full`."""
        refused: list[tuple[int, Fault]] = []
        rows: list[bytes] = []
        places: list[int] = []  # Of the rows among the calls.
        received, workspace, trusted = inbox.microseconds(now), sender.workspace, sender.trusted
        sent_at = arrivals.sent_time(sent.sent_at)
        historical = route.historical or sent.historical
        for n, call in enumerate(sent.calls):
            try:
                if not isinstance(call, Call):
                    raise Refused(*call)
                kind = route.kind or _kind(call)
                then = sent_at
                if then is None and call.timestamp is not None:
                    then = arrivals.sent_time(call.sent_at or call.our_sent_at)
                arrived = arrivals.arrive(
                    call, kind, sender.rights, now, sent_at=then, historical=historical, context=sent.context
                )
            except Refused as refusal:
                at = f"{sent.place}/{n}" if sent.place else ""
                fault = Fault(at + refusal.fault.pointer, refusal.fault.detail)
                refused.append((n, fault))
                self._note(sender, route, call if isinstance(call, Call) else sent.seen.get(n), fault, body)
            else:
                rows.append(inbox.row(workspace, now, received, trusted, arrived))
                places.append(n)
                if arrived.doubts or arrived.left_out:
                    self._doubt(sender, call, arrived, body)
        if not rows:
            return answers.all_refused(refused)
        fates = await self._inbox.put(rows)
        if fates:
            if Fate.AWAY in fates:
                raise Away
            for n, fate in zip(places, fates, strict=True):
                if fate is Fate.REFUSED:
                    fault = Fault(f"{sent.place}/{n}" if sent.place else "", NOT_STORABLE)
                    refused.append((n, fault))
                    call = sent.calls[n]
                    self._note(sender, route, call if isinstance(call, Call) else None, fault, body)
            refused.sort()
            if len(refused) == len(sent.calls):
                return answers.all_refused(refused)
        return answers.kept(len(sent.calls) - len(refused), refused, route.status)

    def _note(self, sender: Sender, route: Route, call: Call | None, fault: Fault, body: bytes) -> None:
        kind = route.kind or (None if call is None else call.type or EventKind.TRACK)
        self._refusals.note(sender.workspace_id, fault, kind=kind, call=call, body=body)

    def _doubt(self, sender: Sender, call: Call | Fault, arrived: Arrived, body: bytes) -> None:
        known = call if isinstance(call, Call) else None
        for stage, faults in (
            (RefusalStage.NAME, arrived.doubts),
            (RefusalStage.FIELD, arrived.left_out),
        ):
            for fault in faults or ():
                self._refusals.note(
                    sender.workspace_id, fault, kind=arrived.kind, call=known, body=body, stage=stage
                )

    def _told(self, sender: Sender | None, answer: Answer, body: bytes) -> Answer:
        """The same answer, which is written down where we know whose it is."""
        if sender is not None:
            self._refusals.note(sender.workspace_id, Fault("", answers.detail_of(answer)), body=body)
        return answer

    async def _settings(self, key: str, origin: bytes | None) -> Answer:
        """What Segment's library for browsers asks for before it sends anything."""
        sender = await self._sender(key.encode(), bytes.decode)
        if sender is None:
            return answers.UNKNOWN_KEY
        if not sender.may:
            return answers.NOT_PERMITTED
        if not sender.may_from(origin):
            return answers.OTHER_ORIGIN
        return answers.json(200, settings_document(key, self._public_url))


def _unread(error: Exception, most: int) -> Answer:
    match error:
        case TooLarge():
            return answers.too_large(f"{most:,} bytes")
        case Unknown():
            return answers.UNKNOWN_ENCODING
        case Unreadable(fault=fault, malformed=malformed):
            return answers.all_refused([(0, fault)], 400 if malformed else 422)
    return answers.problem(400, f"The body can't be unpacked: {error}.")


def _kind(call: Call) -> EventKind:
    if call.type is None:
        return EventKind.TRACK
    kind = KINDS.get(call.type)
    if kind is None:
        raise Refused("/type", f"Send one of: {', '.join(map(str, KINDS))}.")
    return kind
