"""What n8n and the stack know of each other: made once, kept for their owner's eyes, settled by the API."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import orjson

from dev.n8n_account import HOOKS, MAY, Account, settle, whsec
from domain.roles import GRANTABLE
from domain.webhooks import checked_secret

URL = "http://127.0.0.1:5678"


class Workspace:
    """The part of our API that is asked, with what it was asked for."""

    def __init__(self) -> None:
        self.webhooks: dict[str, dict[str, Any]] = {}
        self.keys: list[str] = []
        self.asked: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path.removeprefix("/api/v1")
        body = orjson.loads(request.content) if request.content else {}
        self.asked.append(f"{request.method} {path}")
        match request.method, path:
            case "GET", "/webhooks":
                return httpx2.Response(200, json={"items": [*self.webhooks.values()]})
            case "POST", "/webhooks":
                made = {"id": f"hook-{len(self.webhooks)}", **body}
                self.webhooks[made["id"]] = made
                return httpx2.Response(201, json=made)
            case "PATCH", _:
                self.webhooks[path.rpartition("/")[2]] |= body
                return httpx2.Response(200, json={})
            case "GET", "/whoami":
                known = request.headers["Authorization"].removeprefix("Bearer ") in self.keys
                return httpx2.Response(200 if known else 401, json={"permissions": sorted(MAY)})
            case "POST", "/keys":
                self.keys.append(f"sk_{len(self.keys)}")
                return httpx2.Response(201, json={"id": f"key-{len(self.keys)}", "key": self.keys[-1]})
        return httpx2.Response(204)


def client(handler: Callable[[httpx2.Request], httpx2.Response]) -> httpx2.Client:
    return httpx2.Client(transport=httpx2.MockTransport(handler), base_url="http://campanile")


def test_it_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    note = tmp_path / "n8n" / "account.json"
    first = Account.kept(note).keep(note)

    assert Account.kept(note) == first
    assert oct(note.stat().st_mode)[-3:] == "600"
    assert Account.kept(tmp_path / "another") != first


def test_a_webhooks_secret_has_the_bytes_of_the_text_that_n8ns_credential_holds() -> None:
    account = Account()
    held = {each["id"]: each["data"] for each in account.credentials("http://127.0.0.1", "127.0.0.1", 25)}

    for hook in HOOKS:
        secret = whsec(account.hook_secrets[hook.workflow])
        assert checked_secret(secret) == secret
        bytes_ = base64.b64decode(secret.removeprefix("whsec_"))
        assert bytes_.decode() == held[hook.credential]["hmacSecret"]


def test_a_workspace_is_told_of_n8n_once_and_again_only_where_something_changed() -> None:
    workspace = Workspace()
    with client(workspace) as api:
        first = settle(Account(), api, URL)
        asked = len(workspace.asked)
        again = settle(first, api, URL)

        assert again == first
        assert workspace.asked[asked:] == ["GET /webhooks", "GET /whoami"]
        assert {each["url"] for each in workspace.webhooks.values()} == {
            f"{URL}/webhook/{hook.path}" for hook in HOOKS
        }
        moved = settle(first, api, "http://127.0.0.1:9999")
        assert moved == first
        assert all("127.0.0.1:9999" in each["url"] for each in workspace.webhooks.values())
        workspace.keys.clear()  # It was revoked.
        assert settle(first, api, URL).key_id != ""


def test_n8ns_key_may_do_what_a_key_may_be_given_and_not_who_may_do_what() -> None:
    assert set(MAY) <= GRANTABLE
    assert not [each for each in MAY if each.partition(":")[0] in {"keys", "members", "issuers", "audit"}]
