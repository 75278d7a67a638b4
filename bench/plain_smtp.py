"""What one would write without Campanile: the same mail to many by a popular client, on kept connections.

There is no database and no ledger; whoever ends it half-way knows of nobody whether they got theirs.
`python -m bench.plain_smtp PORT SIZE [--uvloop]` sends so many to a server on this machine, and prints how
many a second.
"""

import argparse
import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP

import aiosmtplib
import uvloop

from bench import people, sink
from bench.harness import Case
from bench.stack import Stack, expect
from dev.places import ROOT

CONNECTIONS = 16  # As many as Campanile keeps.
LOOPS = {"asyncio": (), "uvloop": ("--uvloop",)}


def measure(stack: Stack, program: str, size: int) -> Case:
    """In its best form: the quicker of two loops counts."""
    rates = {loop: _rate(stack, program, size, *given) for loop, given in LOOPS.items()}
    for loop, rate in rates.items():
        print(f"smtp, a client alone, on {loop}: {size:,}, {rate:,.0f}/s")
    return Case("smtp, a client alone", max(rates.values()), "messages/s", None, "higher", {"loops": rates})


def _rate(stack: Stack, program: str, size: int, *given: str) -> float:
    with sink.running(program, stack.folder) as taker:
        command = [sys.executable, "-m", "bench.plain_smtp", str(taker.port), str(size), *given]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        taken = taker.count()
    expect(taken == size, f"the sink took {taken:,} messages of {size:,}")
    return float(done.stdout)


def a_mail() -> bytes:
    """A little shorter than Campanile's, and written once: then sending alone counts."""
    html = people.SHORT.html.replace("{{ first_name }}", "%(name)b")
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"] = "The Shop <news@shop.example>", "%(to)b"
    mail["Subject"] = "%(name)b, we kept something for you"
    mail["List-Unsubscribe"] = "<https://shop.example/u/%(to)b>"
    mail.set_content(re.sub("<[^>]+>", "\n", html))
    mail.add_alternative(html, subtype="html")
    return mail.as_bytes()


async def send(port: int, size: int) -> float:
    """Returns how many a second."""
    mail, everybody = a_mail(), iter(range(size))
    began = time.perf_counter()
    await asyncio.gather(*(_connection(port, mail, everybody) for _ in range(CONNECTIONS)))
    return size / (time.perf_counter() - began)


async def _connection(port: int, mail: bytes, everybody: Iterator[int]) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, use_tls=False, start_tls=False) as server:
        for n in everybody:
            to = f"customer-{n}@example.com"
            filled = mail % {b"name": b"Customer %d" % n, b"to": to.encode()}
            await server.sendmail("news@shop.example", [to], filled)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.plain_smtp", description="A popular client alone")
    parser.add_argument("port", type=int)
    parser.add_argument("size", type=int)
    parser.add_argument("--uvloop", action="store_true")
    asked = parser.parse_args()
    run = uvloop.run if asked.uvloop else asyncio.run
    print(run(send(asked.port, asked.size)))
