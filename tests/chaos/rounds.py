"""The long run of chaos: `python -m tests.chaos.rounds [--rounds 100] [--people 20000]`, or `make chaos`.

Each round is the whole story of `test_delivery` with other moments, and a line of the table. It ends with the
first round whose books differ, and says the seed.
"""

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dev.postgres import Postgres
from tests.chaos.delivery import Books, Delivery
from tests.chaos.site import Site
from tests.chaos.test_delivery import SECONDS, a_round
from tests.support import a_clone, a_server, make_template

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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.rounds", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--seed", type=int, help="of the first round; the next ones count on")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    console, table = Console(), Table(*COLUMNS, title=f"chaos, {given.people:,} people a round")
    postgres = a_server()
    try:
        make_template(postgres)
        for nth in range(1, given.rounds + 1):
            began = time.monotonic()
            books = asyncio.run(one(postgres, seed, given.people))
            counts = books.counts()
            row = (
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
            table.add_row(*map(str, row))
            console.print(", ".join(f"{name} {value}" for name, value in zip(COLUMNS, row, strict=True)))
            seed += 1
    except AssertionError:
        console.print(f"[red]The books differ in the round with --seed {seed}.[/]")
        raise
    finally:
        postgres.stop()
        console.print(table)


if __name__ == "__main__":
    main()
