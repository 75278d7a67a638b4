"""What n8n and this stack know of each other: who owns n8n, our key for it, the secrets of its webhooks.

Made once and kept in the state folder, readable by its owner alone.
"""

import base64
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import orjson

from dev.first_key import EMAIL
from dev.importing import asked
from domain.roles import Permission

KEY_NAME = "n8n"
# What our workflows call, and what the node for n8n is there for; nothing that decides who may do what.
MAY = (
    *(Permission.WORKSPACE_READ, Permission.PROFILES_READ, Permission.PROFILES_WRITE, Permission.EVENTS_READ),
    *(Permission.EVENTS_WRITE, Permission.ORDERS_READ, Permission.ORDERS_WRITE, Permission.LISTS_READ),
    *(
        Permission.LISTS_WRITE,
        Permission.SEGMENTS_READ,
        Permission.CAMPAIGNS_READ,
        Permission.CAMPAIGNS_WRITE,
    ),
    *(Permission.CAMPAIGNS_SEND, Permission.FLOWS_READ, Permission.FLOWS_WRITE, Permission.FLOWS_RUN),
    *(
        Permission.MESSAGES_READ,
        Permission.MESSAGES_SEND,
        Permission.TEMPLATES_READ,
        Permission.WEBHOOKS_READ,
    ),
    *(Permission.WEBHOOKS_WRITE, Permission.FAILURES_READ, Permission.FAILURES_WRITE),
)


@dataclass(frozen=True)
class Hook:
    """A webhook of the workspace that leads to a workflow of ours."""

    workflow: str
    path: str  # After /webhook/ at n8n.
    event_types: tuple[str, ...]
    credential: str  # The id of n8n's, which holds the secret.

    @property
    def name(self) -> str:
        return f"n8n: {self.workflow}"


HOOKS = (
    Hook("job-failure-alert", "campanile-job-failed", ("job.failed",), "campanile-alert-secret"),
    Hook("enrich-in-flow", "campanile-enrich", (), "campanile-enrich-secret"),
)


@dataclass(frozen=True)
class Account:
    """All that is remembered. What is empty was not made yet."""

    email: str = EMAIL
    password: str = field(
        default_factory=lambda: f"{secrets.token_urlsafe(12)}aA1"
    )  # n8n wants all of these.
    encryption_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    key: str = ""  # Ours, for n8n.
    key_id: str = ""
    api_key: str = ""  # n8n's, for us.
    # By workflow. Text, so that n8n's credential can hold it; the webhook has the same bytes in base64.
    hook_secrets: dict[str, str] = field(
        default_factory=lambda: {h.workflow: secrets.token_hex(32) for h in HOOKS}
    )
    hook_ids: dict[str, str] = field(default_factory=dict)
    imported: str = ""  # What was last put into n8n: a digest of it.

    @classmethod
    def kept(cls, note: Path) -> "Account":
        """The one that `note` remembers, or a new one."""
        try:
            return cls(**orjson.loads(note.read_bytes()))
        except (OSError, ValueError, TypeError):
            return cls()

    def keep(self, note: Path) -> "Account":
        note.parent.mkdir(parents=True, exist_ok=True)
        new = note.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))
        new.replace(note)
        return self

    def credentials(self, api_url: str, smtp_host: str, smtp_port: int) -> list[dict[str, Any]]:
        """As `n8n import:credentials` takes them; their ids are those that the workflows name."""
        ours = {"baseUrl": api_url, "secretKey": self.key}  # For our node.
        mail = {"user": "", "password": "", "host": smtp_host, "port": smtp_port}
        mail |= {"secure": False, "disableStartTls": True}
        return [
            _credential("campanile-api-key", "Campanile API key", "httpBearerAuth", {"token": self.key}),
            _credential("campanile-node", "Campanile", "campanileApi", ours),
            _credential("campanile-smtp", "Campanile mail", "smtp", mail),
            *(
                _credential(
                    hook.credential,
                    f"Campanile: secret of {hook.workflow}",
                    "crypto",
                    {"hmacSecret": self.hook_secrets[hook.workflow]},
                )
                for hook in HOOKS
            ),
        ]


def _credential(id_: str, name: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": id_, "name": name, "type": kind, "data": data}


def whsec(secret: str) -> str:
    """A secret as a webhook is given it."""
    return f"whsec_{base64.b64encode(secret.encode()).decode()}"


def settle(account: Account, api: httpx2.Client, n8n_url: str) -> Account:
    """Have the workspace know n8n: a key that works, and webhooks that lead to where it listens now."""
    known = {each["id"]: each for each in asked(api.get("/api/v1/webhooks", params={"limit": 100}))["items"]}
    ids = {hook.workflow: _webhook(hook, account, api, n8n_url, known) for hook in HOOKS}
    account = replace(account, hook_ids=ids)
    return account if account.key and _works(api, account.key) else _with_a_key(account, api)


def _works(api: httpx2.Client, key: str) -> bool:
    """Whether our key still may do all that it should."""
    answer = api.get("/api/v1/whoami", headers={"Authorization": f"Bearer {key}"})
    return answer.is_success and set(MAY) <= set(answer.json()["permissions"])


def _with_a_key(account: Account, api: httpx2.Client) -> Account:
    made = asked(api.post("/api/v1/keys", json={"name": KEY_NAME, "permissions": sorted(MAY)}))
    if account.key_id:
        api.delete(f"/api/v1/keys/{account.key_id}")
    return replace(account, key=made["key"], key_id=made["id"])


def _webhook(
    hook: Hook, account: Account, api: httpx2.Client, n8n_url: str, known: dict[str, dict[str, Any]]
) -> str:
    """Its id, when it is there and leads to where n8n listens."""
    url = f"{n8n_url}/webhook/{hook.path}"
    there = known.get(account.hook_ids.get(hook.workflow, ""))
    if there is None:
        body = {"name": hook.name, "url": url, "event_types": [*hook.event_types]}
        body["secret"] = whsec(account.hook_secrets[hook.workflow])
        return str(asked(api.post("/api/v1/webhooks", json=body))["id"])
    if there["url"] != url:
        asked(api.patch(f"/api/v1/webhooks/{there['id']}", json={"url": url}))
    return str(there["id"])


def join(account: Account, api: httpx2.Client, n8n_url: str) -> None:
    """Let the workspace look after n8n."""
    body = {"url": n8n_url, "api_key": account.api_key, "key_id": account.key_id}
    asked(api.put("/api/v1/integrations/n8n", json=body))
