"""A function as AWS Lambda runs it: the real runtime client, against a runtime API of our own."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from encenv.files.rewrite import KeyName, Writer, encrypt
from encenv.load.envfiles import LoadedFile
from encenv.load.environ import Load
from encenv.testing import KmsServer

HANDLER = """\
from encenv import EncryptedSettings
from pydantic import PostgresDsn, SecretStr

class Settings(EncryptedSettings):
    secret_key: SecretStr
    database_url: PostgresDsn

settings = Settings()

def handler(event, context):
    return {"host": settings.database_url.hosts()[0]["host"], "length": len(Settings().secret_key.get_secret_value())}
"""


class RuntimeApi(ThreadingHTTPServer):
    """The part of Lambda's runtime API that a function meets: next, response, error; AWS Lambda developer guide."""

    daemon_threads = True

    def __init__(self, invocations):
        super().__init__(("127.0.0.1", 0), _Runtime)
        self.left = invocations
        self.answers = []
        self.finished = threading.Event()


class _Runtime(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: RuntimeApi

    def do_GET(self):
        if not self.server.left:
            self.server.finished.set()
            self.server.shutdown_request(self.request)
            return
        self.server.left -= 1
        body = b"{}"
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", f"request-{self.server.left}")
        # The runtime client's native part crashes on an answer without a content type or a trace id.
        self.send_header("Content-Type", "application/json")
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700")
        self.send_header("Lambda-Runtime-Deadline-Ms", "9999999999999")
        self.send_header(
            "Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:111122223333:function:f"
        )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answers.append((self.path.rsplit("/", 1)[-1], json.loads(body)))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="the runtime client is built for Linux alone")
def test_a_function_loads_its_settings_once_for_all_its_invocations(tmp_path):
    """A cold start costs one Decrypt, and what comes after none, under the real Lambda runtime client."""
    (tmp_path / "function.py").write_text(HANDLER)
    plain = "SECRET_KEY=0123456789\nDATABASE_URL=postgres://u:p@db.internal/x\n"
    with KmsServer() as kms:
        environ = kms.environ(os.environ)
        key = kms.create_key()
        sealed = encrypt_with(plain, key, environ)
        kms.clear()
        api = RuntimeApi(invocations=3)
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        function = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", "function.handler"],
            cwd=tmp_path,
            env={**environ, **sealed, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            api.finished.wait(30)
        finally:
            function.kill()
            output = function.communicate()[0].decode()
            api.shutdown()
            api.server_close()
            thread.join(5)
        assert api.answers == [("response", {"host": "db.internal", "length": 10})] * 3, output
        assert kms.count("Decrypt") == 1
        assert "0123456789" not in output


def encrypt_with(plain, key, environ):
    """Return the variables of the .env text *plain*, sealed under the KMS key *key*."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        text = encrypt(plain, Writer((KeyName("aws-kms", key),))).text
    file = LoadedFile(Load({}, {}), text)
    entry = text.split("=", 1)[0]
    return {**dict(file.raw_items()), entry: text.splitlines()[0].split("=", 1)[1]}
