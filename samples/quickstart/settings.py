"""The settings of a web shop, loaded from a .env file whose values may be encrypted.

Run it beside the file: python settings.py
"""

import re
from typing import Literal

from pydantic import AmqpDsn, BaseModel, Field, HttpUrl, PostgresDsn, RedisDsn, SecretStr

from encenv import EncryptedSettings


class Pool(BaseModel):
    """Limits of the connection pool."""

    min: int
    max: int


class Database(BaseModel):
    """Settings of the database that are not in its URL."""

    pool: Pool


class FeatureFlags(BaseModel):
    """Switches, one JSON object in one variable."""

    new_checkout: bool
    rollout: float
    markets: list[str]


class Settings(EncryptedSettings, env_file=".env", env_nested_delimiter="__", extra="ignore"):
    """The web shop's configuration."""

    environment: Literal["development", "staging", "production"]
    debug: bool = False
    log_level: str = "warning"
    secret_key: SecretStr
    allowed_hosts: list[str]
    admin_email: str
    site_name: str
    motd: str
    maintenance_until: str
    database_url: PostgresDsn
    replica_url: PostgresDsn
    db_password: SecretStr
    db: Database
    redis_url: RedisDsn
    amqp_url: AmqpDsn
    sentry_dsn: HttpUrl
    stripe_secret_key: SecretStr
    stripe_webhook_secret: SecretStr
    smtp_password: SecretStr
    oauth_client_secret: SecretStr
    feature_flags: FeatureFlags
    greeting: str
    payment_key: SecretStr
    name_in_quotes: str = Field(validation_alias="QUOTED_NAME")


if __name__ == "__main__":
    for name, value in Settings():
        # SecretStr hides itself; a URL shows its credentials, so remove them before printing.
        print(f"{name:22}{re.sub('//[^/@]+@', '//***@', repr(value))}")
