"""Sealed values in an application with a heavy import of its own; the data key is unwrapped during the import."""

# ruff: noqa: E402 (the point of it)
import encenv

encenv.prefetch()

import pandas as pd
from common import FIELDS, load, show
from pydantic import create_model

from encenv import EncryptedSettings

Settings = create_model("Settings", __base__=EncryptedSettings, **FIELDS)

show(load(Settings).model_dump().values())
assert pd
