"""What a local time means where the clocks change, and which times may be planned."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from domain.errors import Invalid
from domain.schedules import CATCH_UP, bounds, is_missed, meant, missed_in_words, planned

BERLIN = "Europe/Berlin"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


local = datetime.fromisoformat


def utc(year: int, month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def test_a_local_time_is_meant_in_its_time_zone_and_an_offset_goes_before() -> None:
    assert meant(local("2026-11-21T08:00"), BERLIN) == (utc(2026, 11, 21, 7), None)
    assert meant(local("2026-07-21T08:00"), BERLIN) == (utc(2026, 7, 21, 6), None)
    tokyo = timezone(timedelta(hours=9))
    assert meant(datetime(2026, 11, 21, 8, tzinfo=tokyo), BERLIN) == (utc(2026, 11, 20, 23), None)


def test_a_time_that_the_clocks_skip_is_as_much_later_and_says_so() -> None:
    at, note = meant(local("2027-03-28T02:30"), BERLIN)

    assert at == utc(2027, 3, 28, 1, 30)
    assert note == "The clocks of Europe/Berlin skip 02:30 on 2027-03-28: it starts at 03:30 instead."


def test_of_a_time_that_comes_twice_the_first_is_meant_and_an_offset_asks_for_the_second() -> None:
    at, note = meant(local("2027-10-31T02:30"), BERLIN)
    second, silent = meant(datetime(2027, 10, 31, 2, 30, tzinfo=timezone(timedelta(hours=1))), BERLIN)

    assert at == utc(2027, 10, 31, 0, 30)
    assert note is not None
    assert "twice" in note
    assert "UTC+02:00" in note
    assert (second, silent) == (utc(2027, 10, 31, 1, 30), None)


def test_a_time_is_to_the_second() -> None:
    assert meant(local("2026-11-21T08:00:05.999999"), "UTC").at == datetime(2026, 11, 21, 8, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "word"),
    [
        (local("2026-11-20T12:59"), "past: it is 2026-11-20T13:00 in Europe/Berlin"),
        (datetime(2026, 11, 20, 12, tzinfo=UTC), "past"),
        (local("0001-01-01T00:00"), "past"),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=23))), "731 days"),
        (local("2029-01-01T00:00"), "731 days"),
    ],
)
def test_a_time_that_is_past_or_far_away_is_refused_in_words(at: datetime, word: str) -> None:
    with pytest.raises(Invalid, match=word) as refusal:
        planned(at, BERLIN, NOW)
    assert refusal.value.field == "/at"


def test_a_day_is_as_long_as_the_clocks_make_it() -> None:
    def hours(day: date, zone: str) -> float:
        begins, ends = bounds(day, zone)
        return (ends - begins).total_seconds() / 3600

    assert bounds(date(2026, 11, 21), BERLIN) == (utc(2026, 11, 20, 23), utc(2026, 11, 21, 23))
    assert hours(date(2027, 3, 28), BERLIN) == 23
    assert hours(date(2027, 10, 31), BERLIN) == 25
    assert hours(date(2027, 4, 30), "Africa/Cairo") == 23  # It has no midnight.
    for day in (date(1, 1, 1), date.max):
        with pytest.raises(Invalid):
            bounds(day, BERLIN)


def test_a_start_is_missed_when_it_would_be_more_than_a_little_late() -> None:
    assert not is_missed(NOW, NOW + CATCH_UP)
    assert is_missed(NOW, NOW + CATCH_UP + timedelta(seconds=1))
    assert "2026-11-20T13:00 in Europe/Berlin" in missed_in_words(NOW, BERLIN)
