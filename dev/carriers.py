"""The demo's two providers: mails go by the first until it gives up half-way, and then by the second.

Both are the development mailbox, by its two ports. Their accounts and routes come and go by the API.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2

from dev.importing import asked
from dev.process import StackError

MARKETING = {"channel": "email", "class": "marketing"}
MOST = 500  # In an answer; a workspace has fewer of both.

Json = dict[str, Any]


class Carriers:
    """Accounts of these two `names`, set up through `api`: one with each server of the `mailbox`."""

    def __init__(self, api: httpx2.Client, mailbox: httpx2.Client, names: Sequence[str]) -> None:
        self.api, self.mailbox = api, mailbox
        self.names = names
        self.ids: dict[str, str] = {}  # By name.

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The accounts and routes are there while it is entered, and at its end no more, however it ends."""
        self.clear_away()  # What a run left that was cut off.
        try:
            self.set_up()
            yield
        except BaseException:
            with suppress(StackError, httpx2.HTTPError):
                self.clear_away()
            raise
        self.clear_away()

    def set_up(self) -> None:
        servers = asked(self.mailbox.get("/servers"))
        for priority, (name, server) in enumerate(zip(self.names, ("relay", "smtp"), strict=True), 1):
            at = urlsplit(servers[server])
            settings = {"host": at.hostname, "port": at.port, "security": "none"}
            account = {"name": name, "kind": "smtp", "settings": settings}
            made = asked(self.api.post("/api/v1/providers", json=account))
            self.ids[name] = made["id"]
            route = {**MARKETING, "provider_id": made["id"], "priority": priority}
            asked(self.api.post("/api/v1/routes", json=route))

    def give_up_after(self, mails: int) -> None:
        """The first takes so many mails, and then says no to every one until it is mended."""
        self.mailbox.put("/patience", json={"mails": mails}).raise_for_status()

    def mend(self) -> None:
        """It takes all mails again."""
        if (answer := self.mailbox.delete("/patience")).status_code == 404:
            raise StackError("the stack that runs is older than this demo: stop it, and start it again")
        answer.raise_for_status()

    def went(self) -> list[Json]:
        """What each has taken and refused.

        Where somebody still sends, good news may be late; a campaign that is completed has told everything.
        """
        shown = []
        for name in self.names:
            today = self._health(name)["today"]
            refused = today["rejected"] + today["retried"]
            shown.append({"provider": name, "accepted": today["accepted"], "refused": refused})
        return shown

    def stands(self, name: str) -> Json:
        """What its breaker says."""
        health = self._health(name)
        return {"breaker": health["state"], "reason": health["reason"]}

    def clear_away(self) -> None:
        """Routes first: an account to which one leads stays."""
        self.mend()
        for route in asked(self.api.get("/api/v1/routes", params={"limit": MOST}))["items"]:
            if route["provider"] in self.names:
                self._delete(f"/api/v1/routes/{route['id']}")
        for account in asked(self.api.get("/api/v1/providers", params={"limit": MOST}))["items"]:
            if account["name"] in self.names:
                self._delete(f"/api/v1/providers/{account['id']}")
        self.ids.clear()

    def _health(self, name: str) -> Json:
        return asked(self.api.get(f"/api/v1/providers/{self.ids[name]}/health"))

    def _delete(self, path: str) -> None:
        if not (answer := self.api.delete(path)).is_success:
            asked(answer)


def in_words(one: Json) -> str:
    """What a campaign sent by one of them, as `went` has it."""
    gave_up = f", then it gave up and refused {one['refused']:,}" if one["refused"] else ""
    return f"{one['accepted']:,}{gave_up}"


def breaker_in_words(one: Json) -> str:
    """What its breaker says, as `stands` has it."""
    return f"{one['breaker']}: {one['reason']}" if one["reason"] else str(one["breaker"])


def other_routes(api: httpx2.Client, names: Sequence[str]) -> list[Json]:
    """Routes of marketing mail that lead to other accounts than those of these names."""
    found = asked(api.get("/api/v1/routes", params={**MARKETING, "limit": MOST}))["items"]
    return [each for each in found if each["provider"] not in names]
