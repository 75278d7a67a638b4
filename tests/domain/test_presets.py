from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as some

from domain.facts import Person, Purchase, Sent
from domain.phrases import Names
from domain.presets import RFM, Preset, Quintiles, presets
from domain.segments import as_json, holds, parse
from domain.sentences import sentence

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
QUINTILES = Quintiles(
    (10, 30, 90, 200), (1, 2, 3, 5), (Decimal(20), Decimal("50.5"), Decimal(100), Decimal(900))
)


def picked(person: Person, ready: list[Preset], group: str = "") -> set[str]:
    return {
        each.name
        for each in ready
        if group in ("", each.group) and holds(each.rule, person, now=NOW, time_zone="UTC", currency="EUR")
    }


def buyer(*days: int, amount: str = "10", currency: str = "EUR") -> Person:
    """Somebody who ordered so many days ago."""
    at = [NOW - timedelta(days=each) for each in days]
    return Person(purchases=tuple(Purchase(each, Decimal(amount), currency) for each in at))


def reader(received: int, opened: int = 0, clicked: int = 0) -> Person:
    def sent(nth: int) -> Sent:
        at = NOW - timedelta(days=nth + 1)
        return Sent(
            Person().id,
            "email",
            at,
            opened_at=at if nth < opened else None,
            clicked_at=at if nth < clicked else None,
        )

    return Person(messages=tuple(sent(nth) for nth in range(received)))


def test_the_life_of_a_customer_has_its_stages() -> None:
    ready = presets(None, "EUR")
    for person, stages in (
        (buyer(), {"Never ordered"}),
        (buyer(5), {"New customers", "Active customers"}),
        (buyer(5, 300), {"Active customers"}),
        (buyer(120), set()),
        (buyer(120, 300), {"At risk"}),
        (buyer(200), {"Lapsed"}),
    ):
        assert picked(person, ready, "lifecycle") == stages


def test_nobody_both_reads_and_does_not() -> None:
    ready = presets(None, "EUR")
    assert picked(reader(1), ready, "engagement") == set()
    assert picked(reader(3), ready, "engagement") == {"Unengaged"}
    assert picked(reader(3, opened=1), ready, "engagement") == {"Engaged"}
    assert picked(reader(3, clicked=1), ready, "engagement") == {
        "Engaged"
    }  # Without pictures, no open is seen.


def test_without_quintiles_there_is_no_rfm() -> None:
    assert {each.group for each in presets(None, "EUR")} == {"lifecycle", "engagement"}
    assert {each.group for each in presets(QUINTILES, "EUR")} == {"lifecycle", "engagement", "rfm"}


def test_rfm_groups_are_as_they_are_known() -> None:
    ready = presets(QUINTILES, "EUR")
    for person, group in (
        (buyer(1, 2, 3, 4), "champions"),
        (buyer(50, 51, 52, 53), "loyal"),
        (buyer(20, 21), "potential loyalists"),
        (buyer(10), "newcomers"),
        (buyer(11), "promising"),
        (buyer(60, 61, 62), "need attention"),
        (buyer(60), "about to sleep"),
        (buyer(100, 101, 102), "at risk"),
        (buyer(300, 301, 302, 303, 304, 305), "can't lose them"),
        (buyer(300), "hibernating"),
    ):
        assert picked(person, ready, "rfm") == {f"RFM: {group}"}
    assert picked(buyer(300, amount="901"), ready, "rfm") == {"RFM: hibernating", "RFM: big spenders"}


def test_orders_in_another_currency_than_the_quintiles_do_not_count() -> None:
    assert picked(buyer(1, currency="USD"), presets(QUINTILES, "EUR"), "rfm") == set()


def test_each_pair_of_scores_is_in_one_group() -> None:
    groups = [
        (recency, frequency)
        for _, (oldest, newest), (least, most), _ in RFM
        for recency in range(oldest, newest + 1)
        for frequency in range(least, most + 1)
    ]
    assert sorted(groups) == [(recency, frequency) for recency in range(1, 6) for frequency in range(1, 6)]


def _in_order(them: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    first, second, third, fourth = sorted(them)
    return first, second, third, fourth


_some = some.integers(1, 12)
_four = some.tuples(_some, _some, _some, _some).map(_in_order)


@given(_four, _four, some.lists(some.integers(0, 13), min_size=1, max_size=14))
def test_every_buyer_is_in_one_group_however_alike_buyers_are(
    days: tuple[int, int, int, int], orders: tuple[int, int, int, int], ordered: list[int]
) -> None:
    amounts = (Decimal(1), Decimal(2), Decimal(3), Decimal(10_000))
    quintiles = Quintiles(days, orders, amounts)
    assert len(picked(buyer(*ordered), presets(quintiles, "EUR"), "rfm")) == 1


def test_a_group_that_nobody_can_be_in_is_left_out() -> None:
    alike = Quintiles((10, 30, 30, 200), (1, 1, 1, 2), (Decimal(1), Decimal(2), Decimal(3), Decimal(4)))
    names = {each.name for each in presets(alike, "EUR")}
    assert "RFM: champions" in names
    assert "RFM: potential loyalists" not in names  # Nobody has a second or third fifth of orders.
    assert "RFM: need attention" not in names


def test_presets_are_rules_that_can_be_saved_under_names_of_their_own() -> None:
    ready = presets(QUINTILES, "EUR")
    assert len({each.name for each in ready}) == len(ready)
    for each in ready:
        assert parse(as_json(each.rule)) == each.rule
        assert each.sentence == sentence(each.rule, Names("EUR"))
        assert each.good_for.endswith(".")


def test_a_preset_says_what_it_is() -> None:
    said = {each.name: each.sentence for each in presets(QUINTILES, "EUR")}
    assert said["At risk"] == "placed at least 2 orders and the last order was between 180 and 90 days ago"
    assert said["RFM: champions"] == "placed at least 4 orders and the last order was in the last 10 days"
    assert said["RFM: newcomers"] == "placed exactly 1 order and the last order was in the last 10 days"
    assert said["RFM: big spenders"] == "spent more than €900"


def test_orders_from_another_age_are_no_hindrance() -> None:
    odd = Quintiles((-3, 0, 10, 50_000), (1, 2, 3, 5), QUINTILES.total)
    said = {each.name: each.sentence for each in presets(odd, "EUR")}
    assert said["RFM: hibernating"].endswith("the last order was more than 10 days ago")
