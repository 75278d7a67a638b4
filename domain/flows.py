"""A flow is a graph of steps. This module says which step comes next, and nothing else."""

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias, get_args
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from domain.comparisons import Name, Property
from domain.deeds import Message
from domain.errors import Invalid
from domain.events import SEGMENT_ENTERED, SEGMENT_LEFT
from domain.extras import small
from domain.segments import Rule, check_weight, conditions

START = "start"  # Where everyone enters; it is due at once and leads to the first step.
END = "end"
LONGEST_WAIT = timedelta(days=3660)  # Beyond the year 9999 there is no date to wait for.
LONGEST_CALLBACK = timedelta(days=30)
MOST_ATTRIBUTES = 50
MOST_PROPERTIES = 20
MOST_HOPS = 10  # Events that a flow leads to may start flows again, but not round and round.


class FlowState(StrEnum):
    """draft → live ⇄ paused → archived"""

    DRAFT = "draft"
    LIVE = "live"
    PAUSED = "paused"
    ARCHIVED = "archived"


class WaitingFor(StrEnum):
    """What a member waits for who does not wait for a time alone."""

    MESSAGE = "message"  # Until it is closed.
    EVENT = "event"  # Until it comes, or its time is over.
    CALLBACK = "callback"  # Until it comes, or its time is over.
    # For their turn to go on: they were called about, and all is well, or not.
    DONE = "done"
    FAILED = "failed"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_WHICH = '"where": [{"name": "segment_id", "op": "is", "value": …}]'


class SegmentTrigger(_Part):
    """The members of a segment at the moment of publishing enter."""

    kind: Literal["segment"] = "segment"
    segment_id: UUID


def _of_the_event(value: Any) -> Any:
    """Says what stands here, to somebody who asks about the profile."""
    if isinstance(value, dict) and value.get("kind", "property") != "property":
        raise ValueError(
            'Only the event\'s own properties can be asked about here: {"kind": "property", "name": …, '
            '"op": …, "value": …}. A branch asks about the profile.'
        )
    return value


Where = Annotated[
    tuple[Annotated[Property, BeforeValidator(_of_the_event)], ...], Field(max_length=MOST_PROPERTIES)
]


class _OfAnEvent(_Part):
    @model_validator(mode="before")
    @classmethod
    def _asks_by_where(cls, value: Any) -> Any:
        if isinstance(value, dict) and "segment_id" in value:
            raise ValueError(f"Which segment it is stands in the where: {_WHICH}.")
        return value


class EventTrigger(_OfAnEvent):
    """Whoever does this enters, if all of `where` holds of the event."""

    kind: Literal["event"] = "event"
    event: Name
    where: Where = ()


class ApiTrigger(_Part):
    """Only those enter whom somebody enrolls by hand or by API. (That is possible in every flow.)"""

    kind: Literal["api"] = "api"


class Send(_Part):
    """Send a message, and go on when it was sent, skipped or refused."""

    kind: Literal["send"] = "send"
    template_id: UUID
    then: str | None = None


class Wait(_Part):
    """Wait for a time: seconds, or an ISO 8601 duration."""

    kind: Literal["wait"] = "wait"
    duration: timedelta = Field(gt=timedelta(0), le=LONGEST_WAIT)
    then: str | None = None


class WaitForEvent(_OfAnEvent):
    """Wait until the profile does this, but not for ever.

    Who does it in time, so that all of `where` holds, goes on to `then`, the others to `otherwise`.
    `at_most` is seconds, or an ISO 8601 duration. What was done before the wait began does not count.
    """

    kind: Literal["wait_for_event"] = "wait_for_event"
    event: Name
    where: Where = ()
    at_most: timedelta = Field(gt=timedelta(0), le=LONGEST_WAIT)
    then: str | None = None
    otherwise: str | None = None


class Branch(_Part):
    """Go one way or the other, by any segment condition."""

    kind: Literal["branch"] = "branch"
    condition: Rule
    then: str | None = None
    otherwise: str | None = None


class Callback(_Part):
    """Wait for the callback, but not for ever. `within` is seconds, or an ISO 8601 duration."""

    within: timedelta = Field(gt=timedelta(0), le=LONGEST_CALLBACK)


class Call(_Part):
    """Call a webhook with a whole group of members, by an announcement that goes to it alone.

    `data` goes along as it is, and so do the `attributes` of each member that are named. Where a `callback`
    is wanted, members wait for it: those whose outcome is "done" go on to `then`; "failed" and those of whom
    nothing is heard in time to `otherwise`. Without one they go on to `then` at once.
    """

    kind: Literal["webhook"] = "webhook"
    webhook_id: UUID
    data: Annotated[dict[str, Any], AfterValidator(small)] = Field(default_factory=dict)
    attributes: tuple[Name, ...] = Field((), max_length=MOST_ATTRIBUTES)
    callback: Callback | None = None
    then: str | None = None
    otherwise: str | None = None


def _kinds(what: str, union: Any) -> BeforeValidator:
    """Says which kinds there are where somebody names none of them."""
    kinds = [part.model_fields["kind"].default for part in get_args(union)]

    def named(value: Any) -> Any:
        if isinstance(value, dict) and (kind := value.get("kind")) not in kinds:
            said = f'The "kind" of a {what} is {", ".join(kinds[:-1])} or {kinds[-1]}'
            if kind in (SEGMENT_ENTERED, SEGMENT_LEFT):
                event = "event" if "event" in kinds else "wait_for_event"
                said += f'; this is an event: {{"kind": "{event}", "event": "{kind}", {_WHICH}}}'
            raise ValueError(f"{said}.")
        return value

    return BeforeValidator(named)


_Trigger: TypeAlias = SegmentTrigger | EventTrigger | ApiTrigger
_Step: TypeAlias = Send | Wait | WaitForEvent | Branch | Call
Trigger = Annotated[_Trigger, Field(discriminator="kind"), _kinds("trigger", _Trigger)]
Step = Annotated[_Step, Field(discriminator="kind"), _kinds("step", _Step)]


class Flow(_Part):
    """The graph: where it begins, its steps by name, and whether a profile may come again."""

    trigger: Trigger
    first: str
    steps: dict[Name, Step] = Field(min_length=1, max_length=200)
    reentry: Literal["once", "always"] = "once"


def next_step(step: Step, passed: bool = True) -> str | None:
    """The id of the step that follows, or None at the end of the flow.

    `passed` says of a branch whether its condition was met, of a wait for an event whether it came, and of a
    call whether all was well.
    """
    match step:
        case Send(then=then) | Wait(then=then):
            return then
        case WaitForEvent() | Branch() | Call():
            return step.then if passed else step.otherwise


def edges(flow: Flow) -> Iterator[tuple[str, str, str]]:
    """Every (from, field, to) of the graph, the ends left out."""
    yield START, "first", flow.first
    for name, step in flow.steps.items():
        for field in ("then", "otherwise"):
            if to := getattr(step, field, None):
                yield name, field, to


def takes_time(step: Step) -> bool:
    """Whether members stay at the step, so that a loop through it does not spin."""
    return isinstance(step, Wait | WaitForEvent) or (isinstance(step, Call) and step.callback is not None)


def check(flow: Flow) -> None:
    """Raise `Invalid` for a graph that would strand or spin its members.

    Every edge leads to a step; no reserved name is used; a loop has a wait in it; a branch asks only
    about messages of this flow's own send steps, and costs no more than a segment may.
    """
    for name in flow.steps:
        if name in (START, END):
            raise Invalid(f'A step can\'t be called "{name}"; give it another name.', f"/steps/{name}")
    for origin, field, to in edges(flow):
        if to not in flow.steps:
            pointer = "/first" if origin == START else f"/steps/{origin}/{field}"
            raise Invalid(
                f'There is no step "{to}"; name one of this flow\'s steps, or null to end.', pointer
            )
    for name, step in flow.steps.items():
        if isinstance(step, Branch):
            check_weight(step.condition, f"/steps/{name}/condition")
            for condition in conditions(step.condition):
                if isinstance(condition, Message) and not isinstance(flow.steps.get(condition.step), Send):
                    raise Invalid(
                        f'The branch asks about "{condition.step}", which is no send step of this flow.',
                        f"/steps/{name}/condition",
                    )
    if spinning := _loop_without_wait(flow):
        raise Invalid(f'The loop through "{spinning}" has no wait in it; add one.', f"/steps/{spinning}")


def _loop_without_wait(flow: Flow) -> str | None:
    """A step from which one comes back to it without waiting, or None."""
    following: dict[str, list[str]] = {}
    for origin, _, to in edges(flow):
        if not takes_time(flow.steps[to]):
            following.setdefault(origin, []).append(to)
    for name in flow.steps:
        seen, ahead = set(), list(following.get(name, ()))
        while ahead:
            step = ahead.pop()
            if step == name:
                return name
            if step not in seen:
                seen.add(step)
                ahead += following.get(step, ())
    return None
