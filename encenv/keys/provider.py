"""Define what a key provider is, and find one by its name.

A provider turns a data key into a wrapped key and back. A package adds one with an entry point in the group
``encenv.providers``, under the provider's name; no file here changes. The entry point is called with the process
environment and returns an object with the four members of `KeyProvider`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeGuard

from encenv.errors import KeyRefusedError
from encenv.format.sealed import WrappedKey

ENTRY_POINTS = "encenv.providers"

# A literal, so that no plug-in can replace a built-in provider, and finding one does not scan all packages.
_BUILT_IN = {"aws-kms": ("encenv.keys.aws.kms", "AwsKms"), "local": ("encenv.keys.local", "LocalKeys")}


class KeyProvider(Protocol):
    """Wraps and unwraps data keys under wrapping keys it can reach.

    Every method gets the whole encryption *context* (with ``encenv=1``) and must bind the wrapped key to it: with
    another context it must not unwrap. Methods raise `KeyRefusedError` (`KeyDeniedError` if only a permission is
    missing) or `KeyUnreachableError`, whose texts hold no key material. They may be called from any thread.
    """

    @property
    def name(self) -> str:
        """The provider's name in a key entry: ``[a-z][a-z0-9-]{0,31}``."""
        ...

    def generate(self, key: str, context: Mapping[str, str]) -> tuple[bytes, WrappedKey]:
        """Return a new data key (32 bytes), and its copy wrapped under *key*, as the user wrote its name."""
        ...

    def wrap(self, data_key: bytes, key: str, context: Mapping[str, str]) -> WrappedKey:
        """Return *data_key* (32 bytes) wrapped under *key*, as the user wrote its name."""
        ...

    def unwrap(self, wrapped_key: WrappedKey, context: Mapping[str, str], timeout: float) -> bytes:
        """Return the data key (32 bytes) in *wrapped_key*, in at most about *timeout* seconds."""
        ...


if TYPE_CHECKING:
    # Optional members of a provider. At run time they are looked up by name.

    class RemoteProvider(KeyProvider, Protocol):
        """A key provider that waits for a network and lets its caller work meanwhile."""

        def unwrap(
            self,
            wrapped_key: WrappedKey,
            context: Mapping[str, str],
            timeout: float,
            while_waiting: Callable[[], None] = ...,
        ) -> bytes:
            """Return the data key in *wrapped_key*; call *while_waiting* when a request is sent, before its answer is read."""
            ...

    class Rewraps(Protocol):
        """An optional part of a key provider: it re-wraps a data key without unwrapping it here."""

        def rewrap(
            self, wrapped_key: WrappedKey, key: str, context: Mapping[str, str], to_context: Mapping[str, str]
        ) -> WrappedKey | None:
            """Return the data key in *wrapped_key* wrapped under *key* with *to_context*; None if these two keys cannot do it."""
            ...

    class Replicates(Protocol):
        """An optional part of a key provider: its wrapping keys may have replicas in several places."""

        def replica(self, wrapped_key: WrappedKey) -> WrappedKey | None:
            """Return *wrapped_key* for the replica of its wrapping key nearest to this process; None if there is none."""
            ...


def takes_while_waiting(provider: KeyProvider) -> "TypeGuard[RemoteProvider]":
    """Return whether the `unwrap` of *provider* has the parameter ``while_waiting``.

    This reads the code object, because importing inspect for its signature takes as long as an answer of AWS KMS.
    """
    code = getattr(provider.unwrap, "__code__", None)
    if code is None:
        return False
    return "while_waiting" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def find_provider(name: str, environ: Mapping[str, str], own: Sequence[KeyProvider] = ()) -> KeyProvider:
    """Return the provider called *name*: one of *own*, else a built-in one, else a plug-in.

    Args:
        name: The provider's name in a key entry.
        environ: The process environment, for a provider's own settings.
        own: Providers that the application made itself.

    Raises:
        KeyRefusedError: If no provider has that name.
    """
    for provider in own:
        if provider.name == name:
            return provider
    import importlib  # the provider's module may import cryptography, so only a provider that is needed is imported

    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name]
        built_in: KeyProvider = getattr(importlib.import_module(module), attribute)(environ)
        return built_in
    import importlib.metadata  # the scan takes 30 ms, and only unknown names need it

    for point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        plug_in: KeyProvider = point.load()(environ)
        return plug_in
    raise KeyRefusedError(
        f"no key provider is called {name}",
        hint=f"install the package that provides {name}, or upgrade encenv",
    )
