"""What stands beside a container and has its AWS credentials: at AWS a part of the platform, here a small server."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = {
    "AccessKeyId": "ASIA",
    "SecretAccessKey": "canary",
    "Token": "canary",
    "Expiration": "2099-01-01T00:00:00Z",
}


class Agent(ThreadingHTTPServer):
    """What stands beside a container and has its credentials."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.answers = [(200, json.dumps(ANSWER))]  # the last one stays
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1/credentials?of=me"


class _Answers(BaseHTTPRequestHandler):
    server: Agent

    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Authorization"]))
        status, body = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass
