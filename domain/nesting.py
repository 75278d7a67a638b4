"""How deep JSON that somebody gives us is nested: by some hundreds of levels it can't be written again."""

from typing import Any

DEEPEST = 20  # Levels.


def depth(value: Any) -> int:
    """How many levels; no deeper than it has to be looked at."""
    level, levels = [value], 0
    while level and levels <= DEEPEST:
        levels += 1
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return levels
