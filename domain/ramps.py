"""How many messages to offer a provider at a time: few at first, more while all goes well.

As a sender does in TCP (RFC 5681). A call that fails may cost its whole batch, when nobody can say what was
taken. So after one, the number grows fast only to a quarter of what was lost, and from there step by step.
"""

from dataclasses import dataclass

FIRST = 16
LARGEST = 1_000  # No provider takes more in one call.


@dataclass(frozen=True, slots=True)
class Ramp:
    most: int = FIRST  # What to offer next.
    fast_to: int = LARGEST  # Up to here it is four times as many after each good call.

    def after(self, offered: int, *, well: bool) -> "Ramp":
        """How it goes on after a call with so many messages."""
        if not well:
            return Ramp(FIRST, max(offered // 4, FIRST))
        if self.most < self.fast_to:
            return Ramp(min(self.most * 4, self.fast_to), self.fast_to)
        return Ramp(min(self.most + FIRST, LARGEST), self.fast_to)
