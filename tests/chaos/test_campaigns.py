"""A campaign of 20,000 while its world falls apart: nobody is lost, nobody gets two mails."""

import asyncio
import signal

from tests.chaos.audience import a_campaign
from tests.chaos.site import LEASE, Site, everyone_is_accounted_for, only_what_was_on_the_wire_is_unknown

PEOPLE = 20_000
MAILS = PEOPLE * 19 // 20
PACE = 0.002  # Seconds a mail on one of the channel's sixteen connections.
CONNECTIONS = 16
HEARTBEAT = 5  # Seconds until Temporal gives up a slice that it hears nothing of.
DEADLINE = 60  # Seconds from the last blow to the end.


async def test_a_worker_killed_three_times_loses_nobody_and_writes_to_nobody_twice(site: Site) -> None:
    await site.start(PACE)
    site.start_worker()
    await a_campaign(site, PEOPLE)

    for first, last in ((0.05, 0.25), (0.35, 0.55), (0.65, 0.85)):
        await site.mails_kept(site.dice.uniform(first, last), MAILS)
        await site.kill_worker()
        site.start_worker()
    await site.campaign_completed(within=DEADLINE)

    counts = everyone_is_accounted_for(site)
    assert counts.total() == PEOPLE
    assert counts["skipped"] == PEOPLE - MAILS
    assert counts["failed"] == 0
    only_what_was_on_the_wire_is_unknown(site)
    for held in site.held:
        assert len(held) < 200, "more was marked at a time than the wire needs"


async def test_a_worker_that_is_told_to_stop_leaves_nothing_unknown(site: Site) -> None:
    await site.start(PACE)
    worker = site.start_worker()
    await a_campaign(site, PEOPLE // 4)

    await site.mails_kept(0.3, MAILS // 4)
    assert worker.child is not None
    worker.child.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.child.wait, 10) == 0
    open_ = site.ask("select state, count(*) from messages where closed_at is null group by 1")
    assert [state for state, _ in open_] == ["queued"]

    site.start_worker()
    await site.campaign_completed(within=DEADLINE)
    counts = everyone_is_accounted_for(site)
    assert counts == {"accepted": MAILS // 4, "skipped": (PEOPLE - MAILS) // 4}


async def test_a_temporal_server_away_for_longer_than_a_heartbeat_costs_nobody_his_mail(site: Site) -> None:
    """Back again, it gives the slices to others, and cancels those that went on sending without it."""
    await site.start(4 * PACE)
    site.start_worker()
    await a_campaign(site, PEOPLE)

    await site.mails_kept(site.dice.uniform(0.02, 0.1), MAILS)
    site.temporal.kill()
    await asyncio.sleep(site.dice.uniform(HEARTBEAT, HEARTBEAT + 1))
    site.temporal.start()
    site.tell(f"Temporal is back after {site.kept():,} mails")
    await site.campaign_completed(within=DEADLINE)

    counts = everyone_is_accounted_for(site)
    assert counts == {"accepted": MAILS, "skipped": PEOPLE - MAILS}


async def test_a_database_killed_twice_makes_no_answer_unknown(site: Site) -> None:
    """The first time it is back before the leases end, the second time it is not."""
    await site.start(PACE)
    site.start_worker()
    await a_campaign(site, PEOPLE)

    for (first, last), away in (((0.1, 0.3), LEASE / 3), ((0.4, 0.7), LEASE + 0.5)):
        await site.mails_kept(site.dice.uniform(first, last), MAILS)
        site.postgres.kill()
        site.tell(f"killed PostgreSQL after {site.kept():,} mails, for {away:g} s")
        await asyncio.sleep(away)
        site.postgres.start()
    await site.campaign_completed(within=DEADLINE)

    counts = everyone_is_accounted_for(site)
    assert counts == {"accepted": MAILS, "skipped": PEOPLE - MAILS}


async def test_a_mail_server_killed_in_the_middle_leaves_unknown_what_it_did_not_answer(site: Site) -> None:
    await site.start(PACE)
    site.start_worker()
    await a_campaign(site, PEOPLE // 2)

    await site.mails_kept(site.dice.uniform(0.1, 0.7), MAILS // 2)
    site.kill_mail()
    await asyncio.sleep(site.dice.uniform(0.5, 1))
    site.start_mail(PACE)
    await site.campaign_completed(within=DEADLINE)

    counts = everyone_is_accounted_for(site)
    assert counts["unknown"] <= CONNECTIONS
    assert counts["accepted"] == MAILS // 2 - counts["unknown"]
    assert counts["skipped"] == (PEOPLE - MAILS) // 2


async def test_a_machine_that_goes_down_and_comes_up_goes_on_where_it_was(site: Site) -> None:
    await site.start(PACE)
    site.start_worker()
    await a_campaign(site, PEOPLE // 2)

    await site.mails_kept(site.dice.uniform(0.1, 0.7), MAILS // 2)
    for part in (site.postgres, site.workers[-1], site.temporal):
        part.kill()
    site.kill_mail()
    site.postgres.start()
    await site.kill_worker()
    site.start_mail(PACE)
    site.temporal.start()
    site.start_worker()
    await site.campaign_completed(within=DEADLINE)

    counts = everyone_is_accounted_for(site)
    assert counts["accepted"] + counts["unknown"] == MAILS // 2
    assert counts["skipped"] == (PEOPLE - MAILS) // 2
    only_what_was_on_the_wire_is_unknown(site)
