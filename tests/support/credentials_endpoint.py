"""A small server instead of the credentials endpoint that containers have in ECS, EKS and Lambda SnapStart."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = {
    "AccessKeyId": "ASIA",
    "SecretAccessKey": "canary",
    "Token": "canary",
    "Expiration": "2099-01-01T00:00:00Z",
}


class CredentialsEndpoint(ThreadingHTTPServer):
    """Answers each request with the next of `answers`, and with the last one from then on.

    `requests` holds the path and the Authorization header of each request.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = [(200, json.dumps(ANSWER))]
        self.requests = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1/credentials?of=me"


class _Handler(BaseHTTPRequestHandler):
    server: CredentialsEndpoint

    def do_GET(self):
        self.server.requests.append((self.path, self.headers["Authorization"]))
        status, body = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass
