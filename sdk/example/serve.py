"""Serves the example: a page that tells Campanile of its visit, and shows the timeline that becomes of it.

    make dev                                   # in another terminal: the stack
    cd sdk && npm ci && npm run build && cd ..
    python3 sdk/example/serve.py [port]

A timeline takes a secret key, which no page may hold, so this server asks for it: on your machine, for the
page's own visitor. Address and key are API_URL and API_KEY, or else those of the embedded stack. It makes a
public key, which it revokes when it ends, and lists its own origin among the workspace's.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

HERE = Path(__file__).resolve().parent
STACK = HERE.parent.parent / ".campanile" / "stack.env"
FILES = {
    "/": (HERE / "index.html", "text/html"),
    "/marketing.js": (HERE.parent / "dist" / "marketing.js", "text/javascript"),
}
BUILD = "build the SDK first: cd sdk && npm ci && npm run build"


class Api:
    """The few questions that the example asks, with the secret key."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key

    def ask(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.url}/api/v1{path}", data, headers, method=method), timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    @contextmanager
    def public_key(self, origin: str) -> Iterator[str]:
        """A key for pages of this origin, until the end."""
        origins = self.ask("GET", "/workspace")["origins"]
        if origin not in origins:
            self.ask("PATCH", "/workspace", {"origins": [*origins, origin]})
        made = self.ask("POST", "/keys", {"name": "SDK example", "kind": "pk"})
        try:
            yield str(made["key"])
        finally:
            self.ask("DELETE", f"/keys/{made['id']}")

    def timeline(self, names: dict[str, str]) -> list[Any]:
        """What happened to whoever goes by this name, the newest first."""
        found = self.ask("GET", f"/profiles?{urlencode(names)}")["items"]
        return list(self.ask("GET", f"/profiles/{found[0]['id']}/timeline")["items"]) if found else []


class Handler(BaseHTTPRequestHandler):
    """The page, what it needs to begin, and its visitor's timeline."""

    api: Api
    options: dict[str, str]

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path in FILES:
            file, kind = FILES[asked.path]
            self.say(200, kind, file.read_bytes())
        elif asked.path == "/options":
            self.say(200, "application/json", json.dumps(self.options).encode())
        elif asked.path == "/timeline":
            names = {name: values[0] for name, values in parse_qs(asked.query).items()}
            try:
                self.say(200, "application/json", json.dumps(self.api.timeline(names)).encode())
            except (URLError, OSError) as error:
                self.say(502, "text/plain", str(error).encode())
        else:
            self.say(404, "text/plain", b"There is nothing here.")

    def say(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 – the base class calls it so.
        pass


def settings() -> dict[str, str]:
    """The embedded stack's, and before them those of the environment."""
    lines = STACK.read_text().splitlines() if STACK.exists() else []
    told = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {**told, **os.environ}


def main() -> None:
    told = settings()
    if "API_URL" not in told or "API_KEY" not in told:
        sys.exit("No stack runs here: start it with `make dev`, or set API_URL and API_KEY.")
    if not FILES["/marketing.js"][0].exists():
        sys.exit(f"There is no script yet: {BUILD}.")
    api = Api(told["API_URL"], told["API_KEY"])
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8090
    served = ThreadingHTTPServer(("127.0.0.1", port), Handler)  # It shows people: on this machine alone.
    origin = f"http://127.0.0.1:{served.server_port}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # As Ctrl-C: the key is revoked.
    try:
        with api.public_key(origin) as key:
            Handler.api, Handler.options = api, {"apiKey": key, "apiUrl": api.url}
            print(f"The example is at {origin}. Ctrl-C ends it.", flush=True)
            served.serve_forever()
    except KeyboardInterrupt:
        pass
    except HTTPError as error:
        sys.exit(f"{api.url} refused: {error.read().decode(errors='replace')}")
    except URLError as error:
        sys.exit(f"{api.url} does not answer ({error.reason}): start it with `make dev`.")


if __name__ == "__main__":
    main()
