"""A campaign by two providers that do everything wrong in turn, while workers are killed: the books agree."""

import asyncio
import os

from tests.chaos.audience import a_campaign
from tests.chaos.delivery import FAULTS, Books, Delivery, named
from tests.chaos.site import Site
from workflows.temporal import connect

PEOPLE = int(os.environ.get("CHAOS_PEOPLE") or 2_200)
KILLS = 3
SECONDS = 60  # That one provider alone would take for a campaign.
FAULTS_A_ROUND = 100  # About: so many of the mails' share is taken between two.
DEADLINE = 150  # Seconds from the last blow to the end: leases end, breakers close, slow providers answer.
PACE = 0.05  # Seconds that each call takes at least, so that there is time to kill somebody.


async def test_two_providers_that_do_everything_wrong_get_nobody_written_to_twice_nor_forgotten(
    site: Site,
) -> None:
    delivery = Delivery(site, PEOPLE / SECONDS)
    try:
        await a_round(site, delivery, PEOPLE)
    finally:
        await delivery.close()


async def a_round(site: Site, delivery: Delivery, people: int) -> Books:
    """One campaign, its faults and its kills, to the very end. AssertionError where the books differ."""
    mails = people * 19 // 20
    site.temporal.start()
    site.client = await connect(site.temporal.address)
    await delivery.start()
    site.start_worker()
    calm = asyncio.Event()
    misbehaving = asyncio.create_task(delivery.misbehave(calm, gap=mails // FAULTS_A_ROUND))
    try:
        await a_campaign(site, people)
        for kill in range(KILLS):
            share = (kill + site.dice.uniform(0.2, 0.8)) / (KILLS + 1)
            await site.until(
                lambda share=share: site.closed() >= share * mails,  # type: ignore[misc]
                120 + people / 50,
                f"{share:.0%} of the messages closed",
            )
            site.workers[-1].kill()
            site.tell(f"killed a worker after {site.closed():,} messages")
            site.start_worker()
        await site.until(
            lambda: delivery.given >= len(FAULTS) or site.closed() >= mails,
            120 + people / 50,
            "every fault",
        )
    finally:
        calm.set()
        await misbehaving
    await delivery.mended()
    await site.campaign_completed(within=DEADLINE)

    before = Books.of(delivery)
    assert not before.twice, f"{len(before.twice)} were sent twice"
    assert not before.lost, f"{len(before.lost)} are called accepted and nobody has them"
    assert not before.untold, f"{len(before.untold)} were taken, and the ledger knows nothing of it"
    assert len(before.states) == people
    assert set(before.counts()) <= {"accepted", "failed", "skipped", "unknown"}

    await delivery.behave()
    spared = {*map(named, FAULTS)} - {name for name, n in delivery.struck.items() if n}
    assert not spared, f"no call met {', '.join(sorted(spared))}"
    await delivery.tell_again()
    await delivery.told_everything(within=60 + people / 50)  # Two reports for each, and all of them again.
    still_unknown = "select id::text from messages where state = 'unknown'"
    await site.until(
        lambda: not any(before.taken[str(id_)] for (id_,) in site.ask(still_unknown)), 30, "what was reported"
    )
    after = Books.of(delivery)
    assert set(after.unknown(taken=False)) == set(before.unknown(taken=False))
    assert not after.twice
    assert not after.lost
    site.tell(
        f"{before.counts()['accepted']:,} accepted; unknown: {len(before.unknown(taken=True))} taken and"
        f" reported, {len(after.unknown(taken=False))} never got; faults: {dict(delivery.struck)}"
    )
    return after
