"""The least work possible: one request signed by hand, no retry, no check of anything, then AES-GCM.

It reads the same environment as the program with boto3 and envelope encryption.
"""

import hashlib
import hmac
import http.client
import json
import os
import ssl
import time
from base64 import b64decode
from urllib.parse import urlsplit

from common import FIELDS, NAMES, show
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import create_model
from pydantic_settings import BaseSettings

url = urlsplit(os.environ["AWS_ENDPOINT_URL_KMS"])
region = os.environ["AWS_REGION"]
body = json.dumps({"CiphertextBlob": os.environ["DATA_KEY"]}).encode()
now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
headers = {
    "Content-Type": "application/x-amz-json-1.1",
    "Host": url.netloc,
    "X-Amz-Date": now,
    "X-Amz-Target": "TrentService.Decrypt",
}
lines = "".join(f"{name.lower()}:{value}\n" for name, value in headers.items())
names = ";".join(headers).lower()
asked = "\n".join(["POST", "/", "", lines, names, hashlib.sha256(body).hexdigest()])
scope = f"{now[:8]}/{region}/kms/aws4_request"
text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(asked.encode()).hexdigest()])
key = b"AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"].encode()
for part in scope.split("/"):
    key = hmac.digest(key, part.encode(), "sha256")
signature = hmac.digest(key, text.encode(), "sha256").hex()
headers["Authorization"] = (
    f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, "
    f"SignedHeaders={names}, Signature={signature}"
)
if url.scheme == "https":  # one authority: the server's own
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=os.environ["AWS_CA_BUNDLE"])
    connection = http.client.HTTPSConnection(url.hostname, url.port, context=context)
else:
    connection = http.client.HTTPConnection(url.hostname, url.port)
connection.request("POST", "/", body, headers)
data_key = b64decode(json.load(connection.getresponse())["Plaintext"])
cipher = AESGCM(data_key)
for name in NAMES:
    sealed = b64decode(os.environ[name])
    os.environ[name] = cipher.decrypt(sealed[:12], sealed[12:], name.encode()).decode()

Settings = create_model("Settings", __base__=BaseSettings, **FIELDS)

show(Settings().model_dump().values())
