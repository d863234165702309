"""The test KMS in a process of its own: ``python -m encenv.testing``."""

import argparse
import hashlib
import json
import signal
from dataclasses import asdict

from encenv.testing.server import REGION, Call, KmsServer

END_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def main() -> None:
    """Serve until SIGTERM or Ctrl-C; print one line of JSON with the URL, the keys and the environment for clients."""
    parser = argparse.ArgumentParser("python -m encenv.testing", description=main.__doc__)
    add = parser.add_argument
    add("--region", action="append", help=f"region of the key ({REGION}); repeat it for a multi-region key")
    add("--seed", help="text to make the key from: the same text makes the same key")
    add("--tls", action="store_true", help="speak TLS, with a certificate made for this server")
    add(
        "--delay", type=float, default=0.0, metavar="SECONDS", help="wait before each answer ('inf': forever)"
    )
    add("--log", action="store_true", help="print each request as a line of JSON")
    options = parser.parse_args()
    if not options.delay >= 0:
        parser.error("--delay must not be negative")
    signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)  # before there are threads, which inherit it
    with KmsServer(tls=options.tls, watch=_show if options.log else None) as kms:
        first, *others = options.region or [REGION]
        material = None if options.seed is None else hashlib.sha256(options.seed.encode()).digest()
        key = kms.create_key(first, multi_region=bool(others), material=material)
        keys = [key, *(kms.replicate(key, region) for region in others)]
        if options.delay:
            kms.delay(options.delay)
        print(json.dumps({"url": kms.url, "keys": keys, "environ": kms.environ()}), flush=True)
        signal.sigwait(END_SIGNALS)


def _show(call: Call) -> None:
    print(json.dumps(asdict(call)), flush=True)


if __name__ == "__main__":
    main()
