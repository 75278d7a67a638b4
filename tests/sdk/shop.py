"""A shop's web server: it serves pages of another origin than the API's, and knows nothing of it."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

PAGES = {
    "/": '<!doctype html><title>Records</title><script src="/marketing.js"></script><p>Hello',
    "/bare": "<!doctype html><title>Records</title><p>Hello",
    "/segment": '<!doctype html><title>Records</title><script src="/segment.js"></script><p>Hello',
}


class Handler(SimpleHTTPRequestHandler):
    """The pages above, and the files of a folder."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        page = PAGES.get(self.path.split("?")[0])
        if page is None:
            super().do_GET()
            return
        body = page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 – the base class calls it so.
        pass


class Shop:
    """Enter it to serve `folder` and the pages."""

    def __init__(self, folder: Path) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
