"""pydantic-settings' own source for AWS Secrets Manager: one secret that holds all settings."""

import os

from common import FIELDS, show
from pydantic import create_model
from pydantic_settings import AWSSecretsManagerSettingsSource, BaseSettings


class Stored(BaseSettings):
    """Settings that are read from one secret."""

    @classmethod
    def settings_customise_sources(cls, settings_cls, **_):
        """Read from nowhere else."""
        return (AWSSecretsManagerSettingsSource(settings_cls, os.environ["BENCH_SECRET"]),)


Settings = create_model("Settings", __base__=Stored, **FIELDS)

show(Settings().model_dump().values())
