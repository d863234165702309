"""Powertools for AWS Lambda: one secret of AWS Secrets Manager that holds all settings."""

import os

from aws_lambda_powertools.utilities import parameters
from common import FIELDS, show
from pydantic import create_model
from pydantic_settings import BaseSettings

Settings = create_model("Settings", __base__=BaseSettings, **FIELDS)

show(Settings(**parameters.get_secret(os.environ["BENCH_SECRET"], transform="json")).model_dump().values())
