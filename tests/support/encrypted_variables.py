"""Encrypted environment variables, for tests that need any."""

from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, encryption_context
from encenv.keys.aws.kms import AwsKms


def encrypted_variables(key, *names, context=(), provider=None):
    """Return the variables *names* encrypted under a new data key, with their key entry; TOKEN is "value of TOKEN".

    The data key is wrapped under *key*, an ARN, or a name that *provider* knows.
    """
    plaintext, wrapped = (provider or AwsKms()).generate(key, encryption_context(context))
    data_key = DataKey(plaintext)
    entry = KeyEntry(data_key.commitment, context, (wrapped,))
    return {entry.name: str(entry)} | {name: data_key.encrypt(name, f"value of {name}") for name in names}


def env_text(*environments, **variables):
    """Return variables as the text of a .env file; of two with one name, the later."""
    merged = {name: value for one in (*environments, variables) for name, value in one.items()}
    return "".join(f"{name}={value}\n" for name, value in merged.items())
