"""A stand-in for n8n: a Node.js process that runs our nodes as n8n does, with n8n's own errors."""

import base64
import json
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dev.places import ROOT

FOLDER = ROOT / "tests" / "n8n" / "node"
PACKAGE = ROOT / "n8n" / "n8n-nodes-campanile"


@dataclass
class Refusal(Exception):
    """An error that a node threw, as n8n would show it."""

    name: str
    message: str
    description: str | None = None
    httpCode: str | None = None
    item: int | None = None
    stack: str | None = None

    def __str__(self) -> str:
        return "\n".join(filter(None, (f"{self.name}: {self.message}", self.description, self.stack)))


@dataclass
class N8n:
    """Runs the nodes with credentials for the API at `url`."""

    url: str
    key: str
    asked: list[dict[str, Any]] = field(default_factory=list)  # By the last call.

    def __post_init__(self) -> None:
        node = shutil.which("node")
        assert node is not None
        self.process = subprocess.Popen(
            [node, str(FOLDER / "standin.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def does(self, what: str, **given: Any) -> dict[str, Any]:
        """What the call answers; raises `Refusal` for what a node threw."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        credentials = {"baseUrl": self.url, "secretKey": self.key}
        self.process.stdin.write(json.dumps({"do": what, "credentials": credentials, **given}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.asked = answer["asked"]
        if "error" in answer:
            raise Refusal(**answer["error"])
        found: dict[str, Any] = answer["ok"]
        return found

    def run(
        self, resource: str, operation: str, *items: dict[str, Any], **given: Any
    ) -> list[dict[str, Any]]:
        """Execute the node once, with parameters for each item."""
        parameters = [{"resource": resource, "operation": operation, **each} for each in items or ({},)]
        found: list[dict[str, Any]] = self.does("execute", items=parameters, **given)["items"]
        return found

    def told(
        self, body: bytes, headers: dict[str, str], memory: dict[str, Any], **given: Any
    ) -> dict[str, Any]:
        """What the trigger makes of a request to its address."""
        raw = base64.b64encode(body).decode()
        return self.does("webhook", body=raw, headers=headers, memory=memory, **given)


def sources() -> list[Path]:
    """What the compiler reads."""
    return [
        *(PACKAGE / "nodes").rglob("*.ts"),
        *(PACKAGE / "credentials").rglob("*.ts"),
        PACKAGE / "tsconfig.json",
        FOLDER / "tsconfig.json",
        FOLDER / "package-lock.json",
    ]
