"""A flow of 2,000 people whose workers die on the way: everyone gets to its end, with each message once."""

from collections import Counter

from tests.chaos.audience import a_flow
from tests.chaos.site import Site, everyone_is_accounted_for, only_what_was_on_the_wire_is_unknown
from tests.people import ASTRAY

PEOPLE = 2_000
READERS = PEOPLE * 19 // 20
MESSAGES = 3
PACE = 0.005  # Seconds a mail on one of the channel's sixteen connections.
DEADLINE = 90  # Seconds from the last blow to the end.


async def test_a_flow_whose_worker_is_killed_twice_brings_everyone_to_its_end(site: Site) -> None:
    await site.start(PACE)
    site.start_worker()
    await a_flow(site, PEOPLE)

    for first, last in ((0.1, 0.4), (0.5, 0.8)):
        await site.mails_kept(site.dice.uniform(first, last), READERS * MESSAGES)
        await site.kill_worker()
        site.start_worker()
    under_way = "select 1 from enrollments where ended_at is null limit 1"
    await site.until(lambda: not site.ask(under_way), DEADLINE, "the end of every journey")

    counts = everyone_is_accounted_for(site)
    assert counts["skipped"] == (PEOPLE - READERS) * MESSAGES
    assert counts["accepted"] + counts["unknown"] == READERS * MESSAGES
    only_what_was_on_the_wire_is_unknown(site)
    each = Counter(row for row in site.ask("select profile_id, step from messages"))
    assert len(each) == PEOPLE * MESSAGES
    assert set(each.values()) == {1}
    assert not site.ask(ASTRAY)
