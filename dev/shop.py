"""The demo's shop: it tells the API of its customers, of their orders, and of a visit to its site.

As a shop's own programs would: its server by a secret key, which may say what people consented to, and a page
by a public key, in the form in which our JavaScript SDK sends (`sdk/`).
"""

import csv
import json as to_json
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from dev.importing import asked
from dev.process import StackError
from domain.events import EventKind

AT_ONCE = 1000  # Customers or orders in one request.
Json = dict[str, Any]


class Shop:
    """Tells through `api`, which has the secret key; its pages have the `public_key`."""

    def __init__(self, api: httpx2.Client, public_key: str, orders: Path) -> None:
        self.api = api
        self.public_key = public_key
        self.orders = read(orders)

    def introduce_customers(self) -> int:
        """Say who the customers are and what they consent to. Returns how many."""
        people = [identified(customer) for customer in self.orders]
        for some in parts([[each] for each in people]):
            self.send("/track/batch", {"events": some})
        return len(people)

    def tell_of_orders(self) -> int:
        """Send their orders, which are history. Returns how many.

        A customer's are in one request: of those that say the same, each is known by how many came before.
        """
        sent = 0
        for some in parts([*self.orders.values()]):
            self.send("/api/v1/orders/batch", {"orders": some})
            sent += len(some)
        return sent

    def be_visited(self, customer: str) -> None:
        """One of them comes back: reads two pages, gives their address, and looks at a record."""
        if not self.public_key:
            raise StackError(
                "the demo needs a public key: set API_PUBLIC_KEY, or leave it to the embedded stack"
            )
        events = visit(customer, datetime.now(UTC))
        body = {"key": self.public_key, "sentAt": now(), "events": events}
        with httpx2.Client(base_url=self.api.base_url, timeout=60, trust_env=False) as page:
            headers = {"Content-Type": "text/plain;charset=UTF-8"}
            answer = page.post("/track/batch", content=to_json.dumps(body), headers=headers)
        taken(asked(answer))

    def sell(self, customer: str) -> None:
        """They place an order, now."""
        order = {
            "order_id": f"demo-{secrets.token_hex(8)}",
            "user_id": customer,
            "quantity": 1,
            "total": "29.33",
            "currency": "USD",
        }
        self.send("/api/v1/orders", order)

    def seen(self, customer: str, since: datetime) -> int:
        """How many events of theirs came in since then, without what we noted ourselves."""
        found = asked(self.api.get("/api/v1/profiles", params={"email": address(customer)}))["items"]
        if len(found) != 1:
            raise StackError(f"customer {customer} is {len(found)} people")
        asked_for = {"profile_id": found[0]["id"], "since": since.isoformat()}
        events = asked(self.api.get("/api/v1/events", params=asked_for))["items"]
        return len([event for event in events if event["kind"] != EventKind.SYSTEM])

    def send(self, path: str, body: Json) -> None:
        taken(asked(self.api.post(path, json=body)))


def taken(answer: Json) -> None:
    """Raises `StackError` with what was refused, if anything was."""
    for one in answer.get("refused", ()):
        raise StackError(f"the API refused {one['pointer'] or one['index']}: {one['detail']}")


def read(orders: Path) -> dict[str, list[Json]]:
    """The orders of the file as the API takes them, by customer."""
    found: dict[str, list[Json]] = {}
    with orders.open(newline="") as file:
        for row in csv.DictReader(file):
            order = {
                "user_id": row["customer_id"],
                "ordered_on": row["ordered_on"],
                "quantity": int(row["quantity"]),
                "total": row["total_usd"],
                "currency": "USD",
                "historical": True,
            }
            found.setdefault(row["customer_id"], []).append(order)
    return found


def address(customer: str) -> str:
    return f"customer-{customer}@example.com"


def identified(customer: str) -> Json:
    """A customer, with a made-up address, and both consents."""
    return {
        "type": "identify",
        "userId": customer,
        "email": address(customer),
        "traits": {"name": f"Customer {customer}", "customer": customer},
        "consent": {"email": "granted", "tracking": "granted"},
    }


def visit(customer: str, at: datetime) -> list[Json]:
    """What the SDK sends of a visit by somebody whom the page does not know at first."""
    anonymous = secrets.token_hex(16)
    told: Sequence[Json] = (
        {"type": "page", "name": "Catalogue", "properties": {"path": "/catalogue"}},
        {"type": "page", "name": "Sign in", "properties": {"path": "/sign-in"}},
        {"type": "identify", "email": address(customer), "traits": {}},
        {"type": "track", "name": "Record Viewed", "properties": {"sku": "LP-1017", "price": 29.33}},
    )
    common = {"anonymousId": anonymous, "timestamp": at.isoformat(), "context": {"library": {"name": "demo"}}}
    return [{**common, "messageId": secrets.token_hex(16), **each} for each in told]


def parts(groups: Sequence[Sequence[Json]]) -> Iterator[list[Json]]:
    """All of them in lists of up to `AT_ONCE`, no group apart."""
    part: list[Json] = []
    for group in groups:
        if part and len(part) + len(group) > AT_ONCE:
            yield part
            part = []
        part += group
    if part:
        yield part


def now() -> str:
    return datetime.now(UTC).isoformat()
