"""Groups: everyone who waits is served, whoever else hangs up, and no more wait than may."""

import asyncio
from typing import Any

import pytest

from api.tracking.groups import Full, Groups


async def test_a_reader_who_hangs_up_takes_nobody_along() -> None:
    served: list[int] = []
    go = asyncio.Event()

    async def work(items: Any) -> Any:
        await go.wait()
        served.extend(items)
        return items

    groups: Groups[int, int] = Groups(work, room=3)
    waiting = [asyncio.create_task(groups.put(n)) for n in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    go.set()
    assert await waiting[0] == 0
    assert await waiting[2] == 2
    assert served == [0, 1, 2]


async def test_more_than_may_wait_are_turned_away() -> None:
    go = asyncio.Event()

    async def work(items: Any) -> Any:
        await go.wait()
        return items

    groups: Groups[int, int] = Groups(work, largest=1, room=2)
    waiting = []
    for n in range(3):  # One at work, two that wait.
        waiting.append(asyncio.create_task(groups.put(n)))
        await asyncio.sleep(0.001)
    with pytest.raises(Full):
        await groups.put(3)
    go.set()
    assert await asyncio.gather(*waiting) == [0, 1, 2]


async def test_an_error_is_told_to_the_whole_group_and_the_next_one_is_served() -> None:
    async def work(items: Any) -> Any:
        if 1 in items:
            raise OSError("gone")
        return items

    groups: Groups[int, int] = Groups(work)
    assert [
        type(each) for each in await asyncio.gather(groups.put(1), groups.put(2), return_exceptions=True)
    ] == [
        OSError,
        OSError,
    ]
    assert await groups.put(3) == 3
