"""Open a store of certificate authorities in one of several ways, and print how many milliseconds it took.

single: a file of one authority. encenv: what encenv does on this machine. amazon: Amazon's authorities from the
system's bundle. bundle: all of that bundle. hashed: the system's folder of hashed names. default: as `ssl` does it.
"""

import ssl
import sys
import time
from pathlib import Path

from encenv.keys.aws import ca_store

variant, work = sys.argv[1], Path(sys.argv[2])
paths = ssl.get_default_verify_paths()
single = work / "single.pem"
if variant == "single" and not single.exists():
    certificates = Path(paths.cafile or "").read_text().partition("-----END CERTIFICATE-----")
    single.write_text("".join(certificates[:2]) + "\n")
if variant == "hashed" and not (paths.capath and any(Path(paths.capath).glob("*.0"))):
    raise SystemExit("this machine has no folder of hashed names")
if variant in {"amazon", "bundle"} and not paths.cafile:
    raise SystemExit("this machine has no bundle")

began = time.perf_counter()
if variant == "encenv":
    ca_store.tls({}, is_amazon=True)
elif variant == "default":
    ssl.create_default_context()
else:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if variant == "hashed":
        context.load_verify_locations(capath=paths.capath)
    elif variant == "amazon":
        few = b"".join(ca_store._amazon(Path(paths.cafile).read_bytes()))
        if not few:
            raise SystemExit("there is none of Amazon's in this machine's bundle")
        context.load_verify_locations(cadata=few)
    else:
        context.load_verify_locations(cafile=single if variant == "single" else paths.cafile)
print((time.perf_counter() - began) * 1000)
