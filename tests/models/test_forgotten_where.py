"""A forgotten `where workspace_id` shows nobody anything: every query function, run in two workspaces.

In its own it does what it is for; under another, with the ids of the first, it finds nothing and changes
nothing. A function that is added without a line here fails the test.
"""

import inspect
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text, true, update
from sqlalchemy.exc import IntegrityError, NoResultFound, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from dev.places import ROOT
from domain import templates as letters
from domain.announcements import Announcement, AnnouncementType
from domain.breakers import BreakerState, Standing, Tally, released
from domain.campaigns import UNDER_WAY, CampaignState
from domain.channels import Channel
from domain.deliveries import Health, Try
from domain.errors import CampanileError, Conflict
from domain.failures import Category, Failure, Subject
from domain.flows import Flow as Graph
from domain.flows import FlowState
from domain.imports import Denial, ImportKind, Refusal
from domain.integrations import IntegrationKind
from domain.keys import new_key
from domain.lists import MemberState
from domain.messages import MessageClass, MessageState, Skip
from domain.profiles import ConsentState, IdentityKind, Purpose, SuppressionReason
from domain.reports import Counts as Fared
from domain.roles import KeyKind, Role
from domain.schedules import Meant, Starter
from domain.segments import Rule, as_json, parse
from models.base import Sessions
from models.batch import Asked
from models.calls import Outcome
from models.campaigns import Campaign
from models.orders import Order
from models.profiles import Profile
from models.queries import (
    alerts,
    announced_members,
    announced_messages,
    announced_people,
    announced_states,
    announcing,
    attachments,
    attributes,
    audit,
    bodies,
    breakers,
    buckets,
    calls,
    campaigns,
    claims,
    consents,
    domains,
    enrollments,
    enrollments_moved,
    estimates,
    events,
    failures,
    failures_found,
    failures_retried,
    flows,
    happenings,
    holds,
    hot_values,
    idempotency,
    imported,
    imported_customers,
    imported_orders,
    imports,
    integrations,
    invitations,
    issuers,
    keys,
    ledger,
    listening,
    lists,
    members,
    messages,
    notes,
    orders,
    people_reporting,
    persons,
    preferences,
    profile_notes,
    profiles,
    profiles_erased,
    profiles_exported,
    profiles_found,
    profiles_merged,
    profiles_searched,
    profiles_written,
    provider_accounts,
    provider_tests,
    providers,
    quarantine,
    queued,
    reach,
    recalculations,
    roads,
    routes,
    rows,
    schedules,
    segment_fields,
    segment_names,
    segment_reports,
    segments_written,
    sign_ups,
    singles,
    suppressions,
    templates,
    text_costs,
    timelines,
    topics,
    traces,
    verified_senders,
    ways,
    webhook_deliveries,
    webhook_health,
    webhook_log,
    webhooks,
    workspaces,
)
from models.queries import announced as asked_for
from models.queries.attachments import File
from models.queries.buckets import Ask, Counts
from models.queries.calls import Made
from models.queries.failures_found import Which
from models.queries.failures_retried import How
from models.queries.messages import Singles
from models.queries.people_reporting import Word
from models.queries.profiles_searched import Search
from models.queries.profiles_written import Item
from models.queries.recalculations import Look, Ripe
from models.queries.singles import Single
from models.webhooks import Webhook
from tests import bookkeeping
from tests.models.filled import DOMAIN, ISSUER, SOON, Filled, a_piece, filled, take_in
from tests.models.test_orders import placed, take
from tests.people import write_the_agenda
from tests.sending import NOW, version_of
from tests.walls import contents, contents_of

Call = Callable[[AsyncSession, Filled], Awaitable[Any]]

ACCOUNTS = "people belong to no workspace: the engine's role alone reaches their tables"
ENGINE = "runs as the engine, across workspaces; it gets its ids from us or by a secret"
NO_ROWS = "touches no row of a workspace: a lock, or a temporary table of the transaction"
PUMP = "the pump's: test_ingest.py has two workspaces of which only one may change"
LEFT_OUT = {
    "enrollments_moved.went_on": "looks at what `go_on` and `settling` answered",
    "announced.tell": "executes what the other modules of its name bring",
    "announced_people.happened": PUMP,
    "announced_people.remember": PUMP,
    "announced_people.told_by_batch": PUMP,
    "account_mails": ACCOUNTS,
    "accounts": ACCOUNTS,
    "arrivals": ENGINE,
    "callers": ENGINE,
    "alerts.due": ENGINE,
    "alerts.drop_old": ENGINE,
    "alerts.lock": NO_ROWS,
    "attachments.drop_old": ENGINE,
    "calls.drop_old": ENGINE,
    "inbox": ENGINE,
    "follow_ups": "writes into the inbox alone, which is no table of a workspace",
    "hooks": ENGINE,
    "holds.silent": ENGINE,
    "holds.told": ENGINE,
    "kept_events": PUMP,
    "memberships": PUMP,
    "profiles_merged.merge_all": "its callers find the profiles, and `merge` calls it",
    "taken": PUMP,
    "traits": PUMP,
    "refusals": ENGINE,
    "reports": "by the engine within one workspace: test_reports.py has two of which only one may change",
    "rate_limits": ACCOUNTS,
    "sealed": ENGINE,
    "senders": ENGINE,
    "sign_ins": ACCOUNTS,
    "tracking": ENGINE,
    "idempotency.drop_old": ENGINE,
    "attributes.unfilled": ENGINE,
    "imports.forgotten": ENGINE,
    "schedules.out_of_step": ENGINE,
    "schedules.overdue": ENGINE,
    "schedules.told": ENGINE,
    "schedules.unstarted": ENGINE,
    "invitations.accept": ENGINE,
    "invitations.by_token": ENGINE,
    "invitations.revoke_made_by": ENGINE,
    "invitations.revoke_made_to": ENGINE,
    "issuers.anywhere": ENGINE,
    "ledger.drop_forgotten_leases": ENGINE,
    "keys.works": ENGINE,
    "members.find": ENGINE,
    "members.is_member": ENGINE,
    "members.one_change_at_a_time": "waits for whoever changes the transaction's own workspace",
    "members.page": ENGINE,
    "members.workspaces_of": ENGINE,
    "quarantine.replay": ENGINE,
    "recalculations.due": ENGINE,
    "recalculations.next_due": ENGINE,
    "recalculations.waiting_for_others": NO_ROWS,
    "segments_written.begin_look": NO_ROWS,
    "recalculations.waiting_for_the_pump": NO_ROWS,
    "news": PUMP,
    "profiles.suppression_changed": "writes into the inbox alone, as `follow_ups`",
    "pokes": "theirs is no table of a workspace; test_wall.py has who may poke whom",
    "reconcile.decide": ENGINE,
    "copying.copy": NO_ROWS,
    "happenings.prepare": NO_ROWS,
    "imported.fill": NO_ROWS,
    "imported.lock": NO_ROWS,
    "imported_customers.fill": NO_ROWS,
    "imported_orders.fill": NO_ROWS,
    "people_lock.take": NO_ROWS,
    "people_lock.take_here": NO_ROWS,
    "people_lock.taking_here": NO_ROWS,
    "readiness.migrated_to": "the schema's version, which is everybody's",
    "webhook_deliveries.drop_old": ENGINE,
    "webhook_deliveries.let_go": "undoes a claim, of which it needs the attempt's id",
    "webhook_health.silent": ENGINE,
    "webhook_health.told": ENGINE,
    "workspaces.is_open": "asks about the transaction's own workspace",
    "workspaces.create": "makes a workspace of its own, in which nothing was before",
}


async def those_had(db: AsyncSession) -> bool:
    return await campaigns.had_by_nobody(db, true(), ["name"]) == []


async def n8n_moved(db: AsyncSession, w: Filled) -> Any:
    row = await integrations.find(db, w.id, IntegrationKind.N8N, lock=True)
    return await integrations.put(db, w.id, row, {"url": "https://n8n.shop.example"})


async def names_are_known(db: AsyncSession, w: Filled) -> bool:
    await flows.check_names(db, Graph.model_validate(w.flow.definition))
    return True


async def how_many(db: AsyncSession, w: Filled) -> int:
    return (await messages.counts(db, w.running.id)).all


async def listed(db: AsyncSession, w: Filled) -> int:
    await db.execute(text("update messages set source_id = workspace_id where id = :id"), {"id": w.accepted})
    return len((await messages.singles_page(db, w.id, Singles(), None, 9))[0])


async def tallied(db: AsyncSession, w: Filled) -> int:
    return int((await messages.tally(db, w.running.id))["queued"])


async def ahead(db: AsyncSession, w: Filled) -> int:
    return (await queued.ahead(db, w.queue)).open


async def hastened(db: AsyncSession, w: Filled) -> bool:
    refused = "update messages set attempts = 1, reason = '503 down' where id = :id"
    await db.execute(text(refused), {"id": w.queued})
    before = await contents_of(db)
    await queued.hasten(db, w.id, "email", NOW - timedelta(days=1, minutes=30))
    return await contents_of(db) != before


async def estimated(db: AsyncSession) -> int:
    everybody = parse({"all": []})
    return (await estimates.estimate(db, everybody, now=NOW, time_zone="UTC", currency="USD")).count


def a_campaign(w: Filled) -> dict[str, Any]:
    return {"name": "x", "slug": "x", "segment_id": w.segment, "template_id": w.template}


def a_single(w: Filled) -> Single:
    return Single(
        channel=Channel.EMAIL,
        message_class=MessageClass.TRANSACTIONAL,
        template_version_id=w.version,
        profile_id=w.bob,
        bare=None,
        holes=[],
        due_at=NOW,
        expires_at=None,
        note="x",
    )


async def the_ways(db: AsyncSession, w: Filled) -> Any:
    bob = await reach.find(db, str(w.bob))
    return await reach.ways(db, w.id, bob, [Channel.EMAIL], MessageClass.MARKETING)


async def routed(db: AsyncSession, w: Filled) -> bool:
    return Channel.SMS in await reach.routed(db, MessageClass.TRANSACTIONAL)


async def routed_kinds(db: AsyncSession, w: Filled) -> Any:
    return await reach.kinds(db, Channel.SMS, MessageClass.TRANSACTIONAL)


async def looked(db: AsyncSession) -> list[Any]:
    return [*(await db.execute(*asked_for.looking())).all()]


async def told(db: AsyncSession, w: Filled) -> Any:
    return await singles.told(db, await singles.get(db, w.single), NOW)


async def claimed_name(db: AsyncSession, w: Filled) -> Any:
    """A name that an account of this workspace has is not free here."""
    taken = (await provider_accounts.get(db, w.provider)).name
    try:
        await provider_accounts.claim_name(db, w.id, taken)
    except Conflict as error:
        return error
    return None


async def in_its_way(db: AsyncSession, w: Filled) -> Any:
    return [await roads.in_the_way(db, await singles.get(db, w.single), NOW)]


async def the_roads(db: AsyncSession, w: Filled) -> Any:
    return (await roads.find(db, w.id, Channel.EMAIL, MessageClass.MARKETING, NOW)).turns


EVERYTHING = frozenset({"identities", "orders", "messages", "consents", "topics", "suppressions", "tags"})


def on_a_list(w: Filled) -> Rule:
    return parse({"kind": "list", "list_id": str(w.news)})


async def those_named(db: AsyncSession, w: Filled) -> bool:
    await segment_names.check(db, on_a_list(w))
    return True


async def kept_by_a_segment(db: AsyncSession, w: Filled) -> bool:
    asking = "update segments set rule = cast(:rule as jsonb) where id = :segment"
    await db.execute(text(asking), {"rule": json.dumps(as_json(on_a_list(w))), "segment": w.segment})
    try:
        await segment_names.check_unused(db, "list", w.news)
    except Conflict:
        return True
    return False


async def sized(db: AsyncSession, w: Filled) -> bool:
    [day] = await segment_reports.history(db, w.segment, NOW.date(), NOW.date())
    return day.size is not None


async def shared(db: AsyncSession, w: Filled) -> int:
    known = "update segments set materialized_at = :now"
    await db.execute(text(known), {"now": NOW})
    return (await segment_reports.overlap(db, [w.segment, w.unused_segment])).any


async def sender_expected(db: AsyncSession, w: Filled) -> None:
    await verified_senders.expect(db, await verified_senders.get(db, w.sender), "a link's token", NOW)


def hold_for_a_call(db: AsyncSession, w: Filled) -> Awaitable[Any]:
    return calls.hold(db, w.id, w.calling.id, w.place, [], NOW, 9)


async def called_about(db: AsyncSession, w: Filled) -> None:
    made = Made(uuid4(), uuid4(), "{}", [w.uncalled])
    await calls.write(db, w.id, w.calling.id, w.place, w.webhook, [made], SOON, NOW)


async def answered(db: AsyncSession, w: Filled) -> None:
    """Whatever call is meant, no member of another workspace's goes on."""
    found = await calls.find(db, w.call) or calls.Found(w.calling.id, SOON, True)
    await calls.answer(db, w.id, w.call, found, Outcome.DONE, NOW)


async def webhooks_are_known(db: AsyncSession, w: Filled) -> bool:
    await flows.check_webhooks(db, Graph.model_validate(w.calling.definition), enabled=True)
    return True


async def announced(db: AsyncSession, w: Filled) -> None:
    said = Announcement(AnnouncementType.WEBHOOK_DISABLED, {})
    await announcing.announce(db, w.id, [said], NOW)


async def newcomers_told(db: AsyncSession, w: Filled) -> None:
    await happenings.prepare(db)
    await db.execute(text("insert into newcomers values (:id, 1)"), {"id": w.journey})
    await announced_members.newcomers(db, NOW)


async def import_told(db: AsyncSession, w: Filled) -> None:
    over = "update imports set state = 'completed' where id = :id"
    await db.execute(text(over), {"id": w.customers.id})
    await announced_states.import_finished(db, await imports.get(db, w.customers.id), NOW)


A_FAILURE = Failure(Subject.OUTSIDE, "n8n", Category.OURS, "It broke.", "Mend it.", occasion="again")


async def failure_noted(db: AsyncSession, w: Filled) -> None:
    """Under another workspace's wall there is no such message, so nothing is noted."""
    lost = "update messages set state = 'unknown', closed_at = :now where id = :id"
    await db.execute(text(lost), {"id": w.single, "now": NOW})
    await failures.note_messages(db, w.id, [w.single], NOW)


async def failure_known(db: AsyncSession, w: Filled) -> None:
    await failure_noted(db, w)
    before = await contents_of(db)
    await failures.known(db, w.id, [w.single], NOW)
    assert await contents_of(db) != before or not before.get("failure_logs")


async def hooked(db: AsyncSession, w: Filled, call: Callable[[Webhook], Awaitable[object]]) -> None:
    await call(await webhooks.get(db, w.webhook, lock=True))


async def uncalled_deleted(db: AsyncSession, w: Filled) -> None:
    await webhooks.delete(db, await webhooks.get(db, w.uncalled_webhook, lock=True))


async def sent_a_test(db: AsyncSession, w: Filled) -> None:
    said = Announcement(AnnouncementType.WEBHOOK_TEST, {})
    await hooked(db, w, lambda hook: webhook_log.tell(db, hook, said, NOW))


async def pending(db: AsyncSession, w: Filled) -> int:
    return (await webhooks.pending(db, w.id, [w.webhook]))[w.webhook]


async def replayed(db: AsyncSession, w: Filled, one: UUID | None) -> None:
    """Where it was given up before."""
    closed = "update webhook_deliveries set state = 'failed', closed_at = created_at where id = :id"
    await db.execute(text(closed), {"id": w.delivery})
    if one is not None:
        await hooked(db, w, lambda hook: webhook_log.replay_one(db, hook, one, SOON))
        return
    within = webhook_log.Within(NOW, SOON)
    await hooked(db, w, lambda hook: webhook_log.replay(db, hook, within, SOON))


async def lost_to_retry(db: AsyncSession, w: Filled) -> Any:
    await failure_noted(db, w)
    return await failures_found.to_retry(db, w.id, Which(), unknown=True)


async def retried(db: AsyncSession, w: Filled) -> None:
    ids = await lost_to_retry(db, w)
    await failures_retried.retry(db, w.id, ids, How("Ada", "Ada asked for it.", unknown=True), NOW)


async def digested(db: AsyncSession, w: Filled) -> Any:
    await alerts.count(db, w.id, NOW)
    return await alerts.digests(db, w.id, NOW)


async def claimed_delivery(db: AsyncSession, w: Filled) -> list[Any]:
    claimed, _ = await webhook_deliveries.claim(
        db, w.id, w.webhook, UUID(int=9), SOON, lease=60, most=9, most_bytes=9
    )
    return claimed


async def what_is_ahead(db: AsyncSession, w: Filled) -> bool:
    return (await webhook_deliveries.ahead(db, w.id)).pending


async def settled_delivery(db: AsyncSession, w: Filled) -> None:
    await claimed_delivery(db, w)
    settled = webhook_deliveries.Settled(w.delivery, UUID(int=9), Try(SOON, 0.1, 200), None)
    await webhook_deliveries.settle(db, w.id, [settled], SOON)


async def disabled_webhook(db: AsyncSession, w: Filled) -> None:
    await webhook_health.disable(db, w.id, {w.webhook: "It is gone."}, SOON)


async def seen_off(db: AsyncSession, w: Filled) -> bool:
    await disabled_webhook(db, w)
    return await webhook_health.off(db, w.id, w.webhook)


async def closed_stranded(db: AsyncSession, w: Filled) -> list[Any]:
    await disabled_webhook(db, w)
    return await webhook_health.close_stranded(db, w.id, SOON)


async def closed_expired(db: AsyncSession, w: Filled) -> list[Any]:
    await webhook_health.fared(db, w.id, [Health(w.webhook, good=False, failures=9)], SOON)
    return await webhook_health.close_expired(db, w.id, SOON, SOON + timedelta(seconds=1))


async def confirmed(db: AsyncSession, w: Filled) -> None:
    await sender_expected(db, w)
    await verified_senders.confirm(db, w.sender, "a link's token", SOON)


async def settled(db: AsyncSession, w: Filled) -> None:
    await db.execute(text("update workspaces set sending_email = null"))
    await verified_senders.settle(db, w.id)


async def vouched(db: AsyncSession, w: Filled) -> None:
    domain = await domains.get(db, w.domain)
    await verified_senders.let_go(db, w.domain)
    await verified_senders.vouch(db, domain, SOON)


async def unused_domain_deleted(db: AsyncSession, w: Filled) -> None:
    await verified_senders.let_go(db, w.domain)
    await domains.delete(db, w.domain)


async def used(db: AsyncSession, w: Filled) -> int:
    its_id = w.running.segment_id
    return (await segment_reports.uses(db, [its_id]))[its_id]


async def all_asked(db: AsyncSession, w: Filled) -> None:
    await db.execute(text("update segments set materialized_at = :now"), {"now": NOW})
    await segments_written.ask_all_again(db, SOON)


async def begun(db: AsyncSession, w: Filled) -> Look:
    workspace = await workspaces.get(db, w.id)
    segment = await recalculations.ripe(db, w.segment, NOW)
    assert segment is not None
    return await recalculations.begin(db, workspace, segment, NOW, 60)


async def failed(db: AsyncSession, w: Filled) -> bool:
    segment = Ripe(w.segment, version=1, first=True, announce=False, due_at=None, rule={"all": []})
    return await recalculations.fail(db, segment, "Too slow.", NOW)


async def written_down(db: AsyncSession, w: Filled) -> None:
    await recalculations.write_down(db, await begun(db, w))


async def doubted(db: AsyncSession, w: Filled) -> int:
    return await recalculations.doubt(db, await begun(db, w), 10)


async def means_the_same(db: AsyncSession, w: Filled) -> bool:
    return await recalculations.still_means(db, await begun(db, w))


async def finished(db: AsyncSession, w: Filled) -> None:
    await recalculations.finish(db, await begun(db, w), timedelta(seconds=1), None, announce=True)


async def understood(db: AsyncSession, w: Filled) -> bool:
    named = {"kind": "segment", "segment_id": str(w.segment)}
    return (await segments_written.meaning(db, parse(named))).of == {w.segment: 1}


async def resolved(db: AsyncSession, w: Filled) -> Rule:
    return await segments_written.resolved(db, parse({"kind": "segment", "segment_id": str(w.segment)}))


async def readers_asked(db: AsyncSession, w: Filled) -> None:
    await recalculations.write_down(db, await begun(db, w))
    await finished(db, w)
    await segments_written.ask_readers_again(db, "attribute:name", NOW)


async def tried(db: AsyncSession, w: Filled) -> Any:
    ready = await take_in(db, ImportKind.CUSTOMERS)
    return await imported.try_out(db, w.customers, ready, NOW, (1, 9))


async def stored(db: AsyncSession, w: Filled) -> None:
    await imported.store(db, w.customers, await take_in(db, ImportKind.CUSTOMERS), NOW)


async def customers_stored(db: AsyncSession, w: Filled) -> None:
    ready = await take_in(db, ImportKind.CUSTOMERS)
    await imported_customers.store(db, w.customers, ready.rows, NOW)


async def orders_stored(db: AsyncSession, w: Filled) -> None:
    ready = await take_in(db, ImportKind.ORDERS)
    await imported_orders.store(db, w.orders, ready.rows, NOW, own_ids=True)


async def let_in(db: AsyncSession, w: Filled) -> None:
    """Those who are at the start, where nobody stays for long."""
    at_the_start = "update enrollments set step = 'start', due_at = :now where flow_id = :flow"
    await db.execute(text(at_the_start), {"now": NOW, "flow": w.flow.id})
    await write_the_agenda(db)
    await enrollments.let_in(db, w.id, w.flow.id, 1, NOW)


async def ordered(db: AsyncSession, w: Filled, who: UUID, what: Callable[..., Awaitable[Any]]) -> None:
    await happenings.prepare(db)
    event = """
        insert into happened values (1, gen_random_uuid(), :who, 'order placed', '{"order": "o8"}', :now, 0)
    """
    await db.execute(text(event), {"who": who, "now": NOW})
    await what(db, w.id, NOW)


async def listened(db: AsyncSession, w: Filled) -> bool:
    await happenings.prepare(db)
    return bool((await listening.look(db, w.id))[0].versions)


async def accepted(db: AsyncSession, w: Filled) -> None:
    await db.execute(update(Webhook).values(state="disabled"))  # They would have it taken the long way.
    answers = [ledger.Settled(w.sending, MessageState.ACCEPTED)]
    await db.execute(*ledger.accepting(w.queue, w.wire, answers, NOW))


async def lettered(db: AsyncSession, w: Filled) -> None:
    await messages.queue_letters(
        db,
        w.id,
        [("ada@shop.example", ["Ada"])],
        step="test",
        message_class=MessageClass.TEST,
        template_version_id=w.version,
        request_id=uuid4(),
        now=NOW,
    )


async def order_known(db: AsyncSession, w: Filled) -> Any:
    key = await db.scalar(select(Order.key).where(Order.id == w.order))
    return await orders.known(db, [key or "none"])


async def order_placed(db: AsyncSession, w: Filled) -> None:
    await placed(db, w.bob, "o7", "5")
    await orders.place(db, w.id, NOW)


async def order_changed(db: AsyncSession, w: Filled) -> None:
    order = await orders.find(db, str(w.order))
    await take(db, "order change", {"key": order.key, "status": "cancelled"})
    await orders.change(db, w.id, NOW)


async def lifted(db: AsyncSession, w: Filled) -> None:
    """What Ada's own word had done."""
    unsubscribed = SuppressionReason.UNSUBSCRIBED
    async with db.begin_nested() as both:
        if await profiles.find(db, IdentityKind.EMAIL, "ada@shop.example"):
            await profiles.suppress(db, "email", "ada@shop.example", unsubscribed, "test", NOW)
        await profiles.lift(db, [(w.ada, Purpose.EMAIL)], NOW)
        await both.commit()


async def quoted(db: AsyncSession, w: Filled) -> None:
    """What a refusal quotes of somebody."""
    await traces.forget(db, [(IdentityKind.EMAIL, "new@shop.example")])


async def closed(db: AsyncSession, w: Filled) -> None:
    """Once nothing is under way, which a workspace's own members see to first."""
    await campaigns.move(db, w.running.id, UNDER_WAY, CampaignState.CANCELLED)
    await campaigns.move(db, w.lost.id, UNDER_WAY, CampaignState.CANCELLED)
    for planned in (w.planned, w.awaited):
        await schedules.cancel(db, planned, NOW)
    for flow in (w.flow, w.letters, w.waiting, w.calling):
        await flows.move(db, flow.id, [FlowState.LIVE], FlowState.ARCHIVED)
    await workspaces.delete(db, w.id, NOW)


# What each of them answers for who is in its workspace: something.
READS: dict[str, Call] = {
    "holds.days": lambda db, w: holds.days(db, w.id, NOW.date()),
    "holds.hook_days": lambda db, w: holds.hook_days(db, w.id, NOW.date()),
    "holds.open_for": lambda db, w: holds.open_for(db, w.id),
    "holds.why": lambda db, w: holds.why(db, w.id),
    "holds.page": lambda db, w: holds.page(db, w.id, 9),
    "attachments.carrying": lambda db, w: attachments.carrying(db, w.id, [w.single]),
    "attachments.listed": lambda db, w: attachments.listed(db, w.id, w.single),
    "attachments.of": lambda db, w: attachments.of(db, w.id, w.single),
    "notes.of": lambda db, w: notes.of(db, w.id, w.single),
    "announced.asked": lambda db, w: asked_for.asked(db, AnnouncementType.MESSAGE_READ),
    "announced.looking": lambda db, w: looked(db),
    "alerts.digests": digested,
    "failures_found.get": lambda db, w: failures_found.get(db, w.id, w.failure),
    "failures_found.noted": lambda db, w: failures_found.noted(db, w.id, Subject.OUTSIDE, "n8n"),
    "failures_found.page": lambda db, w: failures_found.page(db, w.id, Which(), None, 9),
    "failures_found.summary": lambda db, w: failures_found.summary(db, w.id, Which()),
    "failures_found.to_retry": lost_to_retry,
    "calls.find": lambda db, w: calls.find(db, w.call),
    "calls.flows_calling": lambda db, w: calls.flows_calling(db, w.webhook),
    "calls.hold": hold_for_a_call,
    "calls.name": lambda db, w: calls.name(db, w.id, w.calling.id),
    "announcing.listened": lambda db, w: announcing.listened(db, w.id),
    "webhook_deliveries.ready": lambda db, w: webhook_deliveries.ready(db, w.id, SOON),
    "webhook_deliveries.ahead": what_is_ahead,
    "reach.find": lambda db, w: reach.find(db, "c1"),
    "reach.kinds": routed_kinds,
    "reach.routed": routed,
    "reach.ways": the_ways,
    "singles.get": lambda db, w: singles.get(db, w.single),
    "singles.told": told,
    "consents.history": lambda db, w: consents.history(db, w.ada, None, 9),
    "consents.holding": lambda db, w: consents.holding(db, w.ada, "email", None),
    "consents.topics_of": lambda db, w: consents.topics_of(db, w.ada),
    "lists.members": lambda db, w: lists.members(db, w.news, MemberState.MEMBER, None, 9),
    "members.among": lambda db, w: members.among(db, [w.owner]),
    "preferences.choices": lambda db, w: preferences.choices(db, w.ada),
    "preferences.whose": lambda db, w: preferences.whose(db, w.accepted),
    "profile_notes.page": lambda db, w: profile_notes.page(db, w.ada, None, 9),
    "profiles.alive": lambda db, w: profiles.alive(db, w.ada),
    "profiles.survivor": lambda db, w: profiles.survivor(db, w.ada),
    "profiles_exported.people": lambda db, w: profiles_exported.people(db, w.ada),
    "profiles_exported.rows": lambda db, w: profiles_exported.rows(
        db, "identities", [w.ada], attributes.FROM_THE_START
    ),
    "profiles_searched.page": lambda db, w: profiles_searched.page(
        db, w.id, Search(names={IdentityKind.EMAIL: "ada@shop.example"}), None, 9
    ),
    "sign_ups.form": lambda db, w: sign_ups.form(db, w.id, w.news),
    "sign_ups.is_asked": lambda db, w: sign_ups.is_asked(db, w.news, w.ada),
    "suppressions.current": lambda db, w: suppressions.current(db, "email", "never@shop.example"),
    "suppressions.page": lambda db, w: suppressions.page(db, None, None, None, 9),
    "timelines.page": lambda db, w: timelines.page(db, w.id, w.bob, list(timelines.Kind), (SOON, w.ada), 9),
    "topics.all_of_them": lambda db, w: topics.all_of_them(db),
    "topics.get": lambda db, w: topics.get(db, w.topic),
    "attributes.get": lambda db, w: attributes.get(db, "name"),
    "attributes.page": lambda db, w: attributes.page(db, None, 9),
    "audit.page": lambda db, w: audit.page(db, None, 9),
    "schedules.page": lambda db, w: schedules.page(db, None, 9, starter=Starter.CAMPANILE),
    "campaigns.anyone": lambda db, w: campaigns.anyone(db, true()),
    "campaigns.draft": lambda db, w: campaigns.draft(db, w.draft.id),
    "campaigns.freezing": lambda db, w: campaigns.freezing(db, w.id, w.running.id),
    "campaigns.had_by_nobody": lambda db, w: those_had(db),
    "enrollments.agenda": lambda db, w: enrollments.agenda(db, w.id, w.flow.id, NOW),
    "enrollments.places": lambda db, w: enrollments.places(db, w.id, w.flow.id),
    "domains.get": lambda db, w: domains.get(db, w.domain),
    "domains.of_address": lambda db, w: domains.of_address(db, "ada@news.shop.example"),
    "domains.page": lambda db, w: domains.page(db, None, 9),
    "verified_senders.get": lambda db, w: verified_senders.get(db, w.sender),
    "verified_senders.of_email": lambda db, w: verified_senders.of_email(db, "shop@shop.example"),
    "verified_senders.page": lambda db, w: verified_senders.page(db, None, 9),
    "events.catalogue": lambda db, w: events.catalogue(db, None, 9),
    "events.named": lambda db, w: events.named(db, "Product Viewed"),
    "events.page": lambda db, w: events.page(db, events.Asked(profile_id=w.bob), None, 9),
    "events.refused": lambda db, w: events.refused(db, None, None, None, 9),
    "flows.check_names": names_are_known,
    "flows.check_webhooks": webhooks_are_known,
    "flows.numbers": lambda db, w: flows.numbers(db, [w.flow]),
    "flows.outcomes": lambda db, w: flows.outcomes(db, w.flow.id),
    "flows.passed": lambda db, w: flows.passed(db, w.flow.id),
    "flows.is_open": lambda db, w: flows.is_open(db, w.flow.id),
    "flows.published": lambda db, w: flows.published(db, w.flow.id),
    "imports.get": lambda db, w: imports.get(db, w.customers.id),
    "imports.locked": lambda db, w: imports.locked(db, w.customers.id),
    "imports.page": lambda db, w: imports.page(db, None, 9),
    "imports.refused_between": lambda db, w: imports.refused_between(db, w.customers.id, 1, 9),
    "imports.refusals": lambda db, w: imports.refusals(db, w.customers.id, 0, 9),
    "imported.try_out": tried,
    "invitations.page": lambda db, w: invitations.page(db, None, 9),
    "breakers.standings": lambda db, w: breakers.standings(db, w.id),
    "integrations.calls": lambda db, w: integrations.calls(db, w.id, w.key),
    "integrations.find": lambda db, w: integrations.find(db, w.id, IntegrationKind.N8N),
    "integrations.get": lambda db, w: integrations.get(db, w.id, IntegrationKind.N8N),
    "integrations.told": lambda db, w: integrations.told(db, w.id, "https://n8n.example"),
    "issuers.get": lambda db, w: issuers.get(db, w.issuer),
    "issuers.page": lambda db, w: issuers.page(db, None, 9),
    "keys.get": lambda db, w: keys.get(db, w.key),
    "keys.page": lambda db, w: keys.page(db, None, 9),
    "members.get": lambda db, w: members.get(db, w.owner),
    "listening.look": listened,
    "messages.by_step": lambda db, w: messages.by_step(db, w.running.id),
    "messages.counts": how_many,
    "messages.page": lambda db, w: messages.page(db, messages.of_profile(w.bob), None, 9),
    "messages.singles_page": listed,
    "messages.tally": tallied,
    "messages.unsubscribed": lambda db, w: messages.unsubscribed(db, w.running.id),
    "orders.find": lambda db, w: orders.find(db, str(w.order)),
    "orders.known": order_known,
    "orders.page": lambda db, w: orders.page(db, orders.Asked(), None, 9),
    "profiles.find": lambda db, w: profiles.find(db, IdentityKind.EMAIL, "ada@shop.example"),
    "profiles.person": lambda db, w: profiles.person(db, w.ada),
    "profiles.variables": lambda db, w: profiles.variables(db, w.ada),
    "profiles_found.find": lambda db, w: profiles_found.find(db, "ada@shop.example"),
    "profiles_found.ids": lambda db, w: profiles_found.ids(db, ["ada@shop.example", str(w.bob)]),
    "profiles_found.page": lambda db, w: profiles_found.page(db, w.id, None, 9),
    "quarantine.page": lambda db, w: quarantine.page(db, quarantine.Asked(), None, 9),
    "quarantine.waiting": lambda db, w: quarantine.waiting(db, w.aside),
    "quarantine.which": lambda db, w: quarantine.which(db, quarantine.Asked()),
    "provider_accounts.claim_name": claimed_name,
    "provider_accounts.changes": lambda db, w: provider_accounts.changes(db, w.provider, None, 9),
    "provider_accounts.day": lambda db, w: provider_accounts.day(db, w.provider, NOW.date()),
    "provider_accounts.get": lambda db, w: provider_accounts.get(db, w.provider),
    "provider_accounts.name": lambda db, w: provider_accounts.name(db, w.provider),
    "provider_accounts.page": lambda db, w: provider_accounts.page(db, None, 9),
    "roads.find": the_roads,
    "roads.in_the_way": in_its_way,
    "routes.get": lambda db, w: routes.get(db, w.route),
    "routes.page": lambda db, w: routes.page(db, None, None, None, 9),
    "routes.ways": lambda db, w: routes.ways(db, Channel.EMAIL, MessageClass.MARKETING, NOW.date()),
    "providers.accounts": lambda db, w: providers.accounts(db, w.id),
    "providers.routes": lambda db, w: providers.routes(db, w.id),
    "queued.ahead": ahead,
    "queued.hasten": hastened,
    "rows.exists": lambda db, w: rows.exists(db, Campaign, w.draft.id),
    "rows.get": lambda db, w: rows.get(db, Campaign, w.draft.id),
    "rows.page": lambda db, w: rows.page(db, Campaign, None, 9),
    "rows.use": lambda db, w: rows.use(db, "x", "campaign", Campaign.name, Campaign.state, true()),
    "estimates.estimate": lambda db, w: estimated(db),
    "hot_values.ready": lambda db, w: hot_values.ready(db),
    "persons.load": lambda db, w: persons.load(db, w.ada, EVERYTHING),
    "segment_fields.attributes": lambda db, w: segment_fields.attributes(db),
    "segment_fields.by_name": lambda db, w: segment_fields.by_name(db, ["Everybody"]),
    "segment_fields.currencies": lambda db, w: segment_fields.currencies(db),
    "segment_fields.events": lambda db, w: segment_fields.events(db),
    "segment_fields.quintiles": lambda db, w: segment_fields.quintiles(db, NOW, "USD"),
    "segment_fields.tags": lambda db, w: segment_fields.tags(db),
    "segment_fields.things": lambda db, w: segment_fields.things(db),
    "segment_names.called": lambda db, w: segment_names.called(db, [on_a_list(w)]),
    "segment_names.check": those_named,
    "segment_names.check_unused": kept_by_a_segment,
    "segment_reports.entered_at": lambda db, w: segment_reports.entered_at(db, w.segment, w.ada),
    "segment_reports.history": sized,
    "segment_reports.members": lambda db, w: segment_reports.members(db, w.segment, None, None, 9),
    "segment_reports.overlap": shared,
    "segment_reports.uses": used,
    "segment_reports.versions": lambda db, w: segment_reports.versions(db, w.segment, None, 9),
    "recalculations.begin": begun,
    "recalculations.doubt": doubted,
    "recalculations.ripe": lambda db, w: recalculations.ripe(db, w.segment, NOW),
    "recalculations.still_means": means_the_same,
    "segments_written.hold": lambda db, w: segments_written.hold(db, w.segment),
    "segments_written.meaning": understood,
    "segments_written.resolved": resolved,
    "templates.get": lambda db, w: templates.get(db, w.template),
    "templates.newest": lambda db, w: templates.newest(db, w.template),
    "templates.page": lambda db, w: templates.page(db, None, 9),
    "templates.said": lambda db, w: templates.said(db, [w.version]),
    "templates.channels": lambda db, w: templates.channels(db, [w.template]),
    "text_costs.by_prefix": lambda db, w: text_costs.by_prefix(db, true(), "transactional", ["+1"]),
    "text_costs.prices": lambda db, w: text_costs.prices(db, "marketing"),
    "text_costs.reachable": lambda db, w: text_costs.reachable(db, true(), IdentityKind.EMAIL),
    "text_costs.sample": lambda db, w: text_costs.sample(db, true(), "transactional", 9),
    "templates.channel_of": lambda db, w: templates.channel_of(db, w.template),
    "ways.entrance": lambda db, w: ways.entrance(db, w.id, w.flow.id),
    "ways.graphs": lambda db, w: ways.graphs(db, w.flow.id),
    "webhook_log.get": lambda db, w: webhook_log.get(db, w.webhook, w.delivery),
    "webhook_log.page": lambda db, w: webhook_log.page(db, w.webhook, webhook_log.Asked(), None, 9),
    "webhooks.get": lambda db, w: webhooks.get(db, w.webhook),
    "webhooks.page": lambda db, w: webhooks.page(db, None, 9),
    "webhooks.pending": pending,
    "workspaces.get": lambda db, w: workspaces.get(db, w.id),
}

# How it is said that something is not there.
REFUSALS = (CampanileError, NoResultFound, IntegrityError, ProgrammingError)

NAMED = {"name": "Changed"}
WEBHOOK = {"name": "x", "url": "https://a.example", "event_types": [], "secret": "v1.x.x"}
LETTER = letters.Template("Subject", "<p>Changed</p>", None, None)

# What each of them does in its workspace changes what is there.
WRITES: dict[str, Call] = {
    "holds.count": lambda db, w: holds.count(db, w.id, {"email": Fared(hard=1)}, NOW.date(), []),
    "holds.hold": lambda db, w: holds.hold(db, w.id, "email", "It was too much.", NOW),
    "holds.release": lambda db, w: holds.release(db, w.id, "sms", "Ada", NOW, NOW.date(), []),
    "people_reporting.suppress": lambda db, w: people_reporting.suppress(
        db, {("email", "ada@shop.example"): (SuppressionReason.HARD_BOUNCE, "test")}, NOW
    ),
    "people_reporting.is_first": lambda db, w: people_reporting.is_first(
        db, "help", "+4915112345678", NOW, timedelta(hours=1)
    ),
    "people_reporting.take_at_their_word": lambda db, w: people_reporting.take_at_their_word(
        db, Word("email", "ada@shop.example", w.ada, w.accepted, None, False, SOON), SOON
    ),
    "attachments.add": lambda db, w: attachments.add(db, w.id, [(w.single, File("b", "a/b", b"x"))]),
    "bodies.version": lambda db, w: bodies.version(db, w.id, letters.Template("Hi", "<p>Others</p>")),
    "announcing.announce": announced,
    "announced_members.entered": lambda db, w: announced_members.entered(db, [w.journey], NOW),
    "announced_members.moved": lambda db, w: announced_members.moved(db, [w.journey], NOW),
    "announced_members.ended": lambda db, w: announced_members.ended(db, [w.journey], NOW),
    "announced_members.newcomers": newcomers_told,
    "announced_messages.ended": lambda db, w: announced_messages.ended(
        db, {w.accepted: MessageState.ACCEPTED}, NOW
    ),
    "announced_messages.skipped": lambda db, w: announced_messages.skipped(db, [w.accepted], NOW),
    "announced_messages.tell_of": lambda db, w: announced_messages.tell_of(
        db, [announced_messages.Said(w.accepted, AnnouncementType.MESSAGE_DELIVERED)], NOW
    ),
    "announced_people.consented": lambda db, w: announced_people.consented(
        db, [announced_people.Said(w.ada, "email", "denied", "form")], NOW
    ),
    "announced_people.created": lambda db, w: announced_people.created(db, [w.ada], NOW),
    "announced_people.erased": lambda db, w: announced_people.erased(db, w.ada, NOW),
    "announced_people.merged": lambda db, w: announced_people.merged(db, {w.ada: w.bob}, NOW),
    "announced_people.updated": lambda db, w: announced_people.updated(db, {w.ada: {"name": "x"}}, NOW),
    "announced_states.breaker": lambda db, w: announced_states.breaker(
        db, w.id, w.provider, BreakerState.OPEN, Standing(NOW, NOW), NOW
    ),
    "announced_states.campaign_moved": lambda db, w: announced_states.campaign_moved(
        db, w.running.id, CampaignState.PAUSED, NOW
    ),
    "announced_states.campaign_started": lambda db, w: announced_states.campaign_started(db, w.running, NOW),
    "announced_states.flow_moved": lambda db, w: announced_states.flow_moved(
        db, w.flow.id, FlowState.PAUSED, NOW
    ),
    "announced_states.flow_published": lambda db, w: announced_states.flow_published(db, w.flow, 1, NOW),
    "announced_states.import_finished": import_told,
    "calls.answer": answered,
    "calls.forget": lambda db, w: calls.forget(db, [w.called]),
    "calls.write": called_about,
    "webhook_deliveries.claim": claimed_delivery,
    "webhook_deliveries.settle": settled_delivery,
    "webhook_health.fared": lambda db, w: webhook_health.fared(
        db, w.id, [Health(w.webhook, good=False, failures=9)], SOON
    ),
    "webhook_health.disable": disabled_webhook,
    "webhook_health.off": seen_off,
    "webhook_health.close_stranded": closed_stranded,
    "webhook_health.close_expired": closed_expired,
    "failures.note": lambda db, w: failures.note(db, w.id, [A_FAILURE], NOW),
    "failures.note_messages": failure_noted,
    "failures.known": failure_known,
    "webhook_log.replay": lambda db, w: replayed(db, w, None),
    "webhook_log.replay_one": lambda db, w: replayed(db, w, w.delivery),
    "webhook_log.tell": sent_a_test,
    "webhooks.change": lambda db, w: hooked(db, w, lambda hook: webhooks.change(db, hook, NAMED, NOW)),
    "webhooks.create": lambda db, w: webhooks.create(db, w.id, uuid4(), WEBHOOK),
    "webhooks.delete": uncalled_deleted,
    "webhooks.rotate": lambda db, w: hooked(db, w, lambda hook: webhooks.rotate(db, hook, "new", SOON)),
    "failures_found.acknowledge": lambda db, w: failures_found.acknowledge(db, w.id, Which(), "Ada", NOW),
    "failures_found.acknowledge_one": lambda db, w: failures_found.acknowledge_one(
        db, w.id, w.failure, "Ada", NOW
    ),
    "failures_retried.retry": retried,
    "alerts.count": lambda db, w: alerts.count(db, w.id, NOW),
    "alerts.told": lambda db, w: alerts.told(db, w.id, [w.alert], NOW),
    "notes.add": lambda db, w: notes.add(db, w.id, [notes.Note(w.single, NOW, "x")]),
    "singles.write": lambda db, w: singles.write(db, w.id, [a_single(w)], NOW),
    "consents.choose": lambda db, w: consents.choose(db, w.ada, w.topic, ConsentState.DENIED, "person", NOW),
    "lists.add": lambda db, w: lists.add(db, w.news, [w.ada], "test", NOW),
    "lists.change": lambda db, w: lists.change(db, w.news, NAMED),
    "lists.create": lambda db, w: lists.create(db, w.id, NAMED),
    "lists.remove": lambda db, w: lists.remove(db, w.news, NOW),
    "lists.take_off": lambda db, w: lists.take_off(db, w.news, [w.bob], "test", NOW),
    "preferences.choose": lambda db, w: preferences.choose(db, w.ada, [w.topic], [], NOW),
    "preferences.want_nothing": lambda db, w: preferences.want_nothing(db, w.ada, NOW),
    "profile_notes.remove": lambda db, w: profile_notes.remove(db, w.ada, w.note),
    "profile_notes.tag": lambda db, w: profile_notes.tag(db, w.id, w.ada, "late", NOW),
    "profile_notes.untag": lambda db, w: profile_notes.untag(db, w.ada, "early", NOW),
    "profile_notes.write": lambda db, w: profile_notes.write(db, w.id, w.ada, "x", "Eve", NOW),
    "profiles.lift": lifted,
    "profiles_written.write": lambda db, w: profiles_written.write(
        db, w.id, [Item(names={IdentityKind.EMAIL: "ada@shop.example"}, attributes={"x": 1})], NOW
    ),
    "sign_ups.ask": lambda db, w: sign_ups.ask(db, w.id, w.news, "new@shop.example", NOW),
    "sign_ups.confirm": lambda db, w: sign_ups.confirm(db, w.news, w.ada, NOW),
    "sign_ups.write_to": lambda db, w: sign_ups.write_to(
        db, w.id, w.news, "x@shop.example", "https://x.example", public_url="https://x.example", now=NOW
    ),
    "suppressions.end": lambda db, w: suppressions.end(db, w.suppression, NOW),
    "topics.change": lambda db, w: topics.change(db, w.topic, NAMED),
    "topics.create": lambda db, w: topics.create(db, w.id, NAMED | {"purpose": "email"}),
    "topics.remove": lambda db, w: topics.remove(db, w.topic, NOW),
    "traces.forget": quoted,
    "attributes.change": lambda db, w: attributes.change(db, w.id, "name", hot=False),
    "attributes.fill": lambda db, w: attributes.fill(db, w.id, "name"),
    "attributes.keep_values": lambda db, w: attributes.keep_values(db, w.id, [w.ada, w.bob]),
    "attributes.note": lambda db, w: attributes.note(
        db, w.id, attributes.GIVEN, NOW, {"names": ["new"], "values": ["1"]}
    ),
    "audit.note": lambda db, w: audit.note(db, w.id, "started", "campaign", w.running.id),
    "campaigns.begin": lambda db, w: campaigns.begin(db, w.draft.id, NOW),
    "campaigns.change": lambda db, w: campaigns.change(db, w.draft.id, NAMED),
    "campaigns.create": lambda db, w: campaigns.create(db, w.id, a_campaign(w)),
    "campaigns.delete": lambda db, w: campaigns.delete(db, w.draft.id),
    "campaigns.freeze": lambda db, w: campaigns.freeze(db, w.running.id, select(Profile.id), 9, NOW),
    "schedules.cancel": lambda db, w: schedules.cancel(db, w.planned, NOW),
    "schedules.fail": lambda db, w: schedules.fail(db, w.planned, SOON, "It is empty.", NOW),
    "schedules.leave": lambda db, w: schedules.leave(db, w.awaited, SOON),
    "schedules.schedule": lambda db, w: schedules.schedule(
        db, w.draft.id, Meant(SOON), "Europe/Berlin", Starter.N8N, NOW
    ),
    "schedules.unschedule": lambda db, w: schedules.unschedule(db, w.planned),
    "campaigns.move": lambda db, w: campaigns.move(db, w.running.id, UNDER_WAY, CampaignState.CANCELLED),
    "domains.create": lambda db, w: domains.create(db, w.id, uuid4(), DOMAIN | {"name": "new.example"}),
    "domains.delete": unused_domain_deleted,
    "domains.note": lambda db, w: domains.note(db, w.domain, [], SOON, verified=None, returns=True),
    "verified_senders.confirm": confirmed,
    "verified_senders.delete": lambda db, w: verified_senders.delete(db, w.sender, ()),
    "verified_senders.expect": sender_expected,
    "verified_senders.let_go": lambda db, w: verified_senders.let_go(db, w.domain),
    "verified_senders.put": lambda db, w: verified_senders.put(db, w.id, "new@shop.example", NOW),
    "verified_senders.settle": settled,
    "verified_senders.touch": lambda db, w: verified_senders.touch(db, w.id),
    "verified_senders.vouch": vouched,
    "enrollments.end_all": lambda db, w: enrollments.end_all(db, w.id, w.flow.id, enrollments.FIRST, NOW),
    "enrollments.enroll": lambda db, w: enrollments.enroll(db, w.id, w.flow.id, [(w.bob, "once", {})], NOW),
    "enrollments.enter_page": lambda db, w: enrollments.enter_page(
        db, version_of(w.flow), select(Profile.id), NOW
    ),
    "enrollments.let_in": let_in,
    "enrollments_moved.advance": lambda db, w: enrollments_moved.advance(db, w.move, SOON, 9),
    "enrollments_moved.go_on": lambda db, w: enrollments_moved.go_on(
        db, w.id, w.letters.id, [w.closed], w.onward, NOW
    ),
    "enrollments_moved.settling": lambda db, w: db.execute(
        *enrollments_moved.settling(
            ledger.settling(w.queue, w.wire, [ledger.Settled(w.sending, MessageState.ACCEPTED)], NOW, SOON),
            w.letters.id,
            w.onward,
            NOW,
        )
    ),
    "events.mark": lambda db, w: events.mark(db, "Product Viewed", server_only=True),
    "flows.change": lambda db, w: flows.change(db, w.flow.id, NAMED),
    "flows.create": lambda db, w: flows.create(db, w.id, NAMED | {"slug": "x", "definition": {}}),
    "flows.delete": lambda db, w: flows.delete(db, w.unpublished),
    "flows.move": lambda db, w: flows.move(db, w.flow.id, [FlowState.LIVE], FlowState.PAUSED),
    "flows.publish": lambda db, w: flows.publish(db, w.flow.id),
    "happenings.enter": lambda db, w: ordered(db, w, w.bob, happenings.enter),
    "happenings.of_orders": lambda db, w: happenings.of_orders(db, w.id, [w.order], NOW),
    "happenings.wake": lambda db, w: ordered(db, w, w.ada, happenings.wake),
    "happenings.work_in": lambda db, w: ordered(db, w, w.ada, happenings.work_in),
    "idempotency.begin": lambda db, w: idempotency.begin(db, w.once._replace(key="new"), b"x", NOW),
    "idempotency.keep": lambda db, w: idempotency.keep(db, w.once, 200, [], b"{}"),
    "imported.store": stored,
    "imported_customers.deny": lambda db, w: imported_customers.deny(
        db, w.customers, [Denial(2, None, "ada@shop.example", ("email",))], NOW
    ),
    "imported_customers.store": customers_stored,
    "imported_orders.store": orders_stored,
    "imports.forget_file": lambda db, w: imports.forget_file(db, w.customers.id),
    "imports.move": lambda db, w: imports.move(db, w.customers, state="running"),
    "imports.refuse": lambda db, w: imports.refuse(db, w.customers, [Refusal(3, "email", "x")]),
    "imports.upload": lambda db, w: imports.upload(
        db, w.id, ImportKind.ORDERS, "x.csv", a_piece(), live=False
    ),
    "invitations.create": lambda db, w: invitations.create(
        db, w.id, "eve@shop.example", "admin", "another-token-of-the-tests", "Ada", NOW
    ),
    "invitations.revoke": lambda db, w: invitations.revoke(db, w.invitation, NOW),
    "breakers.attempt": lambda db, w: breakers.attempt(db, w.id, w.provider, NOW),
    "breakers.change": lambda db, w: breakers.change(
        db, w.id, w.provider, lambda standing: released(standing, SOON), NOW
    ),
    "breakers.note": lambda db, w: breakers.note(db, w.id, w.provider, Tally(calls=1, well=1), NOW),
    "buckets.count": lambda db, w: buckets.count(db, w.id, w.provider, NOW.date(), Counts(accepted=1)),
    "buckets.lease": lambda db, w: buckets.lease(db, w.id, {"workspace": Ask(1, 1, 5)}, NOW),
    "buckets.lease_day": lambda db, w: buckets.lease_day(db, w.id, w.provider, NOW.date(), 1, 5),
    "provider_accounts.change": lambda db, w: provider_accounts.change(db, w.provider, NAMED),
    "provider_accounts.create": lambda db, w: provider_accounts.create(
        db, w.id, uuid4(), {"name": "x", "kind": "smtp", "channel": "email"}
    ),
    "provider_accounts.delete": lambda db, w: provider_accounts.delete(db, w.unrouted, NOW),
    "provider_tests.queue": lambda db, w: provider_tests.queue(
        db, w.id, w.provider, Channel.SMS, "+4917012345678", [], NOW
    ),
    "routes.change": lambda db, w: routes.change(db, w.route, {"weight": 7}),
    "routes.create": lambda db, w: routes.create(
        db, w.id, {"channel": "email", "message_class": "transactional", "provider_id": w.provider}
    ),
    "routes.remove": lambda db, w: routes.remove(db, w.route),
    "integrations.delete": lambda db, w: integrations.delete(db, w.id, IntegrationKind.N8N),
    "integrations.put": n8n_moved,
    "issuers.change": lambda db, w: issuers.change(db, w.id, w.issuer, NAMED),
    "issuers.create": lambda db, w: issuers.create(db, w.id, uuid4(), ISSUER),
    "issuers.delete": lambda db, w: issuers.delete(db, w.id, w.issuer),
    "keys.create": lambda db, w: keys.create(db, w.id, new_key(KeyKind.SECRET), "x", []),
    "keys.revoke": lambda db, w: keys.revoke(db, w.key, NOW),
    "keys.rotate": lambda db, w: keys.rotate(db, w.key, new_key(KeyKind.SECRET), SOON, NOW),
    "claims.claim": lambda db, w: claims.claim(db, w.queue, uuid4(), NOW, 60, 9),
    "ledger.dropping_lease": lambda db, w: bookkeeping.drop_lease(db, w.queue, w.attempt),
    "ledger.give_back": lambda db, w: ledger.give_back(db, w.id, [w.claimed]),
    "ledger.marking": lambda db, w: bookkeeping.mark(db, w.queue, w.attempt, [(w.claimed, ["Eve"])], NOW),
    "ledger.put_back": lambda db, w: ledger.put_back(db, w.queue, w.attempt, [w.claimed], NOW),
    "ledger.recover": lambda db, w: ledger.recover(db, w.lost, NOW, SOON),
    "ledger.renewing": lambda db, w: bookkeeping.renew(db, w.queue, w.attempt, 600),
    "ledger.accepting": accepted,
    "ledger.settling": lambda db, w: bookkeeping.settle(
        db, w.queue, w.wire, [ledger.Settled(w.sending, MessageState.ACCEPTED)], NOW, SOON
    ),
    "ledger.skip_unsendable": lambda db, w: ledger.skip_unsendable(
        db, w.queue, w.attempt, [ledger.Unsendable(w.claimed, Skip.TEMPLATE_ERROR, "It lacks a name.")], NOW
    ),
    "members.change_role": lambda db, w: members.change_role(db, w.marketer, Role.ADMIN),
    "members.hand_over": lambda db, w: members.hand_over(db, w.owner, w.marketer),
    "members.remove": lambda db, w: members.remove(db, w.marketer),
    "messages.queue_letters": lettered,
    "orders.change": order_changed,
    "orders.place": order_placed,
    "profiles.consent": lambda db, w: profiles.consent(
        db, w.ada, Purpose.EMAIL, ConsentState.DENIED, "form", NOW
    ),
    "profiles.suppress": lambda db, w: profiles.suppress(
        db, "email", "ada@shop.example", SuppressionReason.COMPLAINED, "test", NOW
    ),
    "profiles.unsubscribe": lambda db, w: profiles.unsubscribe(db, w.accepted, NOW),
    "profiles.unsubscribe_profile": lambda db, w: profiles.unsubscribe_profile(db, w.ada, NOW, "form"),
    "profiles_erased.erase": lambda db, w: profiles_erased.erase(db, w.bob, NOW),
    "profiles_merged.merge": lambda db, w: profiles_merged.merge(db, w.ada, w.bob, NOW),
    "queued.cancel": lambda db, w: queued.cancel(db, w.queue, NOW),
    "recalculations.fail": failed,
    "recalculations.finish": finished,
    "recalculations.write_down": written_down,
    "segments_written.ask_again": lambda db, w: segments_written.ask_again(db, w.segment, NOW, announce=True),
    "segments_written.ask_all_again": all_asked,
    "segments_written.ask_readers_again": readers_asked,
    "segments_written.change": lambda db, w: segments_written.change(db, w.segment, NAMED),
    "segments_written.create": lambda db, w: segments_written.create(db, w.id, "x", {"all": []}),
    "segments_written.delete": lambda db, w: segments_written.delete(db, w.unused_segment),
    "templates.change": lambda db, w: templates.change(db, w.template, "x", LETTER),
    "templates.create": lambda db, w: templates.create(db, w.id, "x", LETTER),
    "templates.delete": lambda db, w: templates.delete(db, w.unused_template),
    "workspaces.change": lambda db, w: workspaces.change(db, w.id, NAMED),
    "workspaces.delete": closed,
}


def test_every_query_function_has_its_line_here() -> None:
    found = set()
    for path in (ROOT / "models" / "queries").glob("[a-z]*.py"):
        module = import_module(f"models.queries.{path.stem}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            ours = function.__module__ == module.__name__ and not name.startswith("_")
            signature = inspect.signature(function)
            queries = inspect.iscoroutinefunction(function) and next(iter(signature.parameters)) == "db"
            if ours and (queries or signature.return_annotation is Asked):
                found.add(path.stem if path.stem in LEFT_OUT else f"{path.stem}.{name}")

    assert found == READS.keys() | WRITES.keys() | LEFT_OUT.keys()


@pytest.fixture
async def here(sessions: Sessions) -> Filled:
    return await filled(sessions)


async def test_in_its_own_workspace_each_function_does_what_it_is_for(
    sessions: Sessions, here: Filled
) -> None:
    before = await contents(sessions, here.id)
    idle = []
    for name, call in (READS | WRITES).items():
        async with sessions(here.id, '{"kind": "user", "name": "Ada"}') as db:
            answer = await call(db, here)
            await db.flush()
            if not (answer if name in READS else await contents_of(db) != before):
                idle.append(name)
            await db.rollback()

    assert idle == []
    assert await contents(sessions, here.id) == before


async def test_under_another_workspace_no_function_finds_or_changes_anything(
    sessions: Sessions, here: Filled
) -> None:
    before = await contents(sessions, here.id)
    seen = []
    for name, call in (READS | WRITES).items():
        try:
            async with sessions(here.other, '{"kind": "user", "name": "Eve"}') as db:
                if await call(db, here) and name in READS:
                    seen.append(name)
        except REFUSALS as error:
            if isinstance(error, ProgrammingError) and "row-level security" not in str(error):
                raise
        now = await contents(sessions, here.id)
        assert now == before, f"{name} changed what is another workspace's"

    assert seen == []
