"""A shop's function: typed settings from encrypted variables, with one call of AWS KMS at the cold start."""

import encenv

RULES = {"encryption_context": {"service": "shop"}}  # values of another service are refused
encenv.prefetch(**RULES)  # before the other imports: AWS KMS answers while they run

import hashlib
import hmac
import json

from pydantic import PostgresDsn, SecretStr


class Settings(encenv.EncryptedSettings, **RULES):
    """The variables of prod.env."""

    secret_key: SecretStr
    database_url: PostgresDsn
    stripe_key: SecretStr
    log_level: str = "WARNING"


settings = Settings()


def handler(event, _context):
    """Sign the event, and name the database that it would go to."""
    # Read secrets from `settings` where they are used: a constant of the module would be in the snapshot.
    key = settings.secret_key.get_secret_value().encode()
    text = json.dumps(event, sort_keys=True).encode()
    body = {
        "database": settings.database_url.hosts()[0]["host"],
        "signature": hmac.new(key, text, hashlib.sha256).hexdigest(),
    }
    return {"statusCode": 200, "body": json.dumps(body)}
