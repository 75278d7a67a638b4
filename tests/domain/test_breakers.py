"""When a provider is left alone, and when it is tried again."""

from datetime import UTC, datetime, timedelta

from domain.breakers import (
    BAD_CALLS,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    TRIAL,
    WINDOW,
    BreakerState,
    Standing,
    Tally,
    after,
    held,
    released,
    tried,
    will_open,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
WELL = Standing(NOW, NOW)
GOOD = Tally(calls=1, well=10)
BAD = Tally(calls=1, bad_calls=1, badly=10, reason="500 Internal Server Error")


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def broken(at: datetime = NOW) -> Standing:
    standing = Standing(at, at)
    for _ in range(BAD_CALLS):
        standing = after(standing, BAD, at)
    return standing


def test_one_bad_call_among_good_ones_opens_nothing() -> None:
    standing = after(after(after(WELL, GOOD, NOW), BAD, NOW), GOOD, NOW)

    assert standing.state is BreakerState.CLOSED
    assert standing.opens_at(NOW) == NOW


def test_bad_calls_in_a_row_open_it_and_the_reason_is_kept() -> None:
    standing = broken()

    assert standing.state is BreakerState.OPEN
    assert standing.reason == "500 Internal Server Error"
    assert standing.opens_at(NOW) == later(FIRST_PAUSE)


def test_as_many_bad_calls_among_many_more_good_ones_open_nothing() -> None:
    standing = after(WELL, Tally(calls=20, well=200), NOW)
    for _ in range(BAD_CALLS):
        standing = after(standing, BAD, NOW)

    assert standing.state is BreakerState.CLOSED


def test_calls_that_hang_count_as_bad_once_one_has_failed() -> None:
    assert will_open(WELL, BAD, BAD_CALLS - 1, NOW) == "500 Internal Server Error"
    assert will_open(after(WELL, BAD, NOW), Tally(), BAD_CALLS - 1, NOW) is not None
    assert will_open(WELL, Tally(), BAD_CALLS, NOW) is None
    assert will_open(WELL, GOOD, BAD_CALLS, NOW) is None
    assert will_open(WELL, BAD, BAD_CALLS - 2, NOW) is None
    assert will_open(after(WELL, BAD, NOW), Tally(), BAD_CALLS, NOW + 2 * WINDOW) is None
    assert will_open(broken(), BAD, BAD_CALLS, NOW) is None


def test_what_was_before_the_window_is_forgotten() -> None:
    standing = after(after(WELL, BAD, NOW), BAD, NOW)
    standing = after(standing, BAD, NOW + WINDOW + timedelta(seconds=1))

    assert standing.state is BreakerState.CLOSED


def test_slow_calls_open_it_though_they_went_well() -> None:
    standing = WELL
    for _ in range(BAD_CALLS):
        standing = after(standing, Tally(calls=1, slow_calls=1, well=10), NOW)

    assert standing.state is BreakerState.OPEN
    assert standing.reason is not None
    assert "took more than" in standing.reason


def test_nobody_tries_before_the_pause_is_over_and_then_one_does() -> None:
    standing = broken()
    assert tried(standing, later(FIRST_PAUSE - 0.1)) is None

    trying = tried(standing, later(FIRST_PAUSE))
    assert trying is not None
    assert trying.state is BreakerState.HALF_OPEN
    assert tried(trying, later(FIRST_PAUSE + 1)) is None


def test_another_may_try_when_whoever_tried_was_never_heard_of_again() -> None:
    trying = tried(broken(), later(FIRST_PAUSE))
    assert trying is not None

    assert tried(trying, later(FIRST_PAUSE) + TRIAL) is not None


def test_a_trial_that_went_well_closes_it() -> None:
    trying = tried(broken(), later(FIRST_PAUSE))
    assert trying is not None

    standing = after(trying, GOOD, later(6))
    assert (standing.state, standing.trips, standing.until) == (BreakerState.CLOSED, 0, None)


def test_each_trial_that_failed_doubles_the_pause_up_to_the_longest() -> None:
    standing, now, pauses = broken(), NOW, []
    for _ in range(10):
        assert standing.until is not None
        pauses.append((standing.until - now).total_seconds())
        now = standing.until
        trying = tried(standing, now)
        assert trying is not None
        standing = after(trying, BAD, now)

    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_answers_that_were_under_way_when_it_opened_change_nothing() -> None:
    standing = broken()

    assert after(standing, BAD, NOW).until == standing.until
    assert after(standing, GOOD, NOW).state is BreakerState.OPEN


def test_who_asks_for_less_rests_and_is_not_broken() -> None:
    calm = Tally(calls=1, rest=7, reason="429 Too Many Requests")
    standing = WELL
    for _ in range(2 * BAD_CALLS):
        standing = after(standing, calm, NOW)

    assert standing.state is BreakerState.CLOSED
    assert standing.opens_at(NOW) == later(7)
    assert standing.opens_at(later(8)) == later(8)


def test_what_is_held_by_hand_stays_so_whatever_happens() -> None:
    standing = held(WELL, "moving to another account", NOW)

    assert standing.opens_at(NOW) is None
    assert tried(standing, later(9999)) is None
    assert after(after(standing, GOOD, NOW), BAD, NOW).state is BreakerState.HELD
    assert released(standing, later(1)).opens_at(later(1)) == later(1)
