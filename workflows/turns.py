"""One steering at a time: the activity of the later one begins when the earlier one's state is entered.

Activities do not answer in the order in which they committed, and one that is tried again may commit again.
Side by side, a pause and a resume would leave the row in one state and the workflow in the other.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import workflow


@asynccontextmanager
async def in_turn(steering: asyncio.Lock) -> AsyncIterator[None]:
    """Within a workflow: wait for whoever steers it already; first come, first served.

    A lock that is free is taken at once: where nobody waits, a run replays as it was recorded, without a
    patch. One in whose history two steered side by side goes on so until it continues as new.
    """
    if steering.locked() and not workflow.patched("one-steering-at-a-time"):
        yield
        return
    async with steering:
        yield
