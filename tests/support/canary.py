"""Search everything that a failing load leaves behind for secrets.

encenv does not search for secrets to hide them. The tests can search, because their values occur nowhere else.
"""

import base64
import functools
import gc
import json
import logging
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from encenv.format.envelope import DataKey
from encenv.format.sealed import KeyEntry, encryption_context
from encenv.keys.local import LocalKeys
from encenv.keys.provider import KeyProvider

CANARY = "Kanarienvogel"  # in no path, no class name and no message
SHORT = "q7"  # two characters; none of the digits and letters around it makes this pair
LOGGERS = ("botocore", "boto3", "urllib3", "pydantic_settings", "encenv", "asyncio", "dotenv")


def sealed(
    values: Mapping[str, str],
    *,
    key: DataKey | None = None,
    provider: KeyProvider | None = None,
    arn: str = "",
) -> dict[str, str]:
    """Return *values* encrypted under *key*, with its key entry; the wrapping key is the local key if not given."""
    key = key or DataKey.generate()
    wrapped = (provider or LocalKeys()).wrap(key.expose_key(), arn, encryption_context(()))
    entry = KeyEntry(key.commitment, (), (wrapped,))
    return {entry.name: str(entry)} | {name: key.encrypt(name, value) for name, value in values.items()}


def forms(secret: str | bytes) -> tuple[str, ...]:
    """Return the ways in which *secret* could be written."""
    data = secret.encode() if isinstance(secret, str) else secret
    encoded = [
        base64.b64encode(data),
        base64.urlsafe_b64encode(data),
        data.hex().encode(),
        repr(data)[2:-1].encode(),
    ]
    texts = [text.decode().rstrip("=") for text in encoded]
    return (*texts, data.decode("latin-1"), json.dumps(data.decode("utf-8", "replace"))[1:-1])


def caught(call: Callable[..., object], *args: Any, **values: Any) -> BaseException:
    """Return what *call* raises, with the frames from this call on."""
    try:
        call(*args, **values)
    except BaseException as error:  # noqa: BLE001 (all of them are looked at)
        return error
    raise AssertionError("nothing was raised")


def assert_silent(error: BaseException, *secrets: str | bytes) -> None:
    """Assert that no text of *error*, and nothing that can be reached from it, holds any of *secrets*."""
    needles = {form for secret in secrets for form in (forms(secret) if len(secret) > 2 else (secret,))}
    places = [*_said(error), *_reachable(error)]
    found = sorted({where for where, text in places if any(needle in text for needle in needles)})
    assert not found, f"{type(error).__name__} has a secret in {', '.join(found[:5])}"


def assert_unsaid(texts: Iterable[str], *secrets: str | bytes) -> None:
    """Assert that none of *secrets* is in *texts*, in any form."""
    needles = {form for secret in secrets for form in forms(secret)}
    for text in texts:
        assert not any(needle in text for needle in needles), text[:200]


def said_by(records: Iterable[logging.LogRecord]) -> Iterator[str]:
    """Yield everything that a handler could make of *records*."""
    for record in records:
        yield record.getMessage()
        yield repr(vars(record))
        yield from (text for _, text in _walk(vars(record), "record"))


def _said(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield all texts of *error* and of the errors that it leads to, with the places they are from."""
    for where, one in _chain(error):
        yield f"{where}: str", str(one)
        yield f"{where}: repr", repr(one)
        for voice in ("errors", "json"):
            if hasattr(one, voice):
                yield f"{where}: {voice}()", str(getattr(one, voice)())
        told = traceback.TracebackException.from_exception(one, capture_locals=True, compact=False)
        frames = list(told.stack)[1:] if one is error else list(told.stack)  # without that of `caught`
        yield f"{where}: report", "".join(traceback.StackSummary.from_list(frames).format())
        yield from (
            (f"{where}: local {name}", text) for f in frames for name, text in (f.locals or {}).items()
        )


def _chain(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    seen: set[int] = set()
    waiting: list[tuple[str, BaseException | None]] = [("error", error)]
    while waiting:
        where, one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield where, one
        waiting += [(f"{where}.cause", one.__cause__), (f"{where}.context", one.__context__)]
        waiting += [(f"{where}.failure", failure) for failure in getattr(one, "failures", ())]
        waiting += [(f"{where}.exceptions", inner) for inner in getattr(one, "exceptions", ())]


def _reachable(error: BaseException) -> Iterator[tuple[str, str]]:
    first = error.__traceback__
    frames = [frame for frame, _ in traceback.walk_tb(first.tb_next if first else None)]
    outside = frozenset(
        [id(first), id(first.tb_frame if first else None)]
    )  # `caught` itself, which holds the call
    yield from _walk([error, frames], "reachable", outside)


def _walk(root: object, where: str, outside: frozenset[int] = frozenset()) -> Iterator[tuple[str, str]]:
    """Yield all texts that can be reached from *root* without passing through a module or a class."""
    seen = {*_modules(len(sys.modules)), *outside}
    kept = []  # while it is kept, no other object gets its id
    waiting = [(root, where)]
    while waiting:
        one, path = waiting.pop()
        kept.append(one)
        if id(one) in seen or isinstance(one, (type, types.ModuleType, types.CodeType)):
            continue
        seen.add(id(one))
        if isinstance(one, str):
            yield path, one
        elif isinstance(one, (bytes, bytearray)):
            yield path, bytes(one).decode("latin-1")
        elif isinstance(one, types.FrameType):
            waiting += [
                (value, f"{path}.{one.f_code.co_name}.{name}") for name, value in one.f_locals.items()
            ]
        else:
            waiting += [(other, f"{path}/{type(one).__name__}") for other in _referents(one)]


@functools.cache
def _modules(count: int) -> frozenset[int]:  # the cache is for as many modules as there are
    own = (vars(module) for module in list(sys.modules.values()) if hasattr(module, "__dict__"))
    # What a function's default leads to is a module's as well.
    return frozenset(map(id, (*own, os.environ, os.environ._data)))  # type: ignore[attr-defined]


def _referents(one: object) -> Iterator[Any]:
    yield from gc.get_referents(one)
    if not isinstance(one, dict):
        yield from (value for value in vars(one).values()) if hasattr(one, "__dict__") else ()
    if hasattr(one, "errors") and hasattr(
        one, "error_count"
    ):  # a ValidationError keeps its lines out of sight
        yield one.errors()
