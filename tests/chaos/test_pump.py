"""A full inbox whose worker is killed three times: everything is worked in, and nothing twice."""

from functools import partial

from domain.workspaces import DEFAULT_WORKSPACE
from tests.chaos.site import Site

EVENTS = 40_000
PEOPLE = 5_000
DEADLINE = 90  # Seconds from the last blow to the end.

# Every fourth is sent a second time; half of the people are named by two names at once.
FILL = f"""
    insert into inbox (workspace_id, id, received_at, kind, trusted, historical, message_id, occurred_at,
        name, user_id, anonymous_id, properties)
    select '{DEFAULT_WORKSPACE}', uuidv7(), now(), 'track', true, false, 'm' || n, now(), 'bought',
        'u' || n % {PEOPLE}, case when n % {PEOPLE} % 2 = 0 then 'a' || n % {PEOPLE} end,
        jsonb_build_object('n', n)
    from (
        select n from generate_series(1, {EVENTS}) n
        union all select n from generate_series(1, {EVENTS}, 4) n
    ) sent
    returning kind
"""


async def test_a_pump_that_is_killed_three_times_works_everything_in_once(site: Site) -> None:
    await site.start(pace=0)
    site.ask(FILL)

    for _ in range(3):
        before = kept(site)
        site.start_worker()
        await site.until(partial(further, site, before), 60, "another batch")
        site.workers[-1].kill()
        site.tell(f"killed a worker after {kept(site):,} events")
    site.start_worker()
    await site.until(lambda: site.ask("select count(*) from inbox") == [(0,)], DEADLINE, "an empty inbox")

    assert site.ask(
        "select count(*), count(distinct message_id), count(distinct properties) from events"
    ) == [(EVENTS, EVENTS, EVENTS)]
    assert site.ask("select sum(volume) from event_names") == [(EVENTS,)]
    assert site.ask("select count(*) from profiles where merged_into is null") == [(PEOPLE,)]
    assert site.ask("select count(*) from identities") == [(PEOPLE + PEOPLE // 2,)]
    assert site.ask("select count(*) from quarantine") == [(0,)]


def further(site: Site, than: int) -> bool:
    return kept(site) > than


def kept(site: Site) -> int:
    [(events,)] = site.ask("select count(*) from events")
    assert isinstance(events, int)
    return events
