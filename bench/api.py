"""How fast the API answers: `python -m bench.api [--quick]`.

One process on granian, as `campanile api` starts it, asked over a few kept connections by this one, beside a
bare FastAPI endpoint on the same server in the same run. They take turns, so that the machine's moods are
shared.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass
from statistics import median
from urllib.parse import urlsplit

import httpx2

from bench import machine
from bench.harness import Case, report
from bench.run import run
from bench.stack import Stack, expect
from dev.first_key import EMAIL, FirstOwner, settle
from dev.places import ROOT
from dev.process import Process, free_port
from domain import keys
from domain.roles import KeyKind

PEOPLE = 5_000
CONNECTIONS = 16
TURNS = 5
SECONDS = 2.0  # A turn of one case.


@dataclass(frozen=True)
class Turn:
    rate: float  # Requests a second.
    p99: float  # Milliseconds.


@dataclass(frozen=True)
class Asked:
    """One kind of request, as its bytes on the wire, and where it goes."""

    port: int
    request: bytes

    @classmethod
    def of(cls, url: str, credential: str = "") -> "Asked":
        parts = urlsplit(url)
        assert parts.port is not None
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        bearer = f"Authorization: Bearer {credential}\r\n" if credential else ""
        text = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: bench\r\n{bearer}\r\n"
        return cls(parts.port, text.encode())


async def main(quick: bool) -> None:
    seconds, turns = (0.3, 1) if quick else (SECONDS, TURNS)
    owner = FirstOwner(EMAIL, "a bell that rings at noon", keys.new_key(KeyKind.SECRET))
    with Stack() as stack:
        stack.make_template(100 if quick else PEOPLE)
        sessions = stack.fresh()
        await sessions.close()
        with stack.postgres.connect("bench") as db:
            settle(db, owner)
        limit = 100_000_000
        with (
            served(stack, "api.app:create_app", requests_a_minute=limit, log_level="WARNING") as ours,
            served(stack, "bench.bare:create_app") as bare,
        ):
            token = sign_in(ours, owner)
            asked = {
                "bare": Asked.of(f"{bare}/me"),
                "users/me": Asked.of(f"{ours}/api/v1/users/me", token),
                "list": Asked.of(f"{ours}/api/v1/profiles?limit=50", owner.key),
            }
            took: dict[str, list[Turn]] = {name: [] for name in asked}
            for each in asked.values():
                await ask(each, seconds / 4)
            for _ in range(turns):
                for name, each in asked.items():
                    took[name].append(await ask(each, seconds))
    report("api", [*cases(took), *machine.measure()], keep=not quick)


def cases(took: dict[str, list[Turn]]) -> list[Case]:
    rates = {name: median(turn.rate for turn in turns) for name, turns in took.items()}
    p99 = {name: median(turn.p99 for turn in turns) for name, turns in took.items()}

    def ratio(name: str, aim: float) -> Case:
        beside = {"requests/s": rates[name], "p99, ms": p99[name]}
        return Case(f"{name} ratio", rates[name] / rates["bare"], "of bare", aim, "higher", beside)

    bare = Case("bare", rates["bare"], "requests/s", None, "higher", {"p99, ms": p99["bare"]})
    return [ratio("users/me", 0.5), ratio("list", 0.2), bare]


class served:
    """One granian process of an application, on the fresh database."""

    def __init__(self, stack: Stack, target: str, **environment: object) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--loop", "uvloop"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1", target]
        self.process = Process(
            target,
            command,
            log=stack.folder / "logs" / f"{target.partition(':')[0]}.log",
            note=stack.folder / "run" / f"{target.partition(':')[0]}.json",
            environment={
                "DATABASE_URL": stack.postgres.url("bench", "campanile_app"),
                "ENGINE_DATABASE_URL": stack.postgres.url("bench", "campanile_engine"),
                "TEMPORAL_ADDRESS": stack.temporal.address,
                **{name.upper(): str(value) for name, value in environment.items()},
            },
            folder=ROOT,
        )

    def __enter__(self) -> str:
        url = f"http://127.0.0.1:{self.port}"
        self.process.start()
        self.process.wait_until(lambda: answers(url))
        return url

    def __exit__(self, *_: object) -> None:
        self.process.stop()


def answers(url: str) -> bool:
    try:
        httpx2.get(f"{url}/health", trust_env=False)
    except httpx2.TransportError:
        return False
    return True


def sign_in(url: str, owner: FirstOwner) -> str:
    body = {"email": owner.email, "password": owner.password}
    answer = httpx2.post(f"{url}/api/v1/auth/login", json=body, trust_env=False)
    expect(answer.is_success, f"nobody could sign in: {answer.text}")
    return str(answer.json()["access_token"])


async def ask(asked: Asked, seconds: float) -> Turn:
    """Ask over `CONNECTIONS` connections, on each again when the answer is there."""
    end = time.perf_counter() + seconds
    began = time.perf_counter()
    waits = [
        wait for each in await asyncio.gather(*(one(asked, end) for _ in range(CONNECTIONS))) for wait in each
    ]
    took = time.perf_counter() - began
    waits.sort()
    return Turn(len(waits) / took, 1000 * waits[int(0.99 * len(waits))])


async def one(asked: Asked, end: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", asked.port)
    waits = []
    while (began := time.perf_counter()) < end:
        writer.write(asked.request)
        head = await reader.readuntil(b"\r\n\r\n")
        expect(head.startswith(b"HTTP/1.1 200"), f"an answer was none: {head[:200]!r}")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        waits.append(time.perf_counter() - began)
    writer.close()
    return waits


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.api", description="How fast the API answers")
    parser.add_argument("--quick", action="store_true", help="a short run, to see that it works")
    run(main(parser.parse_args().quick))
