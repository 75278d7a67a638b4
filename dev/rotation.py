"""`campanile secrets rotate`: every secret at rest under the present key, so that older keys can go."""

import asyncio
import json as to_json

from dev.process import StackError
from domain.secrets import CannotOpen, Sealer
from models.base import Sessions
from models.queries.sealed import reseal
from settings import Settings


def run(settings: Settings, *, json: bool) -> int:
    """Print how many were sealed anew. Raises `StackError`."""
    sealed = asyncio.run(rotate(settings))
    if json:
        print(to_json.dumps({"sealed": sealed}))
    else:
        print(f"{sealed:,} secrets were sealed anew; the keys after the first of ENCRYPTION_KEYS can go now.")
    return 0


async def rotate(settings: Settings) -> int:
    sealer = Sealer.of(settings.encryption_keys)
    sessions = Sessions(settings.database_url, settings.engine_database_url, pool_size=1)
    total = 0
    try:
        while True:
            async with sessions.engine() as db:
                renewed = await reseal(db, sealer)
            if not renewed:
                return total
            total += renewed
    except CannotOpen as error:
        raise StackError(f"{error} {total:,} were sealed anew before.") from None
    finally:
        await sessions.close()
