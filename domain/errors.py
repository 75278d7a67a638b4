"""What can be refused, in words for the person who asked. `api/errors.py` alone knows status codes."""


class CampanileError(Exception):
    """A refusal that its reader can act on.

    `message` is one sentence that says what to do; `field` is a JSON pointer (RFC 6901) into the
    body that was sent, or None when no single field is at fault.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.also: list[CampanileError] = []  # Other fields at fault, when all of them were looked at.


class NotFound(CampanileError):
    """There is no such thing, or it belongs to another workspace: nobody can tell which."""


class Conflict(CampanileError):
    """The thing is in a state in which this can't be done."""


class Stale(CampanileError):
    """The thing is not any more what it was when whoever changes it read it."""


class Invalid(CampanileError):
    """What was sent can't be understood or breaks a rule."""


class Refused(CampanileError):
    """What was sent is well formed, but starting it would reach nobody or break a message."""
