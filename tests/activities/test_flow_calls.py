"""Calls by flows: who is called about, who goes on by which answer, each once, and what holds or ends it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from activities.flows import FlowActivities
from activities.upkeep import CALLS_FOR, UpkeepActivities
from domain.errors import Invalid
from domain.flow_calls import MOST
from domain.messages import Work
from domain.outboxes import announcements
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.calls import Outcome
from models.queries import calls, flows, profiles_erased, profiles_merged
from models.queries.calls import Heard
from tests.activities.test_flows import BELL, Site
from tests.calling import a_webhook, answered, call, disable, posted
from tests.fragile import Blow, FragileSessions, Killed
from tests.sending import CALLER, PATIENT, a_template, people, ran, send, some, wait
from tests.support import eventually

Steps = Callable[[UUID], dict[str, Any]]


class Calling(Site):
    """A flow that calls a webhook."""

    async def start(self, steps: Steps, n: int = 1, first: str = "ask", **values: Any) -> list[UUID]:
        """`steps` are given the webhook."""
        async with self.sessions(DEFAULT_WORKSPACE) as db:
            self.webhook = await a_webhook(db)
        return await self.begin(lambda _: steps(self.webhook), first, n, **values)

    async def answer(self, said: dict[str, Any], *members: str | UUID, **values: Any) -> Heard:
        return await answered(self.sessions, self.clock, said, *members, **values)


@pytest.fixture
async def site(sessions: Sessions) -> Calling:
    return Calling(sessions)


def asking(webhook: UUID) -> dict[str, Any]:
    """An hour for an answer, and a day in one of two places by what it was."""
    return {
        "ask": call(webhook, 3600, data={"list": "spring"}, then="well", otherwise="ill"),
        "well": wait(86400),
        "ill": wait(86400),
    }


async def test_members_are_called_about_together_and_go_on_by_what_was_answered(site: Calling) -> None:
    await site.start(asking, 3)
    done = await site.advance()

    [said] = await posted(site.sessions)
    assert await site.places() == {"ask": 3}
    assert done.next_due_at == site.clock.now() + timedelta(hours=1)
    assert "| ask | 3 | Mon 2026-03-02 13:00:00 UTC |" in done.places
    assert (said["step"], said["data"], said["flow"]) == ("ask", {"list": "spring"}, "Welcome")
    assert {each["email"] for each in said["members"]} == {f"p{n}@shop.example" for n in (1, 2, 3)}
    well, ill, silent = (each["member"] for each in said["members"])
    site.clock.move(timedelta(minutes=59))
    assert [*(await site.answer(said, well)).taken] == [UUID(well)]
    await site.answer(said, ill, outcome="failed", reason="Nothing is known of them.")
    await site.advance()
    assert await site.places() == {"ask": 1, "well": 1, "ill": 1}
    await site.advance(60)

    assert await site.places() == {"well": 1, "ill": 2}
    lasts = {
        UUID(who): await site.ask("select history #> '{-1}' from enrollments where id = :who", who=who)
        for who in (well, ill, silent)
    }
    assert [note[0][1:] for note in lasts.values()] == [
        ["ask", "well", "the callback said done"],
        ["ask", "ill", "the callback said failed", "Nothing is known of them."],
        ["ask", "ill", "no callback came in time"],
    ]
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        passed = await flows.passed(db, site.flow.flow_id)
    assert passed["ask"] == {
        "no callback came in time": 1,
        "the callback said done": 1,
        "the callback said failed": 1,
    }


async def test_without_a_callback_they_go_on_at_once_also_to_a_message(site: Calling) -> None:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        template, _ = await a_template(db)
    await site.start(lambda hook: {"ask": call(hook, None, then="hello"), "hello": send(template)}, 2)

    done = await site.advance()

    [said] = await posted(site.sessions)
    assert (said["callback_url"], said["deadline"], len(said["members"])) == (None, None, 2)
    assert (await site.places(), done.queued) == ({"hello": 2}, 2)
    assert await site.ask("select history #>> '{-1,3}' from enrollments") == ["called", "called"]
    assert await site.ask("select answered from calls") == [0]
    async with site.sessions.engine() as db:
        poked = await some(
            db, "select work from pokes where queue_id = :q", q=announcements(DEFAULT_WORKSPACE)
        )
    assert poked == [Work.DELIVER]


async def test_one_comes_to_a_call_from_a_message_and_from_a_wait_and_ends_with_it(site: Calling) -> None:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        template, _ = await a_template(db)
    await site.start(
        lambda hook: {
            "hello": send(template, "ask"),
            "ask": call(hook, then="nap"),
            "nap": wait(60, "tell"),
            "tell": call(hook, None),
        },
        first="hello",
    )
    await site.send()
    await site.advance()
    [said] = await posted(site.sessions)
    await site.answer(said)
    await site.advance()
    await site.advance(60)

    assert [each["step"] for each in await posted(site.sessions)] == ["ask", "tell"]
    assert await site.places() == {"finished": 1}


async def test_what_is_said_of_a_member_is_what_they_are_now_and_what_the_step_names(site: Calling) -> None:
    [alias] = await site.start(lambda hook: {"ask": call(hook, attributes=["plan", "none"])})
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        [person] = await people(db, 1, "q", plan="pro", secret="x")
        await profiles_merged.merge(db, alias, person, site.clock.now())
        await db.execute(text("update enrollments set properties = '{\"cart\": 7}'"))
    await site.advance()

    [said] = await posted(site.sessions)
    [journey] = await site.ask("select id from enrollments")
    assert said["members"] == [
        {
            "member": str(journey),
            "profile_id": str(person),
            "user_id": None,
            "email": "q1@shop.example",
            "phone": None,
            "properties": {"cart": 7},
            "attributes": {"plan": "pro"},
            "truncated": False,
        }
    ]


async def test_a_crowd_is_called_about_in_groups_that_a_callback_can_answer(site: Calling) -> None:
    await site.start(asking, 2 * MOST + 1)

    done = await site.advance()

    found = await posted(site.sessions)
    assert [len(each["members"]) for each in found] == [MOST, MOST, 1]
    assert len({each["member"] for said in found for each in said["members"]}) == 2 * MOST + 1
    assert (done.moved, (await site.advance()).moved) == (2 * MOST + 1, 0)
    for said in found:
        assert len((await site.answer(said)).taken) == len(said["members"])
    await site.advance()
    assert await site.places() == {"well": 2 * MOST + 1}
    assert await site.ask("select distinct closed_at is not null and answered = members from calls") == [True]


async def test_an_answer_counts_once_and_a_call_knows_only_its_own_members(site: Calling) -> None:
    await site.start(asking, 2)
    await site.advance()
    [said] = await posted(site.sessions)
    first, second = (UUID(each["member"]) for each in said["members"])
    [late] = await _more(site, 1)
    await site.enroll(late)
    await site.advance()
    other = UUID((await posted(site.sessions))[1]["members"][0]["member"])

    assert (await site.answer(said, first)).ignored == {}
    again = await site.answer(said, first, second, other, outcome="failed")
    assert ([*again.taken], again.ignored) == ([second], {first: "repeated"})
    everybody = await site.answer(said)
    assert (everybody.taken, set(everybody.ignored.values())) == ({}, {"repeated"})
    await site.advance()
    assert await site.places() == {"ask": 1, "well": 1, "ill": 1}
    assert (await site.answer(said, first)).ignored == {first: "repeated"}


async def _more(site: Site, n: int) -> list[UUID]:
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        return await people(db, n, "q")


async def test_an_answer_after_the_deadline_is_late_even_before_anybody_moved(site: Calling) -> None:
    await site.start(asking)
    await site.advance()
    [said] = await posted(site.sessions)
    site.clock.move(timedelta(hours=1, seconds=1))

    assert [*(await site.answer(said)).ignored.values()] == ["late"]
    await site.advance()
    assert await site.places() == {"ill": 1}


async def test_a_pause_holds_who_is_answered_for_and_who_was_not_called_about(site: Calling) -> None:
    await site.start(asking, 2)
    await site.advance()
    await site.enroll(*await _more(site, 1))
    await ran(site.acts.pause, site.flow)
    [said] = await posted(site.sessions)

    well, _ = (each["member"] for each in said["members"])
    assert [*(await site.answer(said, well)).taken] == [UUID(well)]
    assert (await site.advance(7200)).moved == 0
    assert await site.places() == {"ask": 3}
    await ran(site.acts.resume, site.flow)
    await site.advance()
    assert await site.places() == {"ask": 1, "well": 1, "ill": 1}
    assert len(await posted(site.sessions)) == 2


@pytest.mark.parametrize("how", ["archived", "erased", "merged"])
async def test_who_is_not_under_way_any_more_is_answered_for_too_late(site: Calling, how: str) -> None:
    first, second = await site.start(asking, 2)
    await site.advance()
    [said] = await posted(site.sessions)
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        [journey] = await some(db, "select id from enrollments where profile_id = :who", who=first)
        if how == "erased":
            await profiles_erased.erase(db, first, site.clock.now())
        elif how == "merged":
            await profiles_merged.merge(db, first, second, site.clock.now())
    if how == "archived":
        await ran(site.acts.archive, site.flow)
        assert (await site.answer(said, journey)).ignored == {journey: "late"}
        await ran(site.acts.end_journeys, site.flow)

    assert (await site.answer(said, journey)).ignored == {journey: "late"}
    assert (await site.places())[how] == (2 if how == "archived" else 1)


async def test_who_is_erased_is_out_of_what_was_said_and_not_called_about(site: Calling) -> None:
    ada, bob, eve = await site.start(asking, 3)
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await profiles_erased.erase(db, ada, site.clock.now())
    await site.advance()
    [said] = await posted(site.sessions)
    theirs = {each["profile_id"]: each["member"] for each in said["members"]}
    assert theirs.keys() == {str(bob), str(eve)}
    await site.answer(said, theirs[str(bob)], outcome="failed", reason="Bob has moved to Vienna.")
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await profiles_erased.erase(db, bob, site.clock.now())

    [said] = await posted(site.sessions)
    assert [each["profile_id"] for each in said["members"]] == [str(eve)]
    assert await site.ask("select body from webhook_deliveries where body like '%p2@shop.example%'") == []
    assert await site.ask("select reason from call_members where reason is not null") == []

    await site.ask(
        "update webhook_deliveries set state = 'delivered', closed_at = created_at where state = 'pending' "
        "returning id"
    )
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await profiles_erased.erase(db, eve, site.clock.now())
    assert await posted(site.sessions) == []


async def test_each_pass_of_a_loop_is_a_call_of_its_own_that_no_other_answers(site: Calling) -> None:
    await site.start(lambda hook: {"ask": call(hook, 60, then=None, otherwise="ask")})
    await site.advance()
    await site.advance(60)

    first, second = await posted(site.sessions)
    assert first["members"] == second["members"]
    assert [*(await site.answer(first)).ignored.values()] == ["late"]
    assert await site.places() == {"ask": 1}
    assert len((await site.answer(second)).taken) == 1
    await site.advance()
    assert await site.places() == {"finished": 1}
    assert await site.ask("select visit from enrollments") == [2]


async def test_a_webhook_that_is_disabled_or_gone_strands_nobody(site: Calling) -> None:
    await site.start(asking, 2)
    await disable(site.sessions)
    await site.advance()
    assert await site.ask("select state || ': ' || reason from webhook_deliveries") == [
        "failed: The webhook is disabled."
    ]
    assert await site.ask("select category || ': ' || reason from failure_logs") == [
        'configuration: The flow "Welcome" calls at "ask", and the webhook is disabled.'
    ]
    async with site.sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("delete from webhooks"))
    await site.enroll(*await _more(site, 1))
    await site.advance(60)
    assert await site.ask("select count(*) from calls where delivery_id is null") == [1]
    await site.advance(3600)

    assert await site.places() == {"ill": 3}


async def test_a_flow_is_published_only_with_webhooks_that_are_there_and_enabled(site: Calling) -> None:
    await site.start(asking)
    await disable(site.sessions)
    with pytest.raises(Invalid, match="is disabled") as refusal:
        await site.publish()
    assert refusal.value.field == "/steps/ask/webhook_id"
    await site.edit({"ask": call(UUID(int=1))}, "ask")
    with pytest.raises(Invalid, match="There is no webhook"):
        await site.publish()


async def test_a_webhook_is_needed_while_somebody_may_come_to_a_step_that_calls_it(site: Calling) -> None:
    async def needed() -> list[str]:
        async with site.sessions(DEFAULT_WORKSPACE) as db:
            return [name for _, name in await calls.flows_calling(db, site.webhook)]

    await site.start(asking)
    assert await needed() == ["Welcome"]
    await site.edit({"nap": wait(60)}, "nap")
    await site.publish()
    assert await needed() == ["Welcome"]  # Somebody is in the version before.
    await site.advance()
    await site.answer((await posted(site.sessions))[0])
    await site.advance()
    await site.advance(86400)
    assert await needed() == []
    await site.edit(asking(site.webhook), "ask")
    await site.publish()
    assert await needed() == ["Welcome"]
    await ran(site.acts.archive, site.flow)
    assert await needed() == []


@pytest.mark.parametrize("first", ["answer", "deadline"])
async def test_who_comes_first_decides_where_an_answer_meets_the_deadline(site: Calling, first: str) -> None:
    await site.start(asking)
    await site.advance()
    [said] = await posted(site.sessions)
    site.clock.move(timedelta(hours=1))  # An answer counts up to that moment, and it is one's turn from then.
    [member] = (UUID(each["member"]) for each in said["members"])

    if first == "answer":
        async with site.sessions(DEFAULT_WORKSPACE) as db:
            found = await calls.find(db, UUID(said["call_id"]))
            assert found
            heard = await calls.answer(
                db, DEFAULT_WORKSPACE, UUID(said["call_id"]), found, Outcome.DONE, site.clock.now()
            )
            assert [*heard.taken] == [member]
            assert (await site.advance()).moved == 0  # Whom the answer holds is left alone.
        await site.advance()
    else:
        held = "select 1 from enrollments for update"
        async with site.sessions(DEFAULT_WORKSPACE) as db:
            await db.execute(text(held))
            answering = asyncio.create_task(site.answer(said))
            await eventually(partial(_waits, site), what="the wait for the member")
            moved = """
                update enrollments set step = 'ill', waiting_for = null, due_at = due_at + interval '1 day'
            """
            await db.execute(text(moved))
            await db.execute(text("update agenda set step = 'ill', due_at = due_at + interval '1 day'"))
        assert (await answering).ignored == {member: "late"}

    assert await site.places() == ({"well": 1} if first == "answer" else {"ill": 1})


async def _waits(site: Site) -> bool:
    async with site.sessions.engine() as db:
        return await some(db, "select count(*) from pg_locks where not granted") > [0]


async def test_the_same_answer_sent_many_times_at_once_moves_everybody_once(site: Calling) -> None:
    await site.start(asking, 20)
    await site.advance()
    [said] = await posted(site.sessions)

    moving = asyncio.create_task(site.advance())
    heard = await asyncio.gather(*(site.answer(said, outcome=each) for each in ("done", "failed") * 4))

    assert sum(len(each.taken) for each in heard) == 20
    assert (await moving).moved <= 20
    await site.advance()
    await site.advance()
    places = await site.places()
    assert places in ({"well": 20}, {"ill": 20})
    assert set(await site.ask("select jsonb_array_length(history) from enrollments")) == {2}


@pytest.mark.parametrize("committed", [False, True])
async def test_a_worker_that_dies_calls_about_nobody_twice_and_forgets_nobody(
    site: Calling, sessions: Sessions, committed: bool
) -> None:
    await site.start(asking, 3)
    fragile = FragileSessions(sessions, Blow(2, committed, killed=True))  # The first takes the poke.
    dying = FlowActivities(fragile, BELL, site.clock, PATIENT, CALLER)
    with suppress(Killed):
        await ran(dying.advance, site.flow)
    assert fragile.struck
    assert len(await posted(sessions)) == committed
    await site.advance()

    found = await posted(sessions)
    assert sorted(each["member"] for said in found for each in said["members"]) == sorted(
        map(str, await site.ask("select id from enrollments"))
    )
    for said in found:
        await site.answer(said)
    await site.advance()
    assert await site.places() == {"well": 3}


@pytest.mark.parametrize("seed", [1, 2])
async def test_nobody_goes_on_twice_from_one_call_whatever_happens(site: Calling, seed: int) -> None:
    """Each journey is a walk that leaves the step once for each call, or waits for the last one."""
    chance = Random(seed)
    await site.start(
        lambda hook: {"ask": call(hook, 60, then="nap", otherwise="ask"), "nap": wait(1, "ask")}, 3
    )
    await site.advance()
    taken = 0
    for _ in range(40):
        match chance.choice(["answer", "answer", "advance", "advance", "pause", "resume"]):
            case "answer":
                said = chance.choice(await posted(site.sessions))
                some_of_them = chance.sample(
                    [each["member"] for each in said["members"]], chance.randint(0, 1)
                )
                outcome = chance.choice(["done", "failed"])
                taken += len((await site.answer(said, *some_of_them, outcome=outcome)).taken)
            case "advance":
                await site.advance(chance.choice([0, 1, 30, 61]))
            case "pause":
                await ran(site.acts.pause, site.flow)
            case "resume":
                await ran(site.acts.resume, site.flow)
    await ran(site.acts.resume, site.flow)
    await site.advance()

    journeys = await site.ask("select jsonb_build_array(visit, history) from enrollments")
    assert len(journeys) == 3
    answers = 0
    for visit, history in journeys:
        left = [note for note in history if note[1] == "ask"]
        assert visit - 1 <= len(left) <= visit
        assert all(one[2] == two[1] for one, two in pairwise(history))
        answers += sum(note[3].startswith("the callback") for note in left)
    assert taken > 0
    assert answers == taken
    assert await site.ask("select count(*) from call_members where answered_at is not null") == [taken]


async def test_a_call_is_forgotten_a_while_after_its_end_and_its_members_with_it(site: Calling) -> None:
    await site.start(asking)
    await site.advance()
    await site.advance(3600)
    upkeep = UpkeepActivities(site.sessions, site.clock)

    site.clock.move(CALLS_FOR)
    await ran(upkeep.upkeep)
    assert await site.ask("select count(*) from call_members") == [1]
    site.clock.move(timedelta(seconds=1))
    await ran(upkeep.upkeep)

    assert await site.ask("select count(*) from calls") == [0]
    assert await site.ask("select count(*) from call_members") == [0]


async def test_however_many_calls_have_ended_one_upkeep_forgets_them_all_as_they_were_told(
    site: Calling,
) -> None:
    await site.start(asking)
    await site.advance()
    await site.ask(
        """
        insert into calls (workspace_id, flow_id, version_id, step, webhook_id, delivery_id, members,
            created_at, ends_at)
        select workspace_id, flow_id, version_id, step, webhook_id, delivery_id, 1, created_at, ends_at
        from calls, generate_series(1, 450) returning id
        """
    )
    # What was replayed stays longer than other deliveries.
    await site.ask("update webhook_deliveries set replayed_at = created_at + interval '40 days' returning id")
    site.clock.move(CALLS_FOR + timedelta(days=10))

    await ran(UpkeepActivities(site.sessions, site.clock, content_kept_days=50).upkeep)
    assert await site.ask("select count(*) from calls") == [451]  # An erasure finds by them what was told.
    await ran(UpkeepActivities(site.sessions, site.clock).upkeep)

    assert await site.ask("select count(*) from calls") == [0]
    assert await site.ask("select count(*) from webhook_deliveries") == [0]
