"""When marketing is held."""

import pytest

from domain.holds import too_much
from domain.messages import Fate
from domain.reports import Counts


@pytest.mark.parametrize(
    ("counts", "held"),
    [
        (Counts(), False),
        (Counts(delivered=1000, complained=4), False),  # Too few to judge by.
        (Counts(delivered=1000, complained=5), True),
        (Counts(delivered=10_000, complained=30), False),  # Exactly the limit.
        (Counts(delivered=10_000, complained=31), True),
        (Counts(complained=5), True),
        (Counts(delivered=100, hard=100), False),  # Among too few.
        (Counts(delivered=951, hard=49), False),
        (Counts(delivered=950, hard=50), False),
        (Counts(delivered=949, hard=51), True),
        (Counts(delivered=949, hard=50), False),
        (Counts(delivered=10_000, failed=9_000, soft=9_000), False),
    ],
)
def test_marketing_is_held_above_the_limits(counts: Counts, held: bool) -> None:
    assert (too_much(counts) is not None) == held


def test_the_reason_says_how_much_of_what() -> None:
    assert too_much(Counts(delivered=48_210, complained=212)) == (
        "There were 212 complaints about 48,210 messages in 7 days: 0.44 %, and the limit is 0.3 %."
    )


def test_a_message_counts_where_its_fate_is_and_as_delivered_once_it_has_arrived() -> None:
    counts = Counts()
    before: str | None = None
    for fate in (
        Fate.DEFERRED,
        Fate.SOFT_BOUNCE,
        Fate.DELIVERED,
        Fate.READ,
        Fate.COMPLAINED,
        Fate.COMPLAINED,
    ):
        counts.count(before, fate)
        before = fate

    assert counts == Counts(delivered=1, soft=1, complained=1)
