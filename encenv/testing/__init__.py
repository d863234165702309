"""A KMS to test with: boto3 calls it instead of AWS, and it fails on demand.

    pytest_plugins = ["encenv.testing"]     # in conftest.py: the fixtures encenv_kms, encenv_kms_key, encenv_local_key

    with KmsServer() as kms:                # or by hand
        os.environ.update(kms.environ())
        key = kms.create_key()

    python -m encenv.testing                # or in a process of its own

It speaks the JSON protocol of AWS KMS on 127.0.0.1, plays every region, encrypts for real and keeps a log without
plaintexts. Do not give it real secrets: keys live in memory, and everyone who can log in to this machine may call it.

PYTEST_DONT_REWRITE: nothing is asserted here, and pytest would warn if this package is imported before it is loaded as a plugin.
"""

from encenv.testing.request import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from encenv.testing.server import Call, KmsServer

__all__ = ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "Call", "KmsServer"]

try:
    from encenv.testing.fixtures import encenv_kms, encenv_kms_key, encenv_local_key
except ModuleNotFoundError as error:
    if error.name != "pytest":  # `KmsServer` alone needs no pytest
        raise
else:
    __all__ += ["encenv_kms", "encenv_kms_key", "encenv_local_key"]
