"""What rendering a template may cost: a count of work, so that no template holds a process up.

A template may come from anyone with a key, and is rendered where others wait: a worker's event loop, an API
process. Liquid limits loops and the output, but neither what a filter does with what it is given nor what one
turn of a loop does. So whatever takes work in proportion to something is counted, where it happens:

- What stands in the template: once, and once more for each turn of a loop or `when` that it stands in.
- A value, by all that is in it, when a variable is read, a filter is given it or a filter made it. What is
  done with it besides (compare, print, look into, keep) is no more than that.
- A range by its numbers, when it is made.
- A filter, by what it does to each character or item: see `domain/liquid_limits.py`.

It is a count and not a clock: the same template with the same values always ends alike.
"""

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, TextIO, cast

from liquid import BoundTemplate, RenderContext
from liquid.ast import BlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import LoopExpression, Path, StringLiteral
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.tags.case_tag import MultiExpressionBlockNode
from liquid.builtin.tags.for_tag import ForNode
from liquid.builtin.tags.tablerow_tag import TablerowNode
from liquid.exceptions import ResourceLimitError
from liquid.expression import Expression
from liquid.limits import to_int
from liquid.token import Token
from markupsafe import Markup

MOST = 1_000_000  # Units for one message. A unit is about 50 ns of a 2020s server core.
LONGEST_RANGE = 10_000  # Numbers.
READ = 20  # Units for finding a variable.
_NODE = 12  # Units for a node, whatever it does.
_EXPRESSION = 3
_TURN = 20


class TooMuchWork(ResourceLimitError):
    """The template takes more work than one message may."""

    def __init__(self) -> None:
        super().__init__(
            "the template takes more work than one message may; let loops and filters have fewer turns, "
            "shorter lists and shorter texts, or work it out before and send the result as an attribute",
            token=None,
        )


class Work:
    """How much one message may still take, in units."""

    __slots__ = ("left",)

    def __init__(self, most: int = MOST) -> None:
        self.left = most

    def spend(self, units: int) -> None:
        """Raises TooMuchWork once all is spent, and whenever it is asked from then on."""
        self.left -= units
        if self.left < 0:
            raise TooMuchWork


class MeteredContext(RenderContext):
    """Liquid's context, with what it may still take. Contexts of one message share their `work`."""

    __slots__ = ("work",)

    def __init__(
        self,
        template: BoundTemplate,
        *,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - as Liquid calls it
        work: Work | None = None,
    ) -> None:
        super().__init__(template, globals=globals)
        self.work = work or Work()

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        """Liquid makes a `partial` of each filter that wants the context; a method is quicker."""
        return MethodType(self.env.filters[name], self)

    def assign(self, key: str, val: object) -> None:
        self.work.spend(2 * len(self.locals))  # Liquid asks the size of each, whenever one changes.
        super().assign(key, val)


def work_of(context: RenderContext) -> Work:
    return cast(MeteredContext, context).work


def extent(value: Any, most: int) -> int:
    """The units for going through all of a value once; somewhat above `most` when it is more than that.

    A list may hold another many times over, so what is in it is counted as often as it would be met.
    """
    kind = type(value)
    if kind is str:
        return 1 + (len(value) >> 4)
    if kind is int:
        return 1 + int(value.bit_length() >> 6)
    return _within(value, most) if isinstance(value, _HOLDERS) else 1


_HOLDERS = (str, list, tuple, dict, range)


def _within(value: Any, most: int) -> int:
    units, unseen = 1, [value]
    for each in unseen:  # Which grows meanwhile.
        kind = type(each)
        if kind is str or kind is Markup:
            units += len(each) >> 4
        elif kind is int:
            units += each.bit_length() >> 6
        elif kind is dict:
            units += 2 * len(each) + (sum(map(len, each)) >> 4)
            if units > most:
                break
            unseen += each.values()
        elif kind is list or kind is tuple:
            units += len(each)
            if units > most:
                break
            unseen += each
        elif kind is range:
            units += len(each)
    return units


def weigh(node: Node, context: RenderContext) -> int:
    """The units for rendering a node, but for the turns of its loops: those it counts from now on. Weigh each
    node of a template once, before it is rendered.
    """
    units = _NODE
    if isinstance(node, ContentNode):
        return units + (len(node.text) >> 4)
    for expression in node.expressions():
        units += _weigh(expression)
    inside = sum(weigh(child, context) for child in node.children(context))
    if isinstance(node, ForNode | TablerowNode | MultiExpressionBlockNode):
        node.block = _Turn(node.block, inside + _TURN)
    return units + inside


def _weigh(expression: Expression) -> int:
    """The units for evaluating an expression, but for the values that it finds and its filters' work."""
    units = _EXPRESSION
    if isinstance(expression, StringLiteral):
        units += len(expression.value) >> 4
    elif isinstance(expression, Path):
        units += sum(_EXPRESSION + (len(str(key)) >> 4) for key in expression.path)
    elif isinstance(expression, LoopExpression):
        units += len(expression.identifier) >> 4
    elif isinstance(expression, RangeLiteral):
        expression.stop = _Stop(expression.start, expression.stop)
    for child in expression.children():
        units += _weigh(child)
    return units


class _Turn(BlockNode):
    """A block that may be rendered more than once, and is paid for each time."""

    __slots__ = ("units",)

    def __init__(self, block: BlockNode, units: int) -> None:
        super().__init__(block.token, block.nodes)
        self.blank = block.blank
        self.units = units

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        work_of(context).spend(self.units)
        return super().render_to_output(context, buffer)


class _Stop(Expression):
    """The end of a range, which must not be too far from its start."""

    __slots__ = ("start", "stop")

    def __init__(self, start: Expression, stop: Expression) -> None:
        super().__init__(stop.token)
        self.start = start
        self.stop = stop

    def __str__(self) -> str:
        return str(self.stop)

    def evaluate(self, context: RenderContext) -> object:
        stop = self.stop.evaluate(context)
        length = _number(stop) - _number(self.start.evaluate(context)) + 1
        if length > LONGEST_RANGE:
            raise ResourceLimitError(
                f"a range of more than {LONGEST_RANGE:,} numbers is too long; end it sooner", token=None
            )
        work_of(context).spend(max(length, 1))
        return stop

    def children(self) -> list[Expression]:
        return [self.stop]


def _number(value: object) -> int:
    """As Liquid reads the ends of a range."""
    try:
        return to_int(value)
    except (ValueError, TypeError):
        return 0
