"""How many messages a provider is offered at a time."""

from domain.ramps import FIRST, LARGEST, Ramp


def offered(calls: list[bool], ramp: Ramp | None = None) -> list[int]:
    """How many each call offers, by whether those before it went well."""
    ramp, found = ramp or Ramp(), []
    for well in calls:
        found.append(ramp.most)
        ramp = ramp.after(ramp.most, well=well)
    return found


def test_a_provider_that_works_soon_gets_as_many_as_it_takes() -> None:
    assert offered([True] * 5) == [16, 64, 256, LARGEST, LARGEST]


def test_after_a_failure_it_grows_fast_to_a_quarter_of_what_that_cost_and_then_slowly() -> None:
    assert offered([True, True, True, False] + [True] * 5)[3:] == [LARGEST, FIRST, 64, 250, 266, 282]


def test_who_fails_again_and_again_costs_little_each_time() -> None:
    calls = [True, True, True, False] * 8
    lost = [n for n, well in zip(offered(calls), calls, strict=True) if not well]

    assert lost[0] == LARGEST
    assert all(n <= 282 for n in lost[1:])
    assert all(n <= 64 for n in lost[3:])


def test_it_never_offers_more_than_any_provider_takes() -> None:
    assert max(offered([False] + [True] * 200)) == LARGEST
