"""A lease does not end while a provider may still answer: a mark prolongs what would."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import pytest

from activities.slices import Timing
from channels.contract import Capabilities, Envelope, Outcome
from channels.letters import Mail
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.activities.test_routing import DESKS, Desk, a_provider, an_audience, sent
from tests.sending import some

ONE_BY_ONE = Capabilities(largest_batch=1, wire_batch=1, webhooks=True, lookup=False)


@pytest.mark.parametrize(("lease", "renewed"), [(45, True), (600, False)])
async def test_a_mark_holds_on_where_the_provider_could_answer_later_than_the_lease_ends(
    sessions: Sessions, lease: float, renewed: bool
) -> None:
    until: list[datetime] = []

    class Watching(Desk):
        async def send(self, letter: Mail, batch: Sequence[Envelope]) -> list[Outcome]:
            async with sessions(DEFAULT_WORKSPACE) as db:
                until.extend(await some(db, "select until from leases"))
            return await super().send(letter, batch)

    desk = await a_provider(sessions)
    DESKS[UUID(desk.name)] = Watching(name=desk.name, capabilities=ONE_BY_ONE)
    queue = await an_audience(sessions, 3)

    await sent(sessions, queue, timing=Timing(slice=15, linger=0, lease=lease, reconcile_after=900))

    first, *_, last = until
    assert len(until) == 3
    assert (last > first) is renewed
