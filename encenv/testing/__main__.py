"""The test KMS in a process of its own: ``python -m encenv.testing``."""

import argparse
import hashlib
import json
import signal
from collections.abc import Sequence
from dataclasses import asdict

from encenv.testing.server import REGION, Call, KmsServer

ENDS = {signal.SIGINT, signal.SIGTERM}


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; print one line of JSON with the URL, the keys and the environment for clients."""
    parser = argparse.ArgumentParser("python -m encenv.testing", description=main.__doc__)
    parser.add_argument(
        "--region",
        action="append",
        help=f"where there is to be a key ({REGION}); of several, copies of one multi-region key",
    )
    parser.add_argument("--seed", help="a text that the key is made of: the same text, the same key")
    parser.add_argument(
        "--tls", action="store_true", help="speak TLS, with a certificate made for this server"
    )
    parser.add_argument(
        "--delay", type=float, default=0.0, metavar="SECONDS", help="answer so much later ('inf': never)"
    )
    parser.add_argument("--log", action="store_true", help="print every request, one line of JSON each")
    options = parser.parse_args(arguments)
    if not options.delay >= 0:
        parser.error("--delay must not be negative")
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # before there are threads, which inherit it
    with KmsServer(tls=options.tls, watch=_show if options.log else None) as kms:
        first, *others = options.region or [REGION]
        material = None if options.seed is None else hashlib.sha256(options.seed.encode()).digest()
        key = kms.create_key(first, multi_region=bool(others), material=material)
        keys = [key, *(kms.replicate(key, region) for region in others)]
        if options.delay:
            kms.delay(options.delay)
        print(json.dumps({"url": kms.url, "keys": keys, "environ": kms.environ()}), flush=True)
        signal.sigwait(ENDS)


def _show(call: Call) -> None:
    print(json.dumps(asdict(call)), flush=True)


if __name__ == "__main__":
    main()
