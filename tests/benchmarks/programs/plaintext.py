"""Plaintext variables, read by pydantic-settings: what every other program is compared with."""

from common import FIELDS, show
from pydantic import create_model
from pydantic_settings import BaseSettings

Settings = create_model("Settings", __base__=BaseSettings, **FIELDS)

show(Settings().model_dump().values())
