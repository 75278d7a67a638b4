"""The demo's shop: what it sends is what the sample says, and no customer's orders are torn apart."""

from datetime import UTC, datetime
from pathlib import Path

from dev.demo import ORDERS
from dev.shop import parts, read, visit


def test_every_order_of_the_sample_is_sent_and_a_customers_are_together() -> None:
    orders = read(ORDERS)
    sent = list(parts([*orders.values()]))

    assert (len(orders), sum(map(len, sent))) == (2357, 6919)
    assert all(len(part) <= 1000 for part in sent)
    homes = [{order["user_id"] for order in part} for part in sent]
    assert sum(map(len, homes)) == len(orders)


def test_an_order_is_history_in_dollars(tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("customer_id,ordered_on,quantity,total_usd\n4,1997-01-01,2,29.33\n")

    assert read(file) == {
        "4": [
            {
                "user_id": "4",
                "ordered_on": "1997-01-01",
                "quantity": 2,
                "total": "29.33",
                "currency": "USD",
                "historical": True,
            }
        ]
    }


def test_a_visit_is_of_one_visitor_and_no_event_has_the_id_of_another() -> None:
    events = visit("4", datetime(2026, 3, 1, tzinfo=UTC))

    assert [each["type"] for each in events] == ["page", "page", "identify", "track"]
    assert len({each["anonymousId"] for each in events}) == 1
    assert len({each["messageId"] for each in events}) == 4
