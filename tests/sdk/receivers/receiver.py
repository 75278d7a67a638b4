import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
had: set[str] = set()  # Of a real one: a table with a unique key.


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))  # As it came: it is what was signed.
        try:
            told = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.answer(401)
            return
        if self.headers["webhook-id"] not in had:
            had.add(self.headers["webhook-id"])
            print(told["type"], json.dumps(told["data"]), flush=True)  # Put it aside, and work on it later.
        self.answer(204)  # Soon: within 10 seconds.

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Receiver)
print("listening on", server.server_port, flush=True)
server.serve_forever()
