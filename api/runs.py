"""Talking to what is under way: start it, or ask it to change."""

import asyncio
from collections.abc import Awaitable, Collection, Mapping
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import quote

from pydantic import Field
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from api.errors import Unavailable
from api.shapes import Out, example
from domain.channels import Channel, address_kind
from domain.errors import Conflict
from domain.road_plans import held_in_words
from models.workspaces import Workspace
from settings import Settings

PATIENCE = 30.0  # Seconds that an update has to be committed.

Answer = TypeVar("Answer")


class Started(Out):
    """A workflow has it now."""

    workflow_id: str
    watch: str = Field(description="Where to watch it in Temporal's web UI.")

    model_config = example(
        {
            "workflow_id": "campaign/0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f/winter-letter",
            "watch": "http://127.0.0.1:8233/namespaces/default/workflows/campaign%2F0199f1c2…",
        }
    )


def started(settings: Settings, workflow_id: str) -> Started:
    at = f"{settings.temporal_ui_url}/namespaces/{settings.temporal_namespace}/workflows"
    return Started(workflow_id=workflow_id, watch=f"{at}/{quote(workflow_id, safe='')}")


async def ask(asked: Awaitable[Answer], otherwise: str) -> Answer:
    """Wait until an update that a workflow is asked for is committed.

    Raises `Conflict` when it can't be, with `otherwise` when nothing is under way; `Unavailable` when
    nobody answers.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            return await asked
    except WorkflowUpdateFailedError as error:
        raise Conflict(_reason(error) or otherwise) from error
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        raise Unavailable(
            f"No worker answered within {PATIENCE:.0f} seconds. Start one (`campanile worker`) and try again."
        ) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise Conflict(otherwise) from error
        raise


def _reason(error: BaseException) -> str | None:
    """The innermost sentence that the workflow or its activity gave."""
    reason, inner = None, error.__cause__
    while inner is not None:
        if isinstance(inner, ApplicationError):
            reason = inner.message
        inner = inner.__cause__
    return reason


def lacking(
    workspace: Workspace,
    channels: Collection[Channel] = (Channel.EMAIL,),
    held: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """What a workspace needs before it may send anything on these channels, in sentences.

    `held` are the channels on which what is to be sent is held, and why.
    """
    reasons = [held_in_words(channel, held[channel]) for channel in sorted(channels) if channel in held]
    if Channel.EMAIL not in channels:
        return reasons
    if not workspace.sender_email:
        reasons.append("There is no sender: set sender_email by PATCH /api/v1/workspace.")
    elif workspace.sender_email != workspace.sending_email:
        reasons.append(
            f"Verify {workspace.sender_email} first: we mailed a link there. Another one is mailed by POST "
            "/api/v1/senders/{id}/verify."
        )
    if not workspace.postal_address:
        reasons.append(
            "There is no postal address, which must stand in every mail: set postal_address by "
            "PATCH /api/v1/workspace."
        )
    return reasons


def unreachable(channels: Collection[Channel]) -> list[str]:
    """Which of these channels know people by no name of theirs, so that campaigns and flows reach nobody."""
    return [
        f"Profiles have no address for {channel}: send single messages, which name theirs, by "
        "POST /api/v1/messages."
        for channel in sorted(channels)
        if address_kind(channel) is None
    ]
