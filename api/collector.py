"""How often a process that answers by the thousand looks for garbage: never while it starts, then seldom."""

import gc


def calm_the_collector() -> None:
    """What was loaded stays, and hundreds of waiting requests are no garbage: left at its defaults, the
    collector took a fifth to a half of the time looking at both again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 100)
