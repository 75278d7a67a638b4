"""Lists: how one gets on them, and the states of being on one."""

from enum import StrEnum


class OptIn(StrEnum):
    SINGLE = "single"  # Who fills in the form is on the list.
    DOUBLE = "double"  # Who then follows the link in a mail is.


class MemberState(StrEnum):
    PENDING = "pending"  # Asked by mail, and has not answered yet.
    MEMBER = "member"
    LEFT = "left"
