"""Talking to what is under way: start it, or ask it to change."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar
from urllib.parse import quote

from pydantic import Field
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from api.errors import Unavailable
from api.shapes import Out, example
from domain.errors import Conflict
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
