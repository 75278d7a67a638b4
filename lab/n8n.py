"""An n8n that answers as the real one (2.30.8) does to whoever looks after it: health, metrics, public API.

async with N8nLab() as n8n:
    n8n.publish("campanile-lead-capture", "Campanile: lead capture")
    n8n.fail("7", "campanile-lead-capture")
"""

from typing import Any

from lab.http_server import Answer, Asked, HttpServer

METRICS = """# HELP process_cpu_user_seconds_total Total user CPU time spent in seconds.
# TYPE process_cpu_user_seconds_total counter
process_cpu_user_seconds_total 5.4
# HELP n8n_version_info n8n version info.
# TYPE n8n_version_info gauge
n8n_version_info{version="v2.30.8",major="2",minor="30",patch="8"} 1
"""
AT = "2026-11-21T09:00:00.000Z"


class N8nLab(HttpServer):
    def __init__(self, api_key: str = "a key of n8n's", *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(self.answer, host=host, port=port)
        self.api_key = api_key
        self.workflows: list[dict[str, Any]] = []
        self.executions: list[dict[str, Any]] = []
        self.overrides: dict[str, Answer] = {}  # By path: what is answered there instead.
        self.keys_seen: list[str | None] = []  # The API's keys that came in.

    def publish(self, id_: str, name: str, *, active: bool = True, archived: bool = False) -> None:
        self.workflows.append(
            {"id": id_, "name": name, "active": active, "isArchived": archived, "nodes": []}
        )

    def fail(self, id_: str, workflow: str) -> None:
        told = {"id": id_, "finished": False, "mode": "webhook", "status": "error", "workflowId": workflow}
        self.executions.insert(0, told | {"startedAt": AT, "stoppedAt": AT, "waitTill": None})

    async def answer(self, asked: Asked) -> Answer:
        if asked.path in self.overrides:
            return self.overrides[asked.path]
        match asked.path:
            case "/healthz":
                return Answer(body={"status": "ok"})
            case "/metrics":
                return Answer(body=METRICS.encode())
        if not asked.path.startswith("/api/v1/"):
            return Answer(404, {"message": "not found"})
        self.keys_seen.append(asked.headers.get("x-n8n-api-key"))
        if asked.headers.get("x-n8n-api-key") != self.api_key:
            return Answer(401, {"message": "unauthorized"})
        match asked.path:
            case "/api/v1/workflows":
                named = asked.query.get("name", "")
                found = [each for each in self.workflows if named in each["name"]]
            case "/api/v1/executions":
                found = [each for each in self.executions if each["status"] == asked.query.get("status")]
            case _:
                return Answer(404, {"message": "not found"})
        limit = int(asked.query.get("limit", 100))
        return Answer(body={"data": found[:limit], "nextCursor": None})
