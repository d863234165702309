"""The errors that encenv raises, split by who must act, and how several are reported as one.

Messages are lower-case, say what happened and never hold a value or a key; ``hint`` says what to do, in the
imperative.
"""

import functools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")


class EncenvError(Exception):
    """Superclass of all encenv errors; only its subclasses are raised.

    Attributes:
        message: What happened, in one line, without any value or key.
        hint: What to do about it, in the imperative.
        variables: The names of the affected variables; may be empty.
        missing_key: The wrapping key, if the reason is that this user lacks it or may not use it; else empty.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str,
        variables: "Iterable[str]" = (),
        failures: "Sequence[EncenvError]" = (),
        missing_key: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.variables = tuple(variables)
        self.missing_key = missing_key
        self._failures = tuple(failures)

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}"

    def __reduce__(self) -> "tuple[Any, ...]":
        return functools.partial(type(self), hint=self.hint), (self.message,), vars(self)

    @property
    def failures(self) -> "tuple[EncenvError, ...]":
        """Each failure, if this error reports several; else this error alone."""
        return self._failures or (self,)

    def of(self, *variables: str) -> "EncenvError":
        """Return a copy of this error about *variables*, without traceback, cause or context.

        The copy has the nearest class of this module, because the class of a plug-in may take other arguments.
        """
        ours: type[EncenvError] = next(cls for cls in type(self).__mro__ if cls.__module__ == __name__)
        return ours(
            self.message,
            hint=self.hint,
            variables=variables,
            failures=self._failures,
            missing_key=self.missing_key,
        )


class MalformedError(EncenvError):
    """Raised if a text breaks the rules of the wire format, version 1. The author of the value must act."""


class KeyEntryError(EncenvError):
    """Raised if there is no key entry for the KID that a sealed value names. The person who moved it must act."""


class KeyRefusedError(EncenvError):
    """Raised if a key provider refused: no permission, disabled, another context or key. The owner of the key must act."""


class KeyDeniedError(KeyRefusedError):
    """Raised if a key provider refused only because a permission is missing. The person who grants permissions must act.

    Someone without this permission can still add values; any other refusal may mean that the key entry was changed.
    """


class KeyUnreachableError(EncenvError):
    """Raised if a key provider did not answer: timeout, throttled, no credentials or region. The operator must act."""


class AuthenticationError(EncenvError):
    """Raised if a sealed value was renamed, swapped or changed. The reviewer of the change must act."""


class PolicyError(EncenvError):
    """Raised if the reader's own rules (pins, required context, limits) forbid it. The author of the rules must act."""


class ConflictError(EncenvError):
    """Raised if two things use the same place. The person who merged them must act."""


class FileError(EncenvError):
    """Raised if a file cannot be read, parsed or written. The owner of the file must act."""


class UserCodeError(EncenvError):
    """Raised in place of an exception from a validator, factory or source of the application.

    That exception's text and frames are left out, because they may hold decrypted values.
    """


class LoadError(EncenvError):
    """Raised if a load failed in several of these ways; ``failures`` has each."""


def combine(
    failures: "Sequence[EncenvError]", *, whole: str = "the environment", done: str = "loaded"
) -> EncenvError:
    """Return one error that reports *failures* together.

    Args:
        failures: At least one. Those with the same message become one line that names all their variables.
        whole: What they are about, such as a file's name.
        done: What could not be done with it, as in "cannot be loaded".

    Returns:
        An error of the class that all failures share, else a `LoadError`.
    """
    groups: dict[tuple[type[EncenvError], str, str, str], dict[str, None]] = {}
    for failure in failures:
        kind = type(failure), failure.message, failure.hint, failure.missing_key
        groups.setdefault(kind, {}).update(dict.fromkeys(failure.variables))
    reports = [
        cls(
            f"{listed([*names])}: {message}" if names else message,
            hint=hint,
            variables=names,
            missing_key=missing_key,
        )
        for (cls, message, hint, missing_key), names in groups.items()
    ]
    if len(reports) == 1:
        return reports[0]
    kinds = {type(failure) for failure in reports}
    lines = "".join(f"\n  {failure.message}\n    hint: {failure.hint}" for failure in reports)
    variables = [name for failure in reports for name in failure.variables]
    what = f"{len({*variables})} variables" if len({*variables}) > 1 else whole
    shared = next((kind for kind in kinds if all(issubclass(other, kind) for other in kinds)), LoadError)
    return shared(
        f"{what} cannot be {done}:{lines}",
        hint=f"fix each of them; nothing was {done}",
        variables=variables,
        failures=reports,
    )


def missing_name(error: AttributeError) -> ImportError:
    """Return the ImportError to raise in place of *error*: the library lacks an undocumented name that we use."""
    from importlib.metadata import version  # here, because the import takes long and only this needs it

    owner = error.obj
    where = getattr(owner, "__qualname__", getattr(owner, "__name__", type(owner).__qualname__))
    top = str(getattr(owner, "__module__", where)).partition(".")[0]
    package = {"pydantic_settings": "pydantic-settings", "dotenv": "python-dotenv"}.get(top, top)
    return ImportError(
        f"{package} {version(package)} has no {where}.{error.name}, which encenv relies on\n"
        f"  hint: install another version of {package}, or a newer encenv",
        name=error.name,
    )


NAMES_SHOWN = 8  # a message stays readable when a whole file has one cause


def listed(names: "Sequence[str]") -> str:
    """Return *names* for a message: the first ones, escaped, and how many more there are."""
    text = ", ".join(name if name.isprintable() else ascii(name) for name in names[:NAMES_SHOWN])
    return f"{text} and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else text


def frameless(function: "Callable[P, R]") -> "Callable[P, R]":
    """Make *function* raise every exception without cause, context and frames, whose locals may hold values and keys.

    It drops the arguments, too. An exception that is not an `EncenvError` gets a note that says where it was raised.
    """

    @functools.wraps(function)
    def call(*args: "P.args", **kwargs: "P.kwargs") -> "R":
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 (raised again below, outside of this block and its context)
            exception = error
        del args, kwargs
        if isinstance(exception, Exception) and not isinstance(exception, EncenvError):
            exception.add_note(f"raised {place_of(exception)}")  # instead of the frames
        exception.__cause__ = exception.__context__ = None
        raise exception.with_traceback(None)

    return call


def place_of(error: BaseException) -> str:
    """Return the file and the line that raised *error*, as ``at lines.py:12``."""
    frames, place = error.__traceback__, "at an unknown place"
    while frames is not None:
        path = frames.tb_frame.f_code.co_filename
        if not path.startswith("<frozen"):  # Python's own import system
            place = f"at {path.rpartition('/')[2]}:{frames.tb_lineno}"
        frames = frames.tb_next
    return place
