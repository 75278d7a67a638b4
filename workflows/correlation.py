"""One id from the request to the workflow to the activity, so that the logs of all three read as one story.

The client puts the request's id into a header of what it starts or asks; the workflow hands it on to its
activities, whose log lines carry it beside the workflow's id. It is never part of a workflow's input.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import structlog
from temporalio import activity
from temporalio import client as clients
from temporalio import worker as workers
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter

HEADER = "campanile-request-id"
FIELD = "request_id"  # As the logs name it.

Headers = Mapping[str, Payload]

# Within a workflow: the request that the running task answers.
_asked_by: ContextVar[str | None] = ContextVar("asked_by", default=None)


def _carrying(headers: Headers, request_id: str | None) -> Headers:
    if not request_id:
        return headers
    return {**headers, HEADER: PayloadConverter.default.to_payload(request_id)}


def _carried(headers: Headers) -> str | None:
    payload = headers.get(HEADER)
    return PayloadConverter.default.from_payload(payload, str) if payload else None


class CorrelatedClient(clients.Interceptor):
    """For `Client.connect`: what a request starts or asks knows the request's id."""

    def intercept_client(self, next: clients.OutboundInterceptor) -> clients.OutboundInterceptor:  # noqa: A002
        return _Asking(next)


class _Asking(clients.OutboundInterceptor):
    @property
    def _id(self) -> str | None:
        return structlog.contextvars.get_contextvars().get(FIELD)

    async def start_workflow(self, input: clients.StartWorkflowInput) -> clients.WorkflowHandle[Any, Any]:  # noqa: A002
        return await super().start_workflow(replace(input, headers=_carrying(input.headers, self._id)))

    async def start_workflow_update(
        self,
        input: clients.StartWorkflowUpdateInput,  # noqa: A002
    ) -> clients.WorkflowUpdateHandle[Any]:
        return await super().start_workflow_update(replace(input, headers=_carrying(input.headers, self._id)))

    async def start_update_with_start_workflow(
        self,
        input: clients.StartWorkflowUpdateWithStartInput,  # noqa: A002
    ) -> clients.WorkflowUpdateHandle[Any]:
        for part in (input.start_workflow_input, input.update_workflow_input):
            part.headers = _carrying(part.headers, self._id)
        return await super().start_update_with_start_workflow(input)


class CorrelatedWorker(workers.Interceptor):
    """For `Worker`: workflows hand the id on, activities log it."""

    def intercept_activity(
        self,
        next: workers.ActivityInboundInterceptor,  # noqa: A002
    ) -> workers.ActivityInboundInterceptor:
        return _Acting(next)

    def workflow_interceptor_class(
        self,
        input: workers.WorkflowInterceptorClassInput,  # noqa: A002
    ) -> type[workers.WorkflowInboundInterceptor]:
        return _Inbound


class _Acting(workers.ActivityInboundInterceptor):
    async def execute_activity(self, input: workers.ExecuteActivityInput) -> Any:  # noqa: A002
        info = activity.info()
        asked_by = _carried(input.headers)
        with structlog.contextvars.bound_contextvars(
            workflow_id=info.workflow_id,
            activity=info.activity_type,
            attempt=info.attempt,
            **({FIELD: asked_by} if asked_by else {}),
        ):
            return await super().execute_activity(input)


class _Inbound(workers.WorkflowInboundInterceptor):
    def init(self, outbound: workers.WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def execute_workflow(self, input: workers.ExecuteWorkflowInput) -> Any:  # noqa: A002
        _asked_by.set(_carried(input.headers))
        return await super().execute_workflow(input)

    async def handle_update_handler(self, input: workers.HandleUpdateInput) -> Any:  # noqa: A002
        _asked_by.set(_carried(input.headers))
        return await super().handle_update_handler(input)


class _Outbound(workers.WorkflowOutboundInterceptor):
    def start_activity(self, input: workers.StartActivityInput) -> Any:  # noqa: A002
        return super().start_activity(replace(input, headers=_carrying(input.headers, _asked_by.get())))

    def continue_as_new(self, input: workers.ContinueAsNewInput) -> Any:  # noqa: A002
        super().continue_as_new(replace(input, headers=_carrying(input.headers, _asked_by.get())))
