"""Which way messages would go, in words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from domain.breakers import BreakerState, Standing, Tally
from domain.channels import Channel
from domain.road_plans import Way, in_words, plan, standing_in_words

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
SOON = NOW + timedelta(seconds=25)


def a_way(
    name: str,
    priority: int = 1,
    weight: int = 1,
    left: int | None = None,
    state: BreakerState = BreakerState.CLOSED,
    until: datetime | None = None,
) -> Way:
    standing = Standing(NOW, NOW, state=state, until=until)
    return Way(uuid4(), uuid4(), name, priority, weight, standing, left)


OPEN, HALF_OPEN, HELD = BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.HELD


@pytest.mark.parametrize(
    ("state", "until", "reason", "said"),
    [
        (BreakerState.CLOSED, None, None, "It works."),
        (BreakerState.CLOSED, NOW, None, "It works."),
        (BreakerState.CLOSED, SOON, "429", "It asked to be left alone until 09:00:25 UTC."),
        (OPEN, SOON, "503.", "It is left alone until 09:00:25 UTC: 503."),
        (OPEN, NOW, None, "It failed, and the next few messages try it again."),
        (HALF_OPEN, SOON, None, "It failed, and a few messages are trying it again."),
        (HELD, None, "Cats.", "It is held by hand until somebody releases it: Cats."),
    ],
)
def test_how_a_provider_stands_is_a_sentence(
    state: BreakerState, until: datetime | None, reason: str | None, said: str
) -> None:
    standing = Standing(NOW, NOW, state=state, until=until, reason=reason)

    assert standing_in_words(standing, NOW) == said


def test_a_provider_of_which_too_few_calls_failed_to_be_left_alone_is_not_said_to_work() -> None:
    standing = Standing(NOW, NOW, window=Tally(calls=4, bad_calls=2, well=3, badly=2))

    assert standing_in_words(standing, SOON) == (
        f"Of its last calls, since {NOW:%H:%M:%S} UTC, 2 of 4 failed; it is left alone after 3 within 10 s."
    )


def test_what_nothing_was_sent_by_is_open() -> None:
    assert standing_in_words(None, NOW) == "Nothing was sent by it yet."
    new = replace(a_way("SES"), standing=None)
    assert [turn.share for turn in plan([new], NOW)] == [1]


def test_those_that_are_left_out_leave_their_share_to_the_others() -> None:
    held = a_way("Held", weight=8, state=BreakerState.HELD)

    turns = plan([held, a_way("Small"), a_way("Big", weight=3)], NOW)

    assert [(turn.way.provider, turn.share) for turn in turns] == [
        ("Held", None),
        ("Big", 0.75),
        ("Small", 0.25),
    ]


def test_a_pause_that_is_over_lets_messages_try() -> None:
    tried = a_way("SES", state=BreakerState.OPEN, until=NOW)

    assert plan([tried], NOW)[0].why_not is None


def test_a_warm_up_that_is_used_up_leaves_nothing() -> None:
    [turn] = plan([a_way("SES", left=0)], NOW)

    assert (turn.share, turn.why_not) == (None, "Its warm-up allows no more messages today.")


def test_the_plan_is_said_in_words() -> None:
    one, two = a_way("SES", weight=3), a_way("SendGrid")
    late = a_way("SMTP", priority=2)
    held = a_way("Mixmax", state=BreakerState.HELD)

    assert in_words(plan([one], NOW), Channel.EMAIL) == "Messages go by SES."
    assert (
        in_words(plan([one, two, late], NOW), Channel.EMAIL)
        == "Messages go by SES (75%) and SendGrid (25%). If that fails: SMTP."
    )
    assert "wait in the queue" in in_words(plan([held], NOW), Channel.EMAIL)
    assert "own server" in in_words([], Channel.EMAIL)
    assert "make one" in in_words([], Channel.SMS)
