"""Rebuild an exception from a load that decrypted something, without the values that it may hold.

Nothing is searched for: a search misses short, split, escaped and parsed values. Only what is known to be free of
values is carried over: what the model's own schema says, and what plaintext sources gave.
"""

import functools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date, time
from enum import Enum
from itertools import chain
from traceback import walk_tb
from types import NoneType, TracebackType
from typing import Any

import pydantic_settings
from pydantic_core import (
    ErrorDetails,
    InitErrorDetails,
    PydanticCustomError,
    PydanticKnownError,
    ValidationError,
)
from pydantic_settings import BaseSettings, InitSettingsSource, SettingsError

from encenv.errors import EncenvError, UserCodeError
from encenv.load.pydantic_names import SETTINGS_ERROR
from encenv.load.reader_session import SettingsSession
from encenv.load.sources import MASK, states

WITHHELD = "withheld: it may hold a decrypted value"

# The parts of pydantic's messages that come from the model, never from the input: pydantic_core's list of errors.
_OF_THE_SCHEMA = set(
    re.findall(
        r"\w+",
        """
        class class_name decimal_places discriminator encoding expected expected_schemes expected_tags expected_version
        field_type ge gt le lt max_digits max_length method_name min_length multiple_of pattern tz_expected whole_digits
        """,
    )
)
_OF_THE_INPUT = {"actual_length", "attribute", "encoding_error", "error", "tag", "tz_actual"}
# Words that pydantic itself adds to texts of the schema.
_WORDS_OF_PYDANTIC = {"and", "data", "dictionary", "frozenset", "generator", "or", "value"}
# The usual texts of these hold a number of the input, which no text can replace.
_WITHOUT_NUMBER = {
    "too_short": "{field_type} should have at least {min_length} items after validation",
    "timezone_offset": "Timezone offset of {tz_expected} required",
}
_OF_VALIDATORS = {"value_error": ValueError, "assertion_error": AssertionError}
_WORD = re.compile(r"\w+")
_LABEL = re.compile(r"[\w .,:'\[\]()<>|-]*")
_LIBRARIES = {"pydantic", "pydantic_core", "pydantic_settings", "encenv"} | sys.stdlib_module_names


def safe_error(error: BaseException, model: type[BaseSettings], session: SettingsSession) -> BaseException:
    """Return what to raise in place of *error*: the same class where possible, without cause, context or frames.

    The *session* of the load knows what was decrypted and what was plaintext.
    """
    with suppress(Exception):  # an object of the application in the error raises when it is shown
        rebuilt = _rebuild(error, model, session)
        if rebuilt is not None:
            return rebuilt
    return UserCodeError(
        f"{type(error).__name__} was raised {_place(error.__traceback__)}; its text is {WITHHELD}",
        hint="debug it with plaintext values, or catch it where it is raised",
    )


def _rebuild(  # noqa: PLR0911 (one for each kind)
    error: BaseException, model: type[BaseSettings], session: SettingsSession
) -> BaseException | None:
    if isinstance(error, ValidationError):
        safe = _SafeLines(model, session)
        return ValidationError.from_exception_data(
            error.title,
            [safe.line(line) for line in error.errors(include_url=False)],
            hide_input=bool(model.model_config.get("hide_input_in_errors")),
        )
    if isinstance(error, SettingsError):
        match = re.fullmatch(SETTINGS_ERROR, str(error))
        sources = {type(source).__name__ for source in session.sources}
        is_known = match and match[1] in model.model_fields and match[2] in sources
        return SettingsError(match[0] if match and is_known else f"the settings cannot be loaded; {WITHHELD}")
    if isinstance(error, EncenvError):
        if [package for package, _ in _frames(error.__traceback__)][-1:] == ["encenv"]:
            return error.of(*error.variables)  # without its notes
        return None if session.has_decrypted else error  # the application raised it: it may be about a value
    if isinstance(error, (Exception, BaseExceptionGroup)):
        return None
    if isinstance(error, SystemExit) and not isinstance(error.code, (int, NoneType)):
        return SystemExit(f"exit {_place(error.__traceback__)}; its text is {WITHHELD}")
    # Ctrl-C, a cancelled task, an exit: the code that stops a program must get this very object back.
    error.args = ()
    vars(error).clear()
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class _SafeLines:
    """Rebuilds the lines of a `ValidationError` of one load from what they may show."""

    def __init__(self, model: type[BaseSettings], session: SettingsSession) -> None:
        self._texts = set(_leaves(model.__pydantic_core_schema__))  # the same whatever was decrypted
        self._words = {word for text in self._texts for word in _WORD.findall(text.casefold())}
        self._words |= _WORDS_OF_PYDANTIC
        self._decrypted = session.decrypted_keys
        self._names: set[str] = set()
        self._plain: dict[str, set[str]] = {}
        for _, reader in session.readers.values():
            for key, text in () if reader is None else reader.plain_texts():
                self._plain.setdefault(key, set()).add(text)
        for state, is_plain in _safe_states(session):
            self._names.update(state)
            for key, value in state.items() if is_plain else ():
                self._plain.setdefault(key, set()).update(_leaves(value))

    def line(self, line: ErrorDetails) -> InitErrorDetails:
        """Return *line*, rebuilt; `type` and, where pydantic allows it, `url` stay."""
        first, *below = line["loc"] or ("",)
        key, value = str(first), line["input"]
        is_shown = type(value) is str and value in self._plain.get(key, ())
        kind, ctx = self._without_values(line["type"], line.get("ctx", {}))
        rebuilt = InitErrorDetails(type=kind, loc=self._loc(key, *below), input=value if is_shown else MASK)
        if ctx:
            rebuilt["ctx"] = ctx
        return rebuilt

    def _loc(self, key: str, *below: int | str) -> tuple[int | str, ...]:
        if not key:
            return ()  # the whole model is not valid
        if key not in self._names and not self._in_schema(key):
            return (MASK,)  # a validator of the whole model may have taken this name from a value
        if below and key in self._decrypted:
            return (key, MASK)
        return (key, *(part if self._is_plain(key, part) else MASK for part in below))

    def _is_plain(self, key: str, part: int | str) -> bool:
        """Return whether *part* of a place below *key* comes from the schema or from plaintext there."""
        texts = self._plain.get(key, ())
        if isinstance(part, int):
            return bool(texts)
        return self._in_schema(part) or any(part in text for text in texts)

    def _in_schema(self, part: object) -> bool:
        """Return whether *part* is a text of the schema, or made of its words, such as ``list[int]``."""
        text = str(part)
        if text in self._texts:
            return True
        words = _WORD.findall(text.casefold())
        return bool(words) and self._words.issuperset(words) and _LABEL.fullmatch(text) is not None

    def _without_values(
        self, kind: str, ctx: Mapping[str, Any]
    ) -> tuple[str | PydanticCustomError, dict[str, Any]]:
        if kind in _OF_VALIDATORS:  # with a new error, because the validator's own one holds frames
            return kind, {"error": _OF_VALIDATORS[kind](WITHHELD)}
        # The kind alone proves nothing: a validator may raise pydantic's own kinds of errors with any text.
        safe: dict[str, Any] = dict.fromkeys(_OF_THE_INPUT & ctx.keys(), WITHHELD)
        for name in _OF_THE_SCHEMA & ctx.keys():
            value = ctx[name] if type(ctx[name]) in (int, float) else str(ctx[name])
            safe[name] = value if self._in_schema(value) else WITHHELD
        if kind == "too_long":
            safe["actual_length"] = None
        with suppress(KeyError, TypeError):
            PydanticKnownError(kind, safe)  # type: ignore[arg-type]  # raises if pydantic_core does not know it
            return kind, safe
        sentence = _WITHOUT_NUMBER.get(kind, f"Input is not valid ({WITHHELD})")
        parts = {name: safe[name] for name in _OF_THE_SCHEMA & safe.keys() if kind in _WITHOUT_NUMBER}
        return PydanticCustomError(kind, sentence, parts or None), {}  # nothing of the input


def _safe_states(session: SettingsSession) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Yield what each of pydantic-settings' own sources has given, and whether nothing of it was decrypted.

    Sources of the application's own classes, and init arguments that it gives to a source, are left out: it may have
    decrypted their values itself.
    """
    own_arguments = {id(source) for source in session.hook_arguments}
    for name, state in states(session).items():
        cls = getattr(pydantic_settings, name, None)
        sources = [source for source in session.sources if type(source).__name__ == name]
        is_arguments = cls is InitSettingsSource
        if cls is not None and all(
            type(source) is cls and (not is_arguments or id(source) in own_arguments) for source in sources
        ):
            yield state, all(session.readers[id(source)][1] is None for source in sources)


def _leaves(schema: object) -> Iterator[str]:
    """Yield the texts of all constants in *schema*, and the names of its classes and functions."""
    parts: Iterable[object] = ()
    match schema:
        case Enum():
            parts = (schema.value,)
        case str() | int() | float() | complex():
            yield str(schema)
        case date() | time():
            yield schema.isoformat()
        case Mapping():
            parts = chain.from_iterable(schema.items())
        case list() | tuple() | set() | frozenset():
            parts = schema
        case functools.partial():
            parts = schema.func, schema.args, schema.keywords
        case re.Pattern():
            parts = (schema.pattern,)
        case _:
            name = getattr(schema, "__qualname__", None)
            parts = (name,) if isinstance(name, str) else ()
    for part in parts:
        yield from _leaves(part)


def _frames(traceback: TracebackType | None) -> Iterator[tuple[str, str]]:
    """Yield for each frame the top package of its module, and its file and line."""
    for frame, line in walk_tb(traceback):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        yield package, f"{frame.f_code.co_filename}:{line}"


def _place(traceback: TracebackType | None) -> str:
    """Return file and line of the innermost frame of the application's own code."""
    places = [f"at {place}" for package, place in _frames(traceback) if package not in _LIBRARIES]
    return places[-1] if places else "in the application's code"
