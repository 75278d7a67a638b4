"""`campanile dev --n8n` with a state folder and ports of its own, and what one asks of both sides."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import orjson

from dev.n8n import N8n
from dev.n8n_program import at_hand
from settings import ROOT
from tests.support import eventually

LONG = 120.0  # Seconds.
_CONFIRM = re.compile(r"https?://\S+/accounts/sender\?token=[\w-]+")

Json = dict[str, Any]


class Site:
    def __init__(self, state: Path) -> None:
        self.state = state
        ports = {"PORT": "0", "TRACKING_PORT": "0", "TEMPORAL_ADDRESS": "127.0.0.1:0", "N8N_PORT": "0"}
        self.environment = {**os.environ, **ports, "STATE_DIR": str(state)}
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when all of it is ready."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", "dev", "--n8n"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                return
        raise AssertionError("".join(said))

    def end(self, how: signal.Signals) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(LONG)

    @property
    def address(self) -> dict[str, str]:
        lines = (self.state / "stack.env").read_text().splitlines()[1:]
        return dict(line.split("=", 1) for line in lines)

    # Ours.

    def get(self, path: str, **asked: Any) -> Json:
        return self.ask("GET", path, params=asked)

    def post(self, path: str, body: Any = None) -> Json:
        return self.ask("POST", path, json=body)

    def ask(self, method: str, path: str, **more: Any) -> Json:
        url, key = self.address["API_URL"], self.address["API_KEY"]
        answer = httpx2.request(
            method,
            f"{url}/api/v1{path}",
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=60,
            **more,
        )
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return dict(answer.json()) if answer.content else {}

    def mails(self, **asked: str) -> list[Json]:
        """The newest first, each with its text."""
        box = self.address["MAILBOX_URL"]
        found = httpx2.get(f"{box}/messages", params=asked, trust_env=False).json()["messages"]
        return [httpx2.get(f"{box}/messages/{one['id']}.json", trust_env=False).json() for one in found]

    async def may_send(self) -> None:
        """The workspace has a sender whose owner followed the link."""
        if self.get("/workspace")["sender_verified"]:
            return
        address = "hello@records.example.com"
        wish = {"sender_email": address, "postal_address": "1 Groove Street, Springfield"}
        self.ask("PATCH", "/workspace", json=wish)

        async def asked() -> bool:
            return bool(self.mails(to=address))

        await eventually(asked, within=LONG, every=0.2, what="the mail that asks the sender")
        link = _CONFIRM.search(self.mails(to=address)[0]["text"])
        assert link
        page, _, token = link[0].partition("?token=")
        answer = httpx2.post(page, data={"token": token}, trust_env=False)
        assert answer.is_success, answer.text

    # n8n's.

    @property
    def n8n(self) -> N8n:
        """As the stack has it, for n8n's own commands: they talk to its database, and take other ports."""
        return N8n(at_hand(), self.state, self.address, 0)

    def executed(self, workflow: str) -> None:
        """Execute a workflow once, as a person who presses the button would."""
        self.n8n.command("execute", f"--id={workflow}")

    def bring(self, workflow: Json) -> None:
        with TemporaryDirectory(dir=self.state) as folder:
            (Path(folder) / "workflow.json").write_bytes(orjson.dumps(workflow))
            self.n8n.command("import:workflow", f"--input={Path(folder) / 'workflow.json'}")

    def n8n_asked(self, method: str, path: str, **more: Any) -> Json:
        key = self.n8n.account.api_key
        answer = httpx2.request(
            method,
            f"{self.address['N8N_URL']}/api/v1{path}",
            headers={"X-N8N-API-KEY": key},
            trust_env=False,
            timeout=60,
            **more,
        )
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return dict(answer.json())

    def executions(self, workflow: str) -> list[str]:
        """How its executions ended, the newest first."""
        with suppress(AssertionError):
            found = self.n8n_asked("GET", "/executions", params={"workflowId": workflow, "limit": 20})
            return [str(each["status"]) for each in found["data"]]
        return []
