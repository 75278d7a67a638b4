"""The queues of a workspace's outbox: the express for transactional messages, one for the rest, and one for
announcements.

A password reset waits for nobody: not for the workspace's own test sends and marketing, however slow their
provider, and not for what other workspaces send.
"""

import hashlib
from uuid import UUID

from domain.channels import OTHERS_SERVERS, Channel

# The same in SQL, of a workspace's id. The migration that lets the application poke it says so, too.
EXPRESS_OF = "md5({} || ' express')::uuid"


def express(workspace_id: UUID) -> UUID:
    """The queue of the workspace's transactional messages; the other one has the workspace's own id."""
    return UUID(hashlib.md5(f"{workspace_id} express".encode(), usedforsecurity=False).hexdigest())


def outbox(workspace_id: UUID, *, transactional: bool, channel: Channel = Channel.EMAIL) -> UUID:
    """In which of the two queues a message waits. Calls to anybody's server, which may be slow,
    never take the express."""
    return express(workspace_id) if transactional and channel not in OTHERS_SERVERS else workspace_id


ANNOUNCEMENTS_OF = "md5({} || ' announcements')::uuid"


def announcements(workspace_id: UUID) -> UUID:
    """The queue in which what is announced to the workspace's webhooks waits."""
    return UUID(hashlib.md5(f"{workspace_id} announcements".encode(), usedforsecurity=False).hexdigest())
