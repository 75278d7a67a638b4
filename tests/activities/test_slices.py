"""How long a slice lasts."""

from activities.slices import TRICKLING, Hourglass
from tests.sending import ran


async def test_a_slice_to_which_people_come_one_by_one_lasts_longer() -> None:
    async def left(seconds: float) -> float:
        glass = Hourglass(seconds)
        glass.trickle()
        return glass.left

    assert (TRICKLING - 1) * 15 < await ran(left, 15) <= TRICKLING * 15


async def test_a_slice_that_is_over_stays_over_whoever_comes() -> None:
    async def over() -> bool:
        glass = Hourglass(0)
        glass.trickle()
        return glass.over

    assert await ran(over)
