"""What one provider did not take is asked about once more before it goes by the next: a while has passed."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from channels.contract import Envelope, Outcome
from channels.letters import Mail
from domain.profiles import SuppressionReason
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import profiles, profiles_erased, profiles_merged
from tests.activities.test_routing import DESKS, REFUSED, Desk, a_provider, sent
from tests.sending import NOW, a_campaign, a_sender, people, some

Happens = Callable[[AsyncSession, UUID, UUID], Awaitable[object]]


async def erased(db: AsyncSession, ada: UUID, _: UUID) -> None:
    await profiles_erased.erase(db, ada, NOW)


async def unsubscribed(db: AsyncSession, ada: UUID, _: UUID) -> None:
    await profiles.unsubscribe_profile(db, ada, NOW, "person")


async def bounced(db: AsyncSession, ada: UUID, _: UUID) -> None:
    [address] = await some(db, f"select value from identities where profile_id = '{ada}' and kind = 'email'")
    await profiles.suppress(db, "email", address, SuppressionReason.HARD_BOUNCE, "550", NOW)


async def merged(db: AsyncSession, ada: UUID, other: UUID) -> None:
    await profiles_merged.merge(db, ada, other, NOW)


@pytest.mark.parametrize(
    ("happens", "reason"),
    [(erased, "erased"), (unsubscribed, "suppressed"), (bounced, "suppressed"), (merged, "merged")],
)
async def test_who_must_not_be_written_to_any_more_gets_nothing_by_the_next_provider(
    sessions: Sessions, happens: Happens, reason: str
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        ada, other = await people(db, 2)
        queue = await a_campaign(db, [ada, other])

    class Slow(Desk):
        async def send(self, letter: Mail, batch: Sequence[Envelope]) -> list[Outcome]:
            if not self.calls:
                async with sessions(DEFAULT_WORKSPACE) as db:
                    await happens(db, ada, other)
            return await super().send(letter, batch)

    first = await a_provider(sessions)
    DESKS[UUID(first.name)] = slow = Slow(lambda _: REFUSED, name=first.name)
    second = await a_provider(sessions, priority=2)

    await sent(sessions, queue)
    await sent(sessions, queue)  # It waits for the next slice's first claim, which says why.

    assert slow.offered
    assert second.offered == 1
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert sorted(await some(db, "select coalesce(reason, state) from messages")) == sorted(
            ["accepted", reason]
        )
        held = "select holes from messages where reason is not null and reason <> 'merged'"
        if happens is erased:
            assert await some(db, held) == [None]
