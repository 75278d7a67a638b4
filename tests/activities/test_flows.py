"""A flow's steps, one after the other: who enters, who goes where, who gets what, and what a pause holds."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from temporalio.testing import ActivityEnvironment

from activities.bell import Bell
from activities.entering import Published
from activities.flows import FlowActivities, FlowRef
from activities.slices import Slice, Timing
from channels.null import NullProvider
from domain.errors import Conflict
from domain.flows import FlowState
from domain.messages import Skip, SourceKind
from domain.profiles import ConsentState, Purpose, SuppressionReason
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import enrollments, flows, happenings, profiles, profiles_erased, profiles_merged
from models.queries.ledger import Queue
from tests.databases import Database
from tests.fragile import Killed
from tests.sending import (
    CALLER,
    PATIENT,
    a_flow,
    a_graph,
    a_segment,
    a_sender,
    a_sender_of,
    a_template,
    as_json,
    clicked,
    counted,
    people,
    published,
    ran,
    send,
    some,
    states,
    wait,
)
from tests.support import GivenClock, eventually

BELL = Bell("")


class Site:
    """One flow, and everything that moves its members on, by hand."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.clock = GivenClock()
        self.acts = FlowActivities(sessions, BELL, self.clock, PATIENT, CALLER)
        self.channel = NullProvider()

    async def begin(
        self, steps: Callable[[UUID], dict[str, Any]], first: str, n: int = 1, **values: Any
    ) -> list[UUID]:
        """A live flow of these steps, whose first template they are given, and so many who have entered."""
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            await a_sender(db)
            self.template, _ = await a_template(db)
            self.flow = FlowRef(
                DEFAULT_WORKSPACE, await a_flow(db, a_graph(steps(self.template), first, **values))
            )
            members = await people(db, n)
        self.queue = Queue(DEFAULT_WORKSPACE, self.flow.flow_id, SourceKind.FLOW)
        await self.publish()
        await self.enroll(*members)
        return members

    async def publish(self) -> Published:
        return await published(self.sessions, self.clock, self.flow)

    async def edit(self, steps: dict[str, Any], first: str) -> None:
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            await db.execute(
                text("update flows set definition = cast(:graph as jsonb)"),
                {"graph": as_json(a_graph(steps, first))},
            )

    async def enroll(self, *members: UUID, entry: str = "x") -> int:
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            who: list[tuple[UUID, str, dict[str, Any]]] = [(member, entry, {}) for member in members]
            flow_id = self.flow.flow_id
            return await enrollments.enroll(db, DEFAULT_WORKSPACE, flow_id, who, self.clock.now())

    async def advance(self, seconds: float = 0) -> Slice:
        self.clock.move(timedelta(seconds=seconds))
        return await ran(self.acts.advance, self.flow)

    async def send(self) -> Slice:
        return await ran(a_sender_of(self.sessions, self.channel, BELL, self.clock).send, self.queue)

    async def click(self, step: str, member: UUID) -> None:
        clicked = "update messages set clicked_at = :now where step = :step and profile_id = :member"
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            await db.execute(text(clicked), {"now": self.clock.now(), "step": step, "member": member})

    async def places(self) -> dict[str, int]:
        """Where everyone is; who has ended, by the outcome."""
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            return Counter(await some(db, "select coalesce(outcome, step) from enrollments"))

    async def sent(self) -> dict[str, int]:
        """What everyone got, by step and state."""
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            what = "select step || ' ' || coalesce(reason, state) from messages"
            return Counter(await some(db, what))

    async def ask(self, asked: str, **values: Any) -> list[Any]:
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            return await some(db, asked, **values)


@pytest.fixture
async def site(sessions: Sessions) -> Site:
    return Site(sessions)


def greeting(template: UUID) -> dict[str, Any]:
    """A mail, a minute's wait, and one of two mails, by whether the first was clicked."""
    return {
        "hello": send(template, "nap"),
        "nap": wait(60, "fork"),
        "fork": clicked("hello", "thanks", "bye"),
        "thanks": send(template),
        "bye": send(template),
    }


async def test_everyone_goes_the_way_of_what_they_did(site: Site) -> None:
    reader, *_ = await site.begin(greeting, "hello", 3)

    assert await site.places() == {"hello": 3}
    assert (await site.send()).accepted == 3
    assert await site.places() == {"nap": 3}  # In the transaction that closed their messages.
    assert (await site.advance()).next_due_at == site.clock.now() + timedelta(seconds=60)
    await site.click("hello", reader)
    assert (await site.advance(59)).moved == 0
    await site.advance(1)
    assert await site.places() == {"thanks": 1, "bye": 2}
    await site.send()

    assert await site.places() == {"finished": 3}
    assert await site.sent() == {"hello accepted": 3, "thanks accepted": 1, "bye accepted": 2}


async def test_one_message_may_follow_right_upon_another(site: Site) -> None:
    await site.begin(lambda mail: {"hello": send(mail, "again"), "again": send(mail)}, "hello")
    await site.advance()
    await site.send()

    assert (await site.advance()).queued == 1
    await site.send()
    assert await site.sent() == {"hello accepted": 1, "again accepted": 1}
    assert await site.places() == {"finished": 1}


async def test_a_slice_tells_in_words_where_everyone_is_and_what_comes_next(site: Site) -> None:
    await site.begin(greeting, "hello", 2)
    await site.advance()
    await site.send()
    await site.advance()
    await site.enroll(*(await _more(site)))

    done = await site.advance()

    assert "| nap | 2 | Mon 2026-03-02 12:01:00 UTC |" in done.places
    assert "| hello | 1 | their message is closed |" in done.places


async def _more(site: Site) -> list[UUID]:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        return await people(db, 1, "q")


async def test_a_member_waits_for_a_message_that_is_still_open(site: Site) -> None:
    await site.begin(greeting, "hello")
    await site.advance()

    assert (await site.advance(9999)).moved == 0
    assert await site.places() == {"hello": 1}


@pytest.mark.parametrize("how", ["no consent", "suppressed", "no address"])
async def test_who_may_not_be_written_to_goes_on_without_the_mail(site: Site, how: str) -> None:
    [member] = await site.begin(greeting, "hello")
    await site.advance()
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        if how == "no consent":
            await profiles.consent(db, member, Purpose.EMAIL, ConsentState.DENIED, "import", site.clock.now())
        elif how == "suppressed":
            reason = SuppressionReason.HARD_BOUNCE
            await profiles.suppress(db, "email", "p1@shop.example", reason, "x", site.clock.now())
        else:
            await db.execute(text("delete from identities"))

    assert (await site.send()).skipped == 1
    assert await site.sent() == {f"hello {how}": 1}
    assert await site.places() == {"nap": 1}


async def test_an_unsubscribe_holds_at_every_later_step(site: Site) -> None:
    await site.begin(greeting, "hello")
    await site.advance()
    await site.send()
    await site.advance()
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        [message] = await some(db, "select id from messages")
        await profiles.unsubscribe(db, message, site.clock.now())
    await site.advance(60)
    await site.send()
    await site.advance()

    assert await site.sent() == {"hello accepted": 1, f"bye {Skip.SUPPRESSED}": 1}
    assert await site.places() == {"finished": 1}


async def test_a_cap_counts_across_steps_and_who_is_over_it_goes_on(site: Site) -> None:
    await site.begin(greeting, "hello")
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps=as_json([{"channel": "email", "limit": 1, "period": "week"}]))
    for seconds in (0, 0, 60, 0):
        await site.advance(seconds)
        await site.send()

    assert await site.sent() == {"hello accepted": 1, f"bye {Skip.CAPPED}": 1}
    assert await site.places() == {"finished": 1}
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        assert await counted(db) == 1


async def test_who_is_erased_ends_where_they_are(site: Site) -> None:
    [member] = await site.begin(greeting, "hello")
    await site.advance()
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await profiles_erased.erase(db, member, site.clock.now())
    await site.send()
    await site.advance(9999)

    assert await site.sent() == {f"hello {Skip.ERASED}": 1}
    assert await site.places() == {"erased": 1}


async def test_two_members_who_are_merged_get_one_mail_and_one_journey(site: Site) -> None:
    first, second = await site.begin(greeting, "hello", 2)
    await site.advance()
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await profiles_merged.merge(db, first, second, site.clock.now())
    await site.send()
    await site.advance()

    assert await site.sent() == {"hello accepted": 1, f"hello {Skip.MERGED}": 1}
    assert await site.places() == {"nap": 1, "merged": 1}


async def test_a_merged_member_gets_the_mails_of_the_person_it_is_now(site: Site) -> None:
    [member] = await site.begin(greeting, "hello")
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        [other] = await people(db, 1, "q")
        await profiles_merged.merge(db, member, other, site.clock.now())
    await site.advance()
    await site.send()

    assert await site.ask("select address from messages") == ["q1@shop.example"]


async def test_each_pass_of_a_loop_is_a_visit_with_a_message_of_its_own(site: Site) -> None:
    await site.begin(lambda template: {"hello": send(template, "nap"), "nap": wait(60, "hello")}, "hello")
    for _ in range(3):
        await site.advance(60)
        await site.send()
        await site.advance()

    assert await site.sent() == {"hello accepted": 3}
    assert await site.ask("select visit from messages order by visit") == [1, 2, 3]
    assert await site.places() == {"nap": 1}


async def test_a_branch_in_a_loop_asks_about_any_pass(site: Site) -> None:
    def loop(template: UUID) -> dict[str, Any]:
        return {
            "hello": send(template, "nap"),
            "nap": wait(60, "fork"),
            "fork": clicked("hello", None, "hello"),
        }

    member, _ = await site.begin(loop, "hello", 2)
    for _ in range(2):
        await site.advance(60)
        await site.send()
        await site.advance()
    await site.click("hello", member)
    await site.advance(60)

    assert await site.places() == {"finished": 1, "hello": 1}


async def test_a_pause_holds_everyone_and_keeps_entries_and_resume_goes_on(site: Site) -> None:
    await site.begin(greeting, "hello", 2)
    await site.advance()
    assert await ran(site.acts.pause, site.flow)
    assert await ran(site.acts.pause, site.flow)  # Asking twice is answered alike.

    async with site.sessions(DEFAULT_WORKSPACE) as db:
        late = await people(db, 1, "q")
    assert await site.enroll(*late) == 1
    assert (await site.send()).idle
    assert (await site.advance(9999)).idle
    assert await site.places() == {"hello": 2, "start": 1}
    assert await site.sent() == {"hello queued": 2}

    assert await ran(site.acts.resume, site.flow)
    assert (await site.advance()).moved == 1
    assert (await site.send()).accepted == 3


async def did(site: Site, member: UUID, event: str, **properties: Any) -> None:
    """The pump works in an event of theirs."""
    async with site.sessions.batch(DEFAULT_WORKSPACE) as db:
        await happenings.prepare(db)
        happened = """
            insert into happened
            values (1, gen_random_uuid(), :who, :event, cast(:properties as jsonb), :now, 0)
        """
        now = site.clock.now()
        values = {"who": member, "event": event, "properties": as_json(properties), "now": now}
        await db.execute(text(happened), values)
        await happenings.work_in(db, DEFAULT_WORKSPACE, now)


def cart(mail: UUID) -> dict[str, Any]:
    """An hour for an order of more than 10, thanks for it, and a reminder for who placed none."""
    dear = [{"kind": "property", "name": "total", "op": ">", "value": 10}]
    order = {"kind": "wait_for_event", "event": "order placed", "where": dear, "at_most": 3600}
    return {
        "order?": order | {"then": "thanks", "otherwise": "reminder"},
        "thanks": send(mail, "nap"),
        "reminder": send(mail, "order?"),
        "nap": wait(60),
    }


CART = {"kind": "event", "event": "cart filled"}


async def test_who_does_it_in_time_goes_one_way_and_the_others_another(site: Site) -> None:
    buyer, other = await site.begin(cart, "order?", 2, trigger=CART)

    assert (await site.advance(1800)).moved == 0
    await did(site, buyer, "order placed", total=9)
    assert (await site.advance()).moved == 0
    await did(site, buyer, "order placed", total=11)
    done = await site.advance()
    assert (done.moved, done.queued) == (1, 1)
    assert done.next_due_at == site.clock.now() + timedelta(seconds=1800)
    assert "| order? | 1 | Mon 2026-03-02 13:00:00 UTC |" in done.places
    await site.advance(1800)
    assert await site.places() == {"thanks": 1, "reminder": 1}
    await site.send()

    # From a message one comes to the wait in the transaction that closes it.
    assert await site.places() == {"nap": 1, "order?": 1}
    await did(site, other, "order placed", total=11)
    await site.advance()
    await site.send()
    assert await site.sent() == {"thanks accepted": 2, "reminder accepted": 1}
    await site.advance(60)
    assert await site.places() == {"finished": 2}


async def test_history_says_whether_the_event_came(site: Site) -> None:
    buyer, _ = await site.begin(cart, "order?", 2)
    await did(site, buyer, "order placed", total=11)
    await site.advance(3600)

    async with site.sessions(DEFAULT_WORKSPACE) as db:
        passed = await flows.passed(db, site.flow.flow_id)
    assert passed == {
        "start": {"entered": 2},
        "order?": {"the event came": 1, "the event did not come": 1},
    }


async def test_a_pause_holds_who_waits_for_an_event_and_what_came_counts(site: Site) -> None:
    buyer, _ = await site.begin(cart, "order?", 2)
    await ran(site.acts.pause, site.flow)
    await did(site, buyer, "order placed", total=11)

    assert (await site.advance(3600)).idle
    assert await site.places() == {"order?": 2}
    await ran(site.acts.resume, site.flow)
    await site.advance()
    assert await site.places() == {"thanks": 1, "reminder": 1}


async def test_a_crowd_whose_wait_ends_at_once_moves_in_groups(site: Site) -> None:
    members = await site.begin(cart, "order?", 0, trigger=CART)
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        members = await people(db, 5000)
    for event in ("cart filled", "order placed"):
        async with site.sessions.batch(DEFAULT_WORKSPACE) as db:
            await happenings.prepare(db)
            happened = """
                insert into happened
                select n, gen_random_uuid(), who, :event, '{"total": 11}', cast(:now as timestamptz), 0
                from unnest(cast(:crowd as uuid[])) with ordinality as c(who, n)
            """
            values = {"event": event, "now": site.clock.now(), "crowd": members}
            await db.execute(text(happened), values)
            done = await happenings.work_in(db, DEFAULT_WORKSPACE, site.clock.now())
        assert done == ((5000, 0) if event == "cart filled" else (0, 5000))

    assert (await site.advance()).queued == 5000
    assert await site.places() == {"thanks": 5000}


async def test_archiving_ends_who_waits_for_an_event(site: Site) -> None:
    [member] = await site.begin(cart, "order?")
    await ran(site.acts.archive, site.flow)
    await ran(site.acts.end_journeys, site.flow)
    await did(site, member, "order placed", total=11)

    assert await site.places() == {"archived": 1}


async def test_members_go_on_in_the_version_that_they_entered(site: Site) -> None:
    await site.begin(lambda _: {"nap": wait(60)}, "nap")
    await site.advance()
    await site.edit({"doze": wait(10)}, "doze")
    assert (await site.publish()).number == 2
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        late = await people(db, 1, "q")
    await site.enroll(*late)
    await site.advance()

    assert await site.places() == {"nap": 1, "doze": 1}
    await site.advance(60)
    assert await site.places() == {"finished": 2}


async def test_a_version_pins_its_templates(site: Site) -> None:
    await site.begin(greeting, "hello")
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        newer = """
            insert into template_versions (workspace_id, template_id, number, subject, html)
            select workspace_id, id, 2, 'Newer', 'x' from templates
        """
        await db.execute(text(newer))
    await site.advance()

    asked = "select v.number from messages m join template_versions v on v.id = m.template_version_id"
    assert await site.ask(asked) == [1]


async def test_those_whom_the_segment_names_enter_at_publish(site: Site) -> None:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        segment = await a_segment(db, {"kind": "attribute", "name": "plan", "op": "is", "value": "gold"})
        golden = await people(db, 2, "gold", plan="gold")
        await people(db, 1, "tin", plan="tin")
        erased, merged, survivor = await people(db, 3, "gone", plan="gold")
        await profiles_erased.erase(db, erased, site.clock.now())
        await profiles_merged.merge(db, merged, survivor, site.clock.now())
    trigger = {"kind": "segment", "segment_id": str(segment)}
    await site.begin(greeting, "hello", 0, trigger=trigger)

    entered = await site.ask("select profile_id from enrollments")
    assert sorted(entered) == sorted([*golden, survivor])
    assert (await site.publish()).entered == 0


async def test_archiving_ends_every_journey_and_skips_what_was_not_sent(site: Site) -> None:
    await site.begin(greeting, "hello", 2)
    await site.advance()
    assert await ran(site.acts.archive, site.flow)

    done = await ran(site.acts.end_journeys, site.flow)

    assert (done.moved, done.skipped, done.open) == (2, 2, 0)
    again = await ran(site.acts.end_journeys, site.flow)  # After a crash it begins anew.
    assert (again.moved, again.skipped, again.open) == (0, 0, 0)
    assert await site.places() == {"archived": 2}
    assert await site.sent() == {f"hello {Skip.CANCELLED}": 2}
    with pytest.raises(Conflict):
        await site.publish()
    assert not await ran(site.acts.resume, site.flow)


async def test_archiving_gives_back_what_a_dead_worker_had_counted_and_tells_of_what_is_unknown(
    site: Site,
) -> None:
    await site.begin(greeting, "hello", 2)
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps=as_json([{"channel": "email", "limit": 1, "period": "week"}]))
    await site.advance()

    class Dies(NullProvider):
        async def send(self, *_: object) -> Any:
            raise Killed

    site.channel = Dies()
    with pytest.raises(Killed):
        await site.send()
    async with site.sessions.engine() as db:
        queued = "update messages set state = 'claimed' where id in (select id from messages limit 1)"
        await db.execute(text(queued))
        await db.execute(text("update leases set until = clock_timestamp() - interval '1 s'"))
    await ran(site.acts.archive, site.flow)

    assert (await ran(site.acts.end_journeys, site.flow)).open == 0
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, site.queue) == {"cancelled": 1, "unknown": 1}
        assert await counted(db) == 1
        unknown = "select count(*) from failure_logs f join messages m on m.id::text = f.subject_id"
        assert await some(db, f"{unknown} where m.state = 'unknown'") == [1]


async def test_a_slice_that_lingers_hears_who_enters(sessions: Sessions, database: Database) -> None:
    site, bell = Site(sessions), Bell(database.engine_url)
    await site.begin(lambda _: {"nap": wait(60)}, "nap", 0)
    await bell.start(sessions)
    lingering = Timing(slice=20, linger=20, lease=60, reconcile_after=0)
    advance = FlowActivities(sessions, bell, site.clock, lingering, CALLER).advance
    environment = ActivityEnvironment()
    slice_ = asyncio.create_task(environment.run(advance, site.flow))
    async with sessions(DEFAULT_WORKSPACE) as db:
        [late] = await people(db, 1)
    await asyncio.sleep(0.2)  # So that it lingers by then. It would find them in any case.

    await site.enroll(late)

    async def moved() -> bool:
        return await site.places() == {"nap": 1}

    await eventually(moved, within=5, what="the step")
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slice_
    await bell.close()


async def test_a_crowd_moves_in_groups_within_one_slice(site: Site) -> None:
    await site.begin(lambda mail: {"nap": wait(60, "hello"), "hello": send(mail)}, "nap", 4500)

    await site.advance()  # Those who did not go to the first step as they entered.
    done = await site.advance(60)

    assert (done.moved, done.queued) == (4500, 4500)
    assert await site.ask("select state from flows") == [FlowState.LIVE]
