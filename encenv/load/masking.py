"""An exception from a load that decrypted something, made anew without what it may hold of the values.

Nothing is searched for: a search misses short, split, escaped and parsed values. Instead only what is known to be
free of values is carried over.
"""

import re
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any

from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError, ValidationError
from pydantic_settings import SettingsError

from encenv.errors import EncenvError, UserCodeError

MASK = "**********"  # what pydantic's own SecretStr shows
WITHHELD = "withheld: it may hold a decrypted value"

# The parts of pydantic's messages that come from the model, never from the input: pydantic_core, list_all_errors().
_OF_THE_SCHEMA = frozenset(
    "class class_name decimal_places discriminator encoding expected expected_schemes expected_tags expected_version "
    "field_type ge gt le lt max_digits max_length method_name min_length multiple_of pattern tz_expected whole_digits".split()
)
_SETTINGS_ERROR = re.compile(r'error (?:getting|parsing) value for field "(\w+)" from source "\w+"')
_LIBRARIES = re.compile(r"[/\\](?:pydantic|pydantic_core|pydantic_settings|encenv)[/\\]")


def masked(
    error: BaseException,
    decrypted_keys: Collection[str],
    plain_texts: Mapping[str, Collection[str]],
    fields: Collection[str],
) -> BaseException:
    """Return what to raise in place of *error*: the same class where possible, without cause, context or frames.

    Args:
        error: What a load raised.
        decrypted_keys: Keys of the model's data that hold something decrypted.
        plain_texts: Texts of plain variables by such keys, which may be shown.
        fields: The names of the model's fields.
    """
    if isinstance(error, ValidationError):
        lines = [_line(line, decrypted_keys, plain_texts) for line in error.errors(include_url=False)]
        return ValidationError.from_exception_data(error.title, lines)
    if isinstance(error, SettingsError):
        match = _SETTINGS_ERROR.fullmatch(str(error))
        return SettingsError(
            match[0] if match and match[1] in fields else f"the settings cannot be loaded; {WITHHELD}"
        )
    if isinstance(error, (EncenvError, KeyboardInterrupt, SystemExit)) or not isinstance(error, Exception):
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    return UserCodeError(
        f"{type(error).__name__} was raised {_place(error.__traceback__)}; its text is {WITHHELD}",
        hint="debug it with plain values, or catch it where it is raised",
    )


def _line(
    line: ErrorDetails, decrypted_keys: Collection[str], plain_texts: Mapping[str, Collection[str]]
) -> InitErrorDetails:
    key, *below = line["loc"] or ("",)
    loc = (key, MASK) if below and key in decrypted_keys else line["loc"]
    value = line["input"]
    shown = type(value) is str and value in plain_texts.get(str(key), ())
    kind, ctx = _without_values(line["type"], line.get("ctx", {}))
    return InitErrorDetails(type=kind, loc=loc, input=value if shown else MASK, ctx=ctx)


def _without_values(kind: str, ctx: Mapping[str, Any]) -> tuple[str | PydanticCustomError, dict[str, Any]]:
    """Return an error type and its context with nothing of the input in them; `type` and `url` stay."""
    safe = {name: value for name, value in ctx.items() if name in _OF_THE_SCHEMA}
    if kind == "value_error":
        return kind, {"error": ValueError(WITHHELD)}  # a fresh one: the validator's own holds its frames
    if kind == "assertion_error":
        return kind, {"error": AssertionError(WITHHELD)}
    if kind == "too_long":
        return kind, {**safe, "actual_length": None}
    if kind not in _KNOWN:
        return PydanticCustomError(kind, f"Input is not valid ({WITHHELD})"), {}
    if kind in _NUMBERS_OF_THE_INPUT:
        return PydanticCustomError(kind, _NUMBERS_OF_THE_INPUT[kind]), {}
    return kind, {name: safe.get(name, WITHHELD) for name in ctx}


_NUMBERS_OF_THE_INPUT = {  # their context takes a number where a sentence would have to stand
    "too_short": "Input should have more items",
    "timezone_offset": "Input should have another timezone offset",
}
_KNOWN = frozenset(
    "arguments_type assertion_error bool_parsing bool_type bytes_invalid_encoding bytes_too_long bytes_too_short bytes_type "
    "callable_type complex_str_parsing complex_type counter_type dataclass_exact_type dataclass_type "
    "date_from_datetime_inexact date_from_datetime_parsing date_future date_parsing date_past date_type "
    "datetime_from_date_parsing datetime_future datetime_object_invalid datetime_parsing datetime_past datetime_type "
    "decimal_max_digits decimal_max_places decimal_parsing decimal_type decimal_whole_digits "
    "default_factory_not_called deque_type dict_type ellipsis_error enum extra_forbidden finite_number float_parsing "
    "float_type fraction_parsing fraction_type frozen_dict_type frozen_field frozen_instance frozen_set_type "
    "get_attribute_error greater_than greater_than_equal int_from_float int_parsing int_parsing_size int_type "
    "invalid_key is_instance_of is_subclass_of iterable_type iteration_error json_invalid json_type less_than "
    "less_than_equal list_type literal_error mapping_type missing missing_argument missing_keyword_only_argument "
    "missing_positional_only_argument missing_sentinel_error model_attributes_type model_type multiple_argument_values "
    "multiple_of named_tuple_type needs_python_object no_such_attribute none_required ordered_dict_type "
    "recursion_depth_exceeded recursion_loop set_item_not_hashable set_type string_not_ascii string_pattern_mismatch "
    "string_too_long string_too_short string_type string_unicode time_delta_parsing time_delta_type time_parsing "
    "time_type timezone_aware timezone_naive timezone_offset too_long too_short tuple_type unexpected_keyword_argument "
    "unexpected_positional_argument union_tag_invalid union_tag_not_found url_parsing url_scheme url_syntax_violation "
    "url_too_long url_type uuid_parsing uuid_type uuid_version value_error".split()
)


def _place(traceback: TracebackType | None) -> str:
    """Return file and line of the innermost frame of the application's own code."""
    place = "in the application's code"
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not _LIBRARIES.search(file):
            place = f"at {file}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
