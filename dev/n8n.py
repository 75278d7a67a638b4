"""n8n beside the stack, with an owner, our credentials and our workflows in it, all published.

It keeps its state in `.campanile/n8n`. Starting it again imports nothing, and so leaves alone what a person
has changed in n8n, unless a file here, an address or a secret changed meanwhile.
"""

import hashlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from dev import n8n_files
from dev.n8n_account import Account, join, settle
from dev.n8n_nodes import built
from dev.n8n_program import Program
from dev.process import Process, StackError, free_port, tied

PATIENCE = 180.0  # Seconds for a start, on a machine that has much else to do.
COMMAND_SECONDS = 180.0
LABEL = "Campanile"  # Of the key that we make there.
SCOPES = (
    *("workflow:list", "workflow:read", "workflow:activate", "workflow:deactivate"),
    *("execution:list", "execution:read"),
)
# What it may say to others, and what it brings along that nobody here uses.
QUIET = {
    "N8N_DIAGNOSTICS_ENABLED": "false",
    "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
    "N8N_TEMPLATES_ENABLED": "false",
    "N8N_PERSONALIZATION_ENABLED": "false",
    "N8N_COMMUNITY_PACKAGES_ENABLED": "false",
    "N8N_DISABLED_MODULES": "mcp-registry,insights,instance-ai,chat-hub,agents",
}

Say = Callable[[str], None]


class N8n:
    """A part of the stack, as `dev.stack.Part` has them. `addresses` are the stack's."""

    def __init__(
        self, program: Program, state: Path, addresses: Mapping[str, str], port: int, say: Say = print
    ) -> None:
        self.program, self.state, self.say = program, state / "n8n", say
        self.addresses = addresses
        self.port, self.broker_port = free_port(port), free_port(port + 1 if port else 0)
        self.url = f"http://127.0.0.1:{self.port}"
        self.note = self.state / "account.json"
        self.account = Account.kept(self.note).keep(self.note)
        self.zone = "UTC"
        self.process: Process | None = None
        self.state_run = state / "run" / "n8n.json"
        self.log = state / "logs" / "n8n.log"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.running

    def start(self) -> None:
        """Returns when all our workflows are published. Raises StackError."""
        with self.api() as api:
            self.remember(settle(self.account, api, self.url))
            self.zone = api.get("/api/v1/workspace").raise_for_status().json()["time_zone"]
            self.bring()
            self.launch()
            self.publish()
            join(self.account, api, self.url)

    def stop(self) -> None:
        if self.process:
            self.process.stop(patience=10)

    def launch(self) -> None:
        if self.process:
            self.process.kill()  # What it started may have outlived it, and hold its port.
        self.process = Process(
            "n8n",
            [*self.program.command, "start"],
            log=self.log,
            note=self.state_run,
            environment=self.environment() | self.owner(),
            folder=self.state,
        )
        self.process.start()
        self.process.wait_until(self.ready, PATIENCE)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz/readiness", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def api(self) -> httpx2.Client:
        """Ours, as the owner."""
        return httpx2.Client(
            base_url=self.addresses["API_URL"],
            headers={"Authorization": f"Bearer {self.addresses['API_KEY']}"},
            timeout=httpx2.Timeout(30, connect=5),
            trust_env=False,
        )

    def remember(self, account: Account) -> None:
        self.account = account.keep(self.note)

    # What it is told by its environment.

    def environment(self) -> dict[str, str]:
        return QUIET | {
            "PATH": self.program.path,
            "N8N_USER_FOLDER": str(self.state),
            "N8N_ENCRYPTION_KEY": self.account.encryption_key,
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_PORT": str(self.port),
            "N8N_EDITOR_BASE_URL": self.url,
            "WEBHOOK_URL": f"{self.url}/",
            "N8N_SECURE_COOKIE": "false",  # On the loopback address there is no TLS.
            "N8N_RUNNERS_MODE": "internal",
            "N8N_RUNNERS_BROKER_PORT": str(self.broker_port),
            "N8N_METRICS": "true",  # They tell its version.
            "N8N_GRACEFUL_SHUTDOWN_TIMEOUT": "5",
            "GENERIC_TIMEZONE": self.zone,
            **self.own_nodes(),
        }

    def own_nodes(self) -> dict[str, str]:
        """Our node package, once it is built."""
        nodes = built()
        return {"N8N_CUSTOM_EXTENSIONS": str(nodes)} if nodes else {}

    def owner(self) -> dict[str, str]:
        return {
            "N8N_INSTANCE_OWNER_MANAGED_BY_ENV": "true",
            "N8N_INSTANCE_OWNER_EMAIL": self.account.email,
            "N8N_INSTANCE_OWNER_FIRST_NAME": "Owner",
            "N8N_INSTANCE_OWNER_LAST_NAME": "of Campanile",
            "N8N_INSTANCE_OWNER_PASSWORD_HASH": self.password_hash(),
        }

    def password_hash(self) -> str:
        """By n8n's own bcrypt. It is told the password where no list of processes shows it."""
        script = (
            "const hash = require('bcryptjs').hashSync; let given = '';"
            "process.stdin.on('data', (each) => given += each)"
            ".on('end', () => process.stdout.write(hash(given, 10)))"
        )
        done = subprocess.run(
            [self.program.node, "-e", script],
            cwd=self.program.home,
            input=self.account.password,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            raise StackError(
                "n8n's owner can't be given a password: remove the installation and run it again"
            )
        return done.stdout

    # What is put into it.

    def workflows(self) -> list[n8n_files.Workflow]:
        values = {"campanile_url": self.addresses["API_URL"]}
        return [n8n_files.settled(n8n_files.read(name), values) for name in n8n_files.names()]

    def bring(self) -> None:
        """Import credentials and workflows, where what is to be there is not what was imported last."""
        mail = urlsplit(self.addresses["SMTP_URL"])
        credentials = self.account.credentials(
            self.addresses["API_URL"], mail.hostname or "127.0.0.1", mail.port or 25
        )
        workflows = self.workflows()
        digest = hashlib.sha256(orjson.dumps([credentials, workflows])).hexdigest()
        if digest == self.account.imported:
            return
        self.say(f"n8n: importing {len(workflows)} workflows and their credentials …")
        with TemporaryDirectory(dir=self.state) as folder:  # 0700: the credentials are in it for a moment.
            secret = Path(folder) / "credentials.json"
            secret.write_bytes(orjson.dumps(credentials))
            self.command("import:credentials", f"--input={secret}")
            files = Path(folder) / "workflows"
            files.mkdir()
            for workflow in workflows:
                (files / f"{workflow['id']}.json").write_bytes(orjson.dumps(workflow))
            self.command("import:workflow", "--separate", f"--input={files}")
        self.remember(replace(self.account, imported=digest))

    def command(self, *words: str) -> None:
        """Run one of n8n's own commands. Raises StackError with what it said last."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            done = subprocess.run(
                tied([*self.program.command, *words]),
                cwd=self.state,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        if done.returncode:
            raise StackError(f"`n8n {words[0]}` failed ({done.returncode}); see {self.log}")

    def publish(self) -> None:
        """Every workflow of ours that is not published yet; an import takes that back."""
        with httpx2.Client(base_url=self.url, timeout=30, trust_env=False) as there:
            if not self.account.api_key or not self.knows_us(there):
                self.remember(replace(self.account, api_key=self.new_key(there)))
            headers = {"X-N8N-API-KEY": self.account.api_key}
            for name in n8n_files.names():
                path = f"/api/v1/workflows/{n8n_files.PREFIX}{name}"
                there_now = told(there.get(path, headers=headers))
                if not there_now["active"]:
                    told(there.post(f"{path}/activate", headers=headers))

    def knows_us(self, there: httpx2.Client) -> bool:
        headers = {"X-N8N-API-KEY": self.account.api_key}
        return there.get("/api/v1/workflows", params={"limit": 1}, headers=headers).is_success

    def new_key(self, there: httpx2.Client) -> str:
        """A key of its public API, which the owner makes."""
        who = {"emailOrLdapLoginId": self.account.email, "password": self.account.password}
        told(there.post("/rest/login", json=who))
        for each in told(there.get("/rest/api-keys"))["data"]["items"]:
            if each["label"] == LABEL:
                told(there.delete(f"/rest/api-keys/{each['id']}"))
        wish = {"label": LABEL, "scopes": [*SCOPES], "expiresAt": None}
        return str(told(there.post("/rest/api-keys", json=wish))["data"]["rawApiKey"])


def told(response: httpx2.Response) -> dict[str, Any]:
    """What n8n answered. Raises StackError with what it refused and why."""
    if response.is_success:
        answer: dict[str, Any] = response.json()
        return answer
    try:
        why = str(response.json().get("message"))[:200]
    except (json.JSONDecodeError, AttributeError):
        why = response.reason_phrase
    raise StackError(f"n8n refused {response.request.url.path} ({response.status_code}): {why}")
