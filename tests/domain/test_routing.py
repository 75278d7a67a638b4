"""In which order providers are tried, and what a warm-up allows."""

import random
from collections import Counter
from datetime import date
from uuid import UUID

import pytest
from pydantic import ValidationError

from domain.routing import Road, WarmUp, in_order

A, B, C = (UUID(int=n) for n in (1, 2, 3))


def test_a_lower_number_goes_first_whatever_the_weights() -> None:
    roads = [Road(A, 2, 1000), Road(B, 1, 1), Road(C, 3, 1000)]

    for _ in range(20):
        assert [road.provider_id for road in in_order(roads, random.random)] == [B, A, C]


def test_weights_share_out_what_has_the_same_priority() -> None:
    roads = [Road(A, 1, 3), Road(B, 1, 1)]
    draw = random.Random(1).random

    first = Counter(in_order(roads, draw)[0].provider_id for _ in range(10_000))
    assert first[A] == pytest.approx(7_500, abs=200)


@pytest.mark.parametrize("drawn", [0.0, 0.5, 0.9999999999999999])
def test_every_road_is_there_once_whatever_is_drawn(drawn: float) -> None:
    roads = [Road(A, 1, 1), Road(B, 1, 7), Road(C, 1, 2)]

    assert sorted(road.provider_id for road in in_order(roads, lambda: drawn)) == [A, B, C]


def test_a_warm_up_allows_so_many_a_day_and_afterwards_all() -> None:
    plan = WarmUp(starts_on=date(2026, 3, 2), days=[50, 100])

    allowed = [plan.allows(date(2026, 3, day)) for day in (1, 2, 3, 4)]
    assert allowed == [0, 50, 100, None]


def test_a_warm_up_without_days_is_none() -> None:
    with pytest.raises(ValidationError):
        WarmUp(starts_on=date(2026, 3, 2), days=[])
