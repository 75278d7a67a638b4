"""Accounts by their ids, remembered for a few seconds: a campaign's reports come by the thousand."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from api.tracking.groups import Groups
from api.tracking.storage import Storage
from models.base import Sessions
from models.queries import hooks
from models.queries.hooks import Known

SECONDS = 5.0
MOST = 2_000  # Ids in memory: anybody may ask for any.


class KnownAccounts:
    """Looks accounts up, each once however many ask at a time."""

    def __init__(self, sessions: Sessions, storage: Storage, seconds: float = SECONDS) -> None:
        self._sessions, self._storage, self._seconds = sessions, storage, seconds
        self._remembered: OrderedDict[UUID, tuple[float, Known | None]] = OrderedDict()
        self._groups: Groups[UUID, Known | None] = Groups(self._look_up)

    async def of(self, account_id: UUID) -> Known | None:
        """None when there is no such account. Raises `Away` and `Full`."""
        now = asyncio.get_running_loop().time()
        until, known = self._remembered.get(account_id, (0.0, None))
        if until > now:
            return known
        known = await self._groups.put(account_id)
        self._remembered[account_id] = now + self._seconds, known
        self._remembered.move_to_end(account_id)
        while len(self._remembered) > MOST:
            self._remembered.popitem(last=False)
        return known

    async def _look_up(self, ids: Sequence[UUID]) -> Sequence[Known | None]:
        async def look() -> dict[UUID, Known]:
            async with self._sessions.glance() as db:
                found = await hooks.anywhere(db, set(ids))
            return {known.row.id: known for known in found}

        known = await self._storage.do(look)
        return [known.get(each) for each in ids]
