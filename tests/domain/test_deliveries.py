"""When a delivery is tried again, and what a few tries say of their webhook."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from domain.deliveries import GIVEN_UP_AFTER, PAUSES, Health, Try, health, next_due

BEGAN = datetime(2026, 3, 2, 12, tzinfo=UTC)
WEBHOOK = UUID(int=7)
GOOD = Try(BEGAN, 0.1, 200)
BAD = Try(BEGAN, 0.1, 500, "The receiver answered 500")


def failed(at: datetime, **values: float | bool | int) -> Try:
    return Try(at, 0.1, reason="There was no answer", **values)  # type: ignore[arg-type]


def test_it_is_tried_about_as_often_as_the_schedule_says_and_at_last_after_three_days() -> None:
    id_, now, at = uuid4(), BEGAN, [BEGAN]
    while (due := next_due(id_, len(at), BEGAN, failed(now), now)) is not None:
        assert due > now
        now = due
        at.append(due)

    for n, pause in enumerate(PAUSES):
        assert 0.8 * pause <= (at[n + 1] - at[n]).total_seconds() <= pause
    assert at[-1] == BEGAN + GIVEN_UP_AFTER
    assert 14 <= len(at) <= 18


def test_deliveries_that_failed_together_are_not_tried_together() -> None:
    assert len({next_due(uuid4(), 6, BEGAN, BAD, BEGAN) for _ in range(100)}) > 90


def test_retry_after_is_obeyed_within_limits() -> None:
    def after(asked: float) -> timedelta:
        due = next_due(uuid4(), 1, BEGAN, failed(BEGAN, retry_after=asked), BEGAN)
        assert due is not None
        return due - BEGAN

    assert after(90) == timedelta(seconds=90)
    assert after(0) == timedelta(seconds=1)
    assert after(86_400) == timedelta(hours=12)


def test_what_is_hopeless_or_gone_is_not_tried_again() -> None:
    assert next_due(uuid4(), 1, BEGAN, failed(BEGAN, hopeless=True), BEGAN) is None
    assert next_due(uuid4(), 1, BEGAN, failed(BEGAN, gone=True), BEGAN) is None
    assert next_due(uuid4(), 1, BEGAN, GOOD, BEGAN) is None


def test_only_failures_since_the_last_success_count() -> None:
    assert health(WEBHOOK, [BAD, BAD, GOOD, BAD]) == Health(
        WEBHOOK, good=True, failures=1, last_reason=BAD.reason
    )
    assert health(WEBHOOK, [BAD, GOOD]) == Health(WEBHOOK, good=True, failures=0)
    assert health(WEBHOOK, [failed(BEGAN, blameless=True)]) is None


def test_a_receiver_that_asks_for_a_pause_is_left_alone_for_an_hour_at_most() -> None:
    busy = failed(BEGAN, status=429, retry_after=20)
    very = failed(BEGAN, status=503, retry_after=90_000)

    assert (health(WEBHOOK, [busy]) or Health(WEBHOOK, good=True, failures=0)).rest == 20
    assert (health(WEBHOOK, [busy, very]) or Health(WEBHOOK, good=True, failures=0)).rest == 3600
    assert (health(WEBHOOK, [very, GOOD]) or Health(WEBHOOK, good=False, failures=9)).rest is None
