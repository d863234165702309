"""A .env file's text with its values encrypted: what is sealed already, and every other byte, stays as it is."""

from collections.abc import Callable

from encenv.errors import PolicyError, frameless
from encenv.files.data_key_choice import Writer, agreed_context, agreed_keys, check_copies
from encenv.files.document import parse
from encenv.files.key_names import KeyName
from encenv.files.lines import Rewritten, judge, names_of, seal
from encenv.format.sealed import ADDED_BY_WRITER, entry_kid

__all__ = ["KeyName", "Rewritten", "Writer", "encrypt", "reencrypt", "rotate"]

Wanted = Callable[[str], bool]


def every(name: str) -> bool:  # noqa: ARG001 (a policy, that of none)
    """Say of each variable that it is to be sealed."""
    return True


@frameless
def encrypt(text: str, writer: Writer, where: str = ".env", wanted: Wanted = every) -> Rewritten:
    """Encrypt every value of the .env file *text* that is not sealed yet.

    Args:
        text: The file's text, newlines untranslated.
        writer: Who encrypts.
        where: What to call the file in messages.
        wanted: Which variables, by name.

    Raises:
        EncenvError: If the file cannot be parsed, no key can be had, or a value in it does not open. The result is
            proved by decrypting it in memory before it is returned.
    """
    judged = judge(parse(text), where)
    plain = {
        index: value
        for index, value in judged.plain.items()
        if wanted(judged.file.bindings[index].name or "")
    }
    if not plain:
        return Rewritten(text, (), len(judged.sealed), None, is_new=False)
    data_key, entry, is_new = judged.data_key(writer)
    sealed = seal(judged.file, plain, data_key, entry if is_new else None, writer.each)
    return Rewritten(sealed, names_of(judged.file, plain), len(judged.sealed), entry, is_new)


@frameless
def reencrypt(text: str, writer: Writer, where: str = ".env", wanted: Wanted = every) -> Rewritten:
    """Encrypt every value of the .env file *text* under a new data key, those that are sealed already as well.

    For a copy of the file: each file has a data key of its own. *wanted* says which of the plain ones are sealed;
    other arguments and errors as for `encrypt`.
    """
    return _under_new_key(text, writer, where, wanted)


@frameless
def rotate(text: str, writer: Writer, where: str = ".env") -> Rewritten:
    """Encrypt every sealed value of the .env file *text* anew, under a new data key, and drop all key entries before.

    What contributors added comes under the one new data key as well. Plain values stay as they are. Arguments and
    errors as for `encrypt`.

    Raises:
        PolicyError: If the new data key could only be made as a contributor's.
    """
    done = _under_new_key(text, writer, where, lambda _: False)
    if done.entry is not None and ADDED_BY_WRITER in done.entry.context:
        raise PolicyError(
            "only a contributor's data key can be made here, and nothing is rotated to that",
            hint="allow kms:GenerateDataKey without encenv-add=1 for the role that rotates",
        )
    return done


def _under_new_key(text: str, writer: Writer, where: str, wanted: Wanted) -> Rewritten:
    judged = judge(parse(text), where)
    bindings = judged.file.bindings
    plain = {index: value for index, value in judged.plain.items() if wanted(bindings[index].name or "")}
    if not plain and not judged.sealed:
        return Rewritten(text, (), 0, None, is_new=False)
    known = [*judged.keys.values()]
    ours = [one for one in known if not one.is_contributed]  # who may only add does not choose our key
    keys = writer.keys or agreed_keys(ours, where, has_entries=bool(known))
    check_copies(ours, writer, where)
    context = agreed_context(ours, writer, where)
    values = plain | judged.open(writer)
    data_key, entry = writer.new_key(keys, context)
    entries = {index for index, binding in enumerate(bindings) if entry_kid(binding.name or "") is not None}
    bare = judged.file.without(entries)
    # Blank lines and comments may be split otherwise without the old entries; the variables' order is the same.
    before = [index for index, binding in enumerate(bindings) if binding.name and index not in entries]
    after = [index for index, binding in enumerate(bare.bindings) if binding.name]
    values = {to: values[index] for index, to in zip(before, after, strict=True) if index in values}
    return Rewritten(
        seal(bare, values, data_key, entry, writer.each), names_of(bare, values), 0, entry, is_new=True
    )
