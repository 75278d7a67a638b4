"""The long run of chaos: `python -m tests.chaos.rounds [--rounds 100] [--people 20000]`, or `make chaos`.

Each round is the whole story of `test_delivery` with other moments, and a line of the table. It ends with the
first round that fails, and says the seed. Rounds wait more than they work, so some run side by side.
"""

import argparse
import asyncio
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dev.postgres import Postgres
from tests.chaos.delivery import Books, Delivery
from tests.chaos.site import Site
from tests.chaos.test_delivery import SECONDS, a_round
from tests.databases import a_clone, a_server, make_template

AT_ONCE = 2  # Rounds. More, and two cores are so busy that workers are late with their heartbeats.
COLUMNS = ("round", "seed", "seconds", "accepted", "failed", "unknown", "of these taken", "twice", "lost")


async def one(postgres: Postgres, seed: int, people: int) -> Books:
    database = a_clone(postgres)
    with tempfile.TemporaryDirectory(prefix="campanile-chaos-") as folder:
        site = Site(postgres, database, Path(folder), random.Random(seed), lambda _: None)
        delivery = Delivery(site, people / SECONDS)
        try:
            return await a_round(site, delivery, people)
        finally:
            await delivery.close()
            site.close()
            postgres.drop_database(database.name)


def row_of(postgres: Postgres, nth: int, seed: int, people: int) -> tuple[int, ...]:
    """Play one round, in a thread of its own: its line of the table. AssertionError names the seed."""
    began = time.monotonic()
    try:
        books = asyncio.run(one(postgres, seed, people))
    except AssertionError as error:
        raise AssertionError(f"In the round with --seed {seed}: {error}") from error
    counts = books.counts()
    return (
        nth,
        seed,
        round(time.monotonic() - began),
        counts["accepted"],
        counts["failed"],
        counts["unknown"],
        len(books.unknown(taken=True)),
        len(books.twice),
        len(books.lost),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.rounds", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--seed", type=int, help="of the first round; the next ones count on")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="rounds side by side")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    console, table = Console(), Table(*COLUMNS, title=f"chaos, {given.people:,} people a round")
    postgres = a_server()
    rounds = ThreadPoolExecutor(given.at_once)
    try:
        make_template(postgres)
        waiting = [
            rounds.submit(row_of, postgres, nth + 1, seed + nth, given.people) for nth in range(given.rounds)
        ]
        for done in as_completed(waiting):
            row = done.result()
            table.add_row(*map(str, row))
            line = ", ".join(f"{name} {value}" for name, value in zip(COLUMNS, row, strict=True))
            console.print(line, soft_wrap=True)
    finally:
        rounds.shutdown(cancel_futures=True)
        postgres.stop()
        console.print(table)


if __name__ == "__main__":
    main()
