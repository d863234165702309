"""Encrypted values in ordinary environment variables and ``.env`` files.

Each public name is imported when it is first used, so ``import encenv`` itself costs next to nothing.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # not typing's: importing typing would cost more than the rest of this file
if TYPE_CHECKING:
    from encenv.errors import AuthenticationError as AuthenticationError
    from encenv.errors import ConflictError as ConflictError
    from encenv.errors import EncenvError as EncenvError
    from encenv.errors import FileError as FileError
    from encenv.errors import KeyDeniedError as KeyDeniedError
    from encenv.errors import KeyEntryError as KeyEntryError
    from encenv.errors import KeyRefusedError as KeyRefusedError
    from encenv.errors import KeyUnreachableError as KeyUnreachableError
    from encenv.errors import LoadError as LoadError
    from encenv.errors import MalformedError as MalformedError
    from encenv.errors import PolicyError as PolicyError
    from encenv.errors import UserCodeError as UserCodeError
    from encenv.format.sealed import WrappedKey as WrappedKey
    from encenv.keys.aws.kms import AwsKms as AwsKms
    from encenv.keys.local import LocalKeys as LocalKeys
    from encenv.keys.provider import KeyProvider as KeyProvider
    from encenv.keys.unwrap import clear_cache as clear_cache
    from encenv.load.dotenv import dotenv_values as dotenv_values
    from encenv.load.dotenv import load_dotenv as load_dotenv
    from encenv.load.environ import decrypt_environ as decrypt_environ
    from encenv.load.options import EncryptedSettingsConfigDict as EncryptedSettingsConfigDict
    from encenv.load.prefetch import prefetch as prefetch
    from encenv.load.settings import EncryptedSettings as EncryptedSettings

_MODULES = {
    "AuthenticationError": "encenv.errors",
    "AwsKms": "encenv.keys.aws.kms",
    "ConflictError": "encenv.errors",
    "EncenvError": "encenv.errors",
    "EncryptedSettings": "encenv.load.settings",
    "EncryptedSettingsConfigDict": "encenv.load.options",
    "FileError": "encenv.errors",
    "KeyDeniedError": "encenv.errors",
    "KeyEntryError": "encenv.errors",
    "KeyProvider": "encenv.keys.provider",
    "KeyRefusedError": "encenv.errors",
    "KeyUnreachableError": "encenv.errors",
    "LoadError": "encenv.errors",
    "LocalKeys": "encenv.keys.local",
    "MalformedError": "encenv.errors",
    "PolicyError": "encenv.errors",
    "UserCodeError": "encenv.errors",
    "WrappedKey": "encenv.format.sealed",
    "clear_cache": "encenv.keys.unwrap",
    "decrypt_environ": "encenv.load.environ",
    "dotenv_values": "encenv.load.dotenv",
    "load_dotenv": "encenv.load.dotenv",
    "prefetch": "encenv.load.prefetch",
}
__all__ = ["__version__", *_MODULES]  # noqa: PLE0604 (the keys are strings)


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'encenv' has no attribute {name!r}")
    import importlib  # here, because it and the modules of the names take a hundred times as long as this file

    value = globals()[name] = getattr(importlib.import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
