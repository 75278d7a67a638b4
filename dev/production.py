"""What docker-compose.yml is given, and the tool that reads it, where there is no Docker engine.

`python -m dev.production` builds that tool, once, from docker/compose's own source, and has it read the file
as `docker compose config` does: with every secret set, and with each of them missing.
"""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from dev.places import ROOT, cache
from dev.process import StackError, tied
from dev.temporal_program import COLLECT_RARELY, alone, find_go

FILE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.production.example"
COMPOSE = "v2.40.3"
MODULE = "github.com/docker/compose/v2/cmd"
BUILD_SECONDS = 300  # On two cores with a cold cache.
SECONDS = 60.0  # For one reading.
REQUIRED = re.compile(r"\$\{(\w+):\?([^}]*)\}")
# What stands empty in the example, by the end of its name.
FILLED: dict[str, Callable[[], str]] = {
    "_PASSWORD": lambda: secrets.token_hex(24),
    "SIGNING_KEY": lambda: b64encode(secrets.token_bytes(32)).decode(),
    "ENCRYPTION_KEYS": lambda: f"k1:{b64encode(secrets.token_bytes(32)).decode()}",
    "N8N_ENCRYPTION_KEY": lambda: secrets.token_hex(32),
    "PUBLIC_URL": lambda: "https://campanile.example",
    "N8N_URL": lambda: "https://n8n.campanile.example",
    "ACCOUNTS_EMAIL": lambda: "accounts@campanile.example",
    "SMTP_URL": lambda: "smtps://campanile:secret@mail.example:465",
}


def example() -> dict[str, str]:
    """The variables of the example, as it stands."""
    lines = (line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def filled() -> dict[str, str]:
    """The example as somebody fills it in, with secrets that nobody has."""
    given = example()
    for name, value in given.items():
        how = next((FILLED[end] for end in FILLED if name.endswith(end)), None)
        if not value and how:
            given[name] = how()
    return given


def required() -> dict[str, str]:
    """What the file does not go without, and what it says when it is missing."""
    return dict(REQUIRED.findall(FILE.read_text()))


def check() -> None:
    """Have the file read. Raises `StackError` with what the tool says against it."""
    tool = program()
    values = filled()
    refused = config(tool, values)
    if refused:
        raise StackError(f"docker-compose.yml can't be read: {refused}")
    for name, wish in required().items():
        said = config(tool, {**values, name: ""})
        if wish not in said:
            raise StackError(f"without {name} the file is taken all the same, or says: {said or 'nothing'}")
    print(
        f"docker compose {COMPOSE} reads docker-compose.yml, and refuses it without {', '.join(required())}."
    )


def config(tool: Path, values: Mapping[str, str]) -> str:
    """What `docker compose config` says against the file with these values; empty when it takes it."""
    with TemporaryDirectory() as folder:
        given = Path(folder) / "given.env"
        given.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        done = subprocess.run(
            [tool, "--file", FILE, "--env-file", given, "config", "--quiet"],
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": folder},  # Nothing of ours fills a gap.
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    return (done.stderr.strip() or f"it ended with {done.returncode}") if done.returncode else ""


def program() -> Path:
    """The tool, built if it is not there. Raises `StackError`, with what to do."""
    kept = cache() / f"compose-{COMPOSE}"
    with alone(print):
        if not os.access(kept, os.X_OK):
            build(kept)
    return kept


def build(target: Path) -> None:
    """By Go, in a module of its own. Go checks every source against its public list of hashes."""
    go = find_go()
    if not go:
        raise StackError("docker compose is built with Go 1.21 or newer: install Go and run it again")
    print(f"docker compose: building {COMPOSE}. This takes about {BUILD_SECONDS / 60:.0f} minutes, once.")
    folder = target.with_name(f"{target.name}.build")
    shutil.rmtree(folder, ignore_errors=True)  # An earlier one may have been killed.
    folder.mkdir(parents=True)
    began = time.monotonic()
    try:
        for words in (
            ("mod", "init", "campanile.example/compose"),
            ("get", f"{MODULE}@{COMPOSE}"),
            ("build", "-ldflags=-s -w", "-gcflags=all=-dwarf=false", "-o", "compose", MODULE),
        ):
            run([go, *words], folder)
        (folder / "compose").replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"docker compose: built in {time.monotonic() - began:.0f} s and kept as {target}.")


def run(command: list[str | Path], folder: Path) -> None:
    environment = {"GOGC": COLLECT_RARELY, **os.environ, "CGO_ENABLED": "0"}
    done = subprocess.run(
        tied(command, signal.SIGINT),
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise StackError(f"docker compose can't be built ({last[0]}): see that Go's proxy can be reached")


if __name__ == "__main__":
    try:
        check()
    except StackError as problem:
        sys.exit(f"campanile: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
