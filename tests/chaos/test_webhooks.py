"""Announcements while their worker is killed: each is told, and whatever comes twice has the same id."""

from functools import partial

from domain.clock import SystemClock
from lab.http_server import Answer, Asked
from models.base import Sessions
from settings import DEVELOPMENT_ENCRYPTION_KEY
from tests.chaos.site import Site
from tests.webhooks import Receiver, a_webhook, announced, receiving

MANY = 1_000
A_TRANSACTION = 100


async def test_a_worker_killed_in_the_middle_loses_no_announcement(site: Site) -> None:
    site.more = {"EGRESS_NETWORKS": "127.0.0.0/8", "ENCRYPTION_KEYS": DEVELOPMENT_ENCRYPTION_KEY}
    await site.start(0)
    sessions = Sessions(site.database.url, site.database.engine_url, pool_size=2)

    def now_and_then(asked: Asked) -> Answer:
        return Answer(500 if len(receiver.asked) % 50 == 0 else 204)

    async with receiving(Receiver(answer=now_and_then, pause=0.01)) as receiver:
        webhook = await a_webhook(sessions, receiver.url)
        site.start_worker()
        for _ in range(MANY // A_TRANSACTION):
            await announced(sessions, SystemClock(), A_TRANSACTION)
        least = int(MANY * site.dice.uniform(0.2, 0.6))
        await site.until(partial(took, receiver, least), 60, "some announcements")
        site.workers[-1].kill()
        site.tell(f"killed a worker after {len(receiver.taken):,} announcements")
        site.start_worker()
        await site.until(partial(all_are_delivered, site), 60, "the last of the announcements")
    await sessions.close()

    ids = {str(id_) for (id_,) in site.ask("select id from webhook_deliveries")}
    assert receiver.taken.keys() == ids
    assert len(ids) == MANY
    assert all(body == bodies[0] for bodies in receiver.said.values() for body in bodies)
    twice = sum(n - 1 for n in receiver.taken.values())
    site.tell(f"ended with {len(ids):,} told, {twice} of them twice, to {webhook}")
    assert twice < MANY // 5, "more came twice than was under way, or waited to be settled"


def took(receiver: Receiver, least: int) -> bool:
    return len(receiver.taken) >= least


def all_are_delivered(site: Site) -> bool:
    return site.ask("select state, count(*) from webhook_deliveries group by 1") == [("delivered", MANY)]
