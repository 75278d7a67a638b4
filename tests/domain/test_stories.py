from dataclasses import replace
from datetime import timedelta

from domain.messages import Fate, Interaction, MessageState, Skip, SourceKind
from domain.stories import Deed, Line, Told, asked, refused, story
from tests.people import NOON

LINE = Line(
    state=MessageState.QUEUED,
    source_kind=SourceKind.OUTBOX,
    source=None,
    step="single",
    channel="email",
    resend=0,
    attempts=0,
    created_at=NOON,
    due_at=NOON,
    claimed_at=None,
    marked_at=None,
    closed_at=None,
    address=None,
    reason=None,
    detail=None,
    provider=None,
    provider_id=None,
    fate=None,
    reported_at=None,
)
SENT = replace(
    LINE,
    state=MessageState.ACCEPTED,
    attempts=2,
    due_at=NOON + timedelta(seconds=10),
    claimed_at=NOON + timedelta(seconds=10),
    marked_at=NOON + timedelta(seconds=10),
    closed_at=NOON + timedelta(seconds=11),
    address="ada@example.com",
    provider='"Main"',
    provider_id="0100",
)


def words(line: Line, notes: list[Told] | None = None, deeds: list[Deed] | None = None) -> list[str]:
    return [each.what for each in story(line, notes or [], deeds or [], NOON)]


def test_a_single_message_is_told_from_the_request_to_the_click() -> None:
    notes = [
        Told(NOON, asked("key", "shop", "By email, the first that is open.")),
        Told(NOON + timedelta(seconds=2), refused('"Other"', "429 too many requests")),
    ]
    deeds = [
        Deed(Interaction.CLICKED, NOON + timedelta(minutes=6), 1),
        Deed(Interaction.OPENED, NOON + timedelta(minutes=5), None),
    ]
    line = replace(SENT, fate=Fate.DELIVERED, reported_at=NOON + timedelta(seconds=20))

    assert words(line, notes, deeds) == [
        'The key "shop" asked for it. By email, the first that is open.',
        '"Other" did not take it: 429 too many requests.',
        "Its turn came again, for ada@example.com.",
        'It went out by "Main".',
        "It was accepted, as 0100.",
        "It was delivered.",
        "It was opened.",
        "Its link 2 was followed.",
    ]


def test_who_decided_it_is_named() -> None:
    campaign = replace(SENT, source_kind=SourceKind.CAMPAIGN, source="Winter letter", step="send")
    flow = replace(SENT, source_kind=SourceKind.FLOW, source="Welcome", step="hello")

    assert words(campaign)[0] == 'The campaign "Winter letter" decided to send it.'
    assert words(flow)[0] == 'The flow "Welcome" decided to send it, at its step "hello".'
    assert words(replace(campaign, step="test"))[0] == "Somebody asked for a test."
    assert words(SENT)[0] == "It was asked for."
    assert words(replace(SENT, resend=1))[0].startswith("It is sent again")


def test_what_a_message_waits_for_comes_last_when_it_is_due() -> None:
    later = NOON + timedelta(hours=9)
    quiet = replace(LINE, due_at=later, detail="quiet hours")
    refused_ = replace(LINE, attempts=1, marked_at=NOON, due_at=later, reason="421 try again later")

    assert story(quiet, [], [], NOON, "Its flow is paused.")[-1] == Told(later, "It waits: quiet hours.")
    assert words(refused_)[-1] == "It waits to be tried again: 421 try again later."
    assert words(LINE)[-1] == "It waits for its turn."


def test_a_message_that_is_overdue_says_what_keeps_it_and_that_it_does_so_now() -> None:
    now, why = NOON + timedelta(hours=1), "There is no route for sms."
    tried = replace(LINE, attempts=1, marked_at=NOON + timedelta(minutes=5), reason="503 down")

    assert story(LINE, [], [], now, why) == [
        Told(NOON, "It was asked for."),
        Told(now, "It waits. There is no route for sms."),
    ]
    told = story(tried, [], [], now, why)
    assert told[-1].what == "It waits to be tried again: 503 down. There is no route for sms."
    assert [each.at for each in told] == sorted(each.at for each in told)


def test_what_waits_to_be_tried_again_was_asked_for_and_offered_rather_than_sent() -> None:
    waits = replace(SENT, state=MessageState.QUEUED, attempts=1, closed_at=None, reason="no connection")
    notes = [Told(NOON + timedelta(seconds=11), refused('"Main"', "no connection"))]

    assert words(waits, notes) == [
        "It was asked for.",
        "Its turn came, for ada@example.com.",
        'It was offered to "Main".',
        '"Main" did not take it: no connection.',
        "It waits to be tried again: no connection.",
    ]


def test_tries_that_no_note_tells_of_are_told_with_the_last() -> None:
    campaign = replace(SENT, source_kind=SourceKind.CAMPAIGN, source="Winter letter")

    assert words(campaign)[2] == 'It went out by "Main", after an earlier try that was not taken.'
    reported_before = [Told(NOON + timedelta(minutes=1), "The provider is still trying to deliver it.")]
    assert words(campaign, reported_before)[2] == words(campaign)[2]
    assert (
        words(replace(campaign, attempts=3))[2]
        == 'It went out by "Main", after 2 earlier tries that were not taken.'
    )


def test_a_turn_that_is_not_the_first_says_so() -> None:
    then = NOON + timedelta(minutes=1)
    claimed = replace(SENT, state=MessageState.CLAIMED, attempts=1, claimed_at=then, due_at=then)
    waits = replace(SENT, state=MessageState.QUEUED, attempts=1, closed_at=None, reason="503 down")

    assert "Its turn came again, for ada@example.com." in words(claimed)
    assert "Its turn came, for ada@example.com." in words(waits)
    assert "Its turn came, for ada@example.com." in words(replace(SENT, attempts=1))


def test_who_waited_for_their_turn_sees_how_long() -> None:
    then = NOON + timedelta(minutes=20)
    waited = replace(SENT, attempts=1, claimed_at=then, marked_at=then, closed_at=then, due_at=NOON)

    assert words(waited)[1] == "Its turn came, for ada@example.com, 1,200 s after it was due."
    assert words(replace(waited, due_at=then))[1] == "Its turn came, for ada@example.com."


def test_a_lost_answer_is_told_as_such_until_a_report_says_more() -> None:
    reported = replace(
        SENT, attempts=1, provider_id=None, fate=Fate.DELIVERED, reported_at=NOON + timedelta(seconds=20)
    )

    assert words(reported)[2:] == [
        'It went out by "Main".',
        "Nobody heard whether it was accepted.",
        "Its report says that it was.",
        "It was delivered.",
    ]


def test_every_reason_and_every_fate_has_its_words() -> None:
    closed = replace(LINE, closed_at=NOON, state=MessageState.SKIPPED)
    skipped = {words(replace(closed, reason=skip))[-1] for skip in Skip}
    fates = {words(replace(SENT, fate=fate))[-1] for fate in Fate}

    assert len(skipped) == len(Skip)
    assert all(each.startswith("It was not sent: ") and each.endswith(".") for each in skipped)
    assert len(fates) == len(Fate)


def test_what_failed_and_what_nobody_knows_say_why() -> None:
    failed = replace(SENT, state=MessageState.FAILED, reason="550 no such user")
    unknown = replace(
        SENT, state=MessageState.UNKNOWN, reason="the worker stopped before the answer was known"
    )

    assert words(failed)[-1] == "It was refused for good: 550 no such user."
    assert words(failed)[-2] == 'It was offered to "Main", after an earlier try that was not taken.'
    assert words(unknown)[-2].startswith('It may have gone out by "Main"')
    assert words(unknown)[-1] == (
        "Nobody knows whether it was accepted: the worker stopped before the answer was known."
    )
