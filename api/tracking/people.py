"""The pages where people come on a list, and choose what they hear of. A GET changes nothing there."""

import re
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl
from uuid import UUID

import structlog
from starlette.types import Receive, Scope

from api.tracking import pages, people_pages
from api.tracking.answers import TRY_AGAIN, UNKNOWN, Answer, page, read_body
from api.tracking.people_pages import all_fields
from api.tracking.storage import Away, Storage
from domain import sign_ups as rules
from domain.clock import Clock
from domain.errors import Conflict, Invalid, NotFound, Refused
from domain.networks import place_of
from domain.profiles import ConsentSource, IdentityKind, checked
from domain.tokens import LENGTH, LENGTH_OF_THREE, About, Tokens
from models.base import Sessions
from models.queries import preferences, profiles, rate_limits, sign_ups

log = structlog.get_logger()

_TOKEN = f"[A-Za-z0-9_-]{{{LENGTH}}}"
_SUBSCRIBE = re.compile(f"/s/({_TOKEN})").fullmatch
_CONFIRM = re.compile(f"/s/confirm/([A-Za-z0-9_-]{{{LENGTH_OF_THREE}}})").fullmatch
_CHOOSE = re.compile(f"/p/({_TOKEN})").fullmatch
_MOST_FIELDS: Final = 500

Fields = list[tuple[str, str]]


class People:
    def __init__(
        self, sessions: Sessions, storage: Storage, tokens: Tokens, public_url: str, clock: Clock
    ) -> None:
        self._sessions, self._storage, self._tokens, self._clock = sessions, storage, tokens, clock
        self._public_url = public_url.rstrip("/")

    async def respond(self, scope: Scope, receive: Receive) -> Answer:
        """Whoever the link speaks for, and nobody else."""
        fields = _fields(await read_body(receive)) if scope["method"] == "POST" else None
        path = scope["path"]
        try:
            if (found := _SUBSCRIBE(path)) and (of_list := self._tokens.read(found[1], About.LIST)):
                if fields is None:
                    return await self._form(*of_list)
                return await self._filled_in(_place(scope), fields, *of_list)
            if found := _CONFIRM(path):
                asked = self._tokens.read_all(found[1], 3, About.SIGN_UP)
                return await self._confirm(*asked, yes=fields is not None) if asked else UNKNOWN
            if found := _CHOOSE(path):
                return await self._choose(found[1], fields)
        except (NotFound, Conflict):
            return UNKNOWN
        except Away:
            return TRY_AGAIN
        return UNKNOWN

    async def _form(self, workspace_id: UUID, list_id: UUID) -> Answer:
        async def read() -> sign_ups.Form:
            async with self._sessions(workspace_id) as db:
                return await sign_ups.form(db, workspace_id, list_id)

        return page(200, people_pages.subscribe(await self._storage.do(read)))

    async def _filled_in(self, place: str, fields: Fields, workspace_id: UUID, list_id: UUID) -> Answer:
        """Whether the address was known, was on the list already, or is never written to, nobody is told."""
        now = self._clock.now()

        async def read() -> sign_ups.Form:
            async with self._sessions(workspace_id) as db:
                return await sign_ups.form(db, workspace_id, list_id)

        form = await self._storage.do(read)
        done = people_pages.look_into_your_mail() if form.double else people_pages.on_the_list(form)
        if any(all_fields(fields, people_pages.TRAP)):
            return page(200, done)
        given = next(iter(all_fields(fields, "email")), "")[:320]
        try:
            email = checked(IdentityKind.EMAIL, given)
        except ValueError as error:
            return page(422, people_pages.subscribe(form, given, f"{error}."))
        if not await self._may(f"subscribe:{place}", rules.FROM_ONE_PLACE, of_a_place=True):
            return page(429, people_pages.too_many(), (b"retry-after", b"900"))
        if not await self._may(f"subscribe:{list_id} {email}", rules.TO_ONE_ADDRESS, of_a_place=False):
            return page(200, done)

        async def write() -> None:
            async with self._sessions(workspace_id) as db:
                state, who = await sign_ups.ask(db, workspace_id, list_id, email, now)
                if state == "pending":
                    signed = self._tokens.sign_all((workspace_id, list_id, who), About.SIGN_UP)
                    link = f"{self._public_url}/s/confirm/{signed}"
                    await sign_ups.write_to(
                        db, workspace_id, list_id, email, link, public_url=self._public_url, now=now
                    )

        try:
            await self._storage.do(write)
        except (Refused, Invalid) as error:
            log.error("Nobody can subscribe", workspace_id=str(workspace_id), reason=error.message)
            return TRY_AGAIN
        return page(200, done)

    async def _may(self, name: str, limit: int, *, of_a_place: bool) -> bool:
        period = rules.PERIOD if of_a_place else rules.PATIENCE
        hashed = sha256(name.encode()).hexdigest()[:32]

        async def take() -> bool:
            async with self._sessions.engine_batch() as db:
                now = self._clock.now()
                taken = await rate_limits.take(db, f"subscribe:{hashed}", 1, limit, period, now)
            return bool(taken.granted)

        return await self._storage.do(take)

    async def _confirm(self, workspace_id: UUID, list_id: UUID, profile_id: UUID, *, yes: bool) -> Answer:
        now = self._clock.now()

        async def say() -> tuple[sign_ups.Form, bool]:
            async with self._sessions(workspace_id) as db:
                form = await sign_ups.form(db, workspace_id, list_id)
                if yes:
                    return form, await sign_ups.confirm(db, list_id, profile_id, now)
                return form, await sign_ups.is_asked(db, list_id, profile_id)

        form, asked = await self._storage.do(say)
        if not asked:
            return page(410, people_pages.used_up())
        return page(200, people_pages.on_the_list(form) if yes else people_pages.confirm(form))

    async def _choose(self, token: str, fields: Fields | None) -> Answer:
        """By the link of a mail, or by one that was made for the person."""
        of_profile = self._tokens.read(token, About.PREFERENCES)
        of_message = None if of_profile else self._tokens.read(token)
        found = of_profile or of_message
        if found is None:
            return UNKNOWN
        workspace_id, id_ = found
        now = self._clock.now()

        async def say() -> preferences.Choices:
            async with self._sessions(workspace_id) as db:
                who = id_ if of_profile else await preferences.whose(db, id_)
                if fields is not None and all_fields(fields, "none"):
                    if of_message:  # Also the address that it came to, which may be another of theirs.
                        await profiles.unsubscribe(db, id_, now, ConsentSource.PERSON)
                    await preferences.want_nothing(db, who, now)
                elif fields is not None:
                    shown, wanted = _ids(fields, "shown"), _ids(fields, "topic")
                    await preferences.choose(db, who, shown, wanted, now)
                return await preferences.choices(db, who)

        choices = await self._storage.do(say)
        if fields is not None and all_fields(fields, "none"):
            return page(200, pages.unsubscribed())
        return page(200, people_pages.choose(choices, "Your choice is saved." if fields is not None else ""))


def _place(scope: Scope) -> str:
    return place_of(scope["client"][0]) if scope.get("client") else "nowhere"


def _fields(body: bytes) -> Fields:
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS)
    except ValueError:
        return []
    return [(name, value.replace("\0", "")) for name, value in pairs]


def _ids(fields: Fields, name: str) -> set[UUID]:
    found = set()
    for value in all_fields(fields, name):
        try:
            found.add(UUID(value))
        except ValueError:
            continue
    return found
