"""Who sends events, remembered for a few seconds: keys, and what public ones may not say."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from api.memory import Memory
from api.tracking.groups import Full, Groups
from api.tracking.storage import Away, Storage
from domain.arrivals import Rights
from domain.clock import Clock
from domain.keys import hash_of, is_key
from domain.roles import KeyKind, Permission
from models.base import Sessions
from models.queries import senders
from models.queries.senders import SenderFound

_USED_EVERY = 60.0  # Seconds between two notes of a key's last use.


class Sender:
    """One key, as the hot path asks for it."""

    __slots__ = (
        "allowance",
        "expires_at",
        "may",
        "origins",
        "rights",
        "trusted",
        "workspace",
        "workspace_id",
    )

    def __init__(self, found: SenderFound) -> None:
        self.workspace_id: UUID = found.workspace_id
        self.workspace = found.workspace_id.bytes
        self.trusted = found.kind == KeyKind.SECRET
        self.rights = (
            Rights(trusted=True)
            if self.trusted
            else Rights(False, frozenset(found.closed_events), frozenset(found.closed_attributes))
        )
        self.may = Permission.EVENTS_WRITE in found.permissions
        self.origins = frozenset(found.origins)
        self.expires_at = found.expires_at
        self.allowance = f"events:{found.id}"

    def may_from(self, origin: bytes | None) -> bool:
        """Whether a page of this origin may use the key. A secret key is no page's, and knows no origins."""
        if origin is None or self.trusted:
            return True
        return "*" in self.origins or origin.decode("latin-1") in self.origins


class Senders:
    """Looks keys up by the group, so that a flood of unknown ones is a few questions."""

    def __init__(
        self,
        sessions: Sessions,
        storage: Storage,
        clock: Clock,
        seconds: Callable[[], float] | None = None,
    ) -> None:
        """`seconds` tells the time that only goes forward."""
        self._sessions, self._storage, self._clock = sessions, storage, clock
        self._groups: Groups[bytes, SenderFound | None] = Groups(self._find)
        self._known: Memory[Sender] = Memory(seconds=seconds) if seconds else Memory()

    def remembered(self, credential: bytes) -> Sender | None:
        """Whoever sent this header, or this key, a moment ago."""
        return self._known.get(credential)

    async def of(self, credential: bytes, key: str) -> Sender | None:
        """Whose key it is, None if nobody's; `credential` is how it was sent. Raises `Away`."""
        if not is_key(key):
            return None
        try:
            found = await self._groups.put(hash_of(key))
        except Full as error:
            raise Away("Too many keys are waiting to be looked up.") from error
        if found is None:
            return None
        sender = Sender(found)
        self._known.keep(credential, sender)
        return sender

    async def close(self) -> None:
        await self._groups.close()

    async def _find(self, hashes: Sequence[bytes]) -> Sequence[SenderFound | None]:
        now = self._clock.now()

        async def look_up() -> dict[bytes, SenderFound]:
            async with self._sessions.engine_batch() as db:
                found = await senders.find(db, [*set(hashes)])
                if due := [each for each in found.values() if _is_due(each, now)]:
                    await senders.were_used(db, due, now)
                return found

        found = await self._storage.do(look_up)
        return [found.get(each) for each in hashes]


def _is_due(found: SenderFound, now: datetime) -> bool:
    return found.used_at is None or (now - found.used_at).total_seconds() > _USED_EVERY


def key_in(header: bytes) -> str:
    """The key in an Authorization header, by Bearer or as the user of Basic; empty if there is none."""
    scheme, _, rest = header.decode("latin-1").strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip()
        case "basic":
            try:
                return base64.b64decode(rest, validate=True).decode("latin-1").partition(":")[0]
            except (binascii.Error, ValueError):
                return ""
    return ""
