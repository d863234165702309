"""Edit a whole .env file by hand: as a plaintext draft, and encrypted again without changing unedited lines."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from encenv.errors import ConflictError, FileError, combine, frameless
from encenv.files.data_key_choice import agreed_keys, choose_data_key
from encenv.files.document import Binding, EnvFile, blank_lines, parse, with_value
from encenv.files.encrypt import EncryptResult, drop_unused_entries, encrypt_values
from encenv.files.lines import FileLines, NameTest, classify
from encenv.files.opening import entry_kids
from encenv.files.writer import Writer
from encenv.format.sealed import KeyEntry, entry_kid

UNSAVED = "EDITED"  # the variable that holds a draft that could not be saved


@dataclass(frozen=True, slots=True)
class EditorSession:
    """A .env file that is being edited by hand.

    In the draft, values are decrypted and each key entry is a comment.
    """

    lines: FileLines
    draft: str = field(repr=False)

    @property
    def text(self) -> str:
        """The file's text."""
        return str(self.lines.file)

    def is_unedited(self, text: str) -> bool:
        """Return whether *text* is the draft; many editors add a newline at the end."""
        return text in (self.draft, self.draft + "\n")


@frameless
def start_edit(text: str, writer: Writer, where: str = ".env") -> EditorSession:
    """Return a session to edit the .env file *text*; give it to `finish_edit`.

    Raises:
        EncenvError: If a value does not decrypt, or it is unclear under which key a new one would be encrypted.
    """
    lines = classify(parse(text), where)
    if not writer.keys:  # fail now, before somebody writes a value that cannot be encrypted
        agreed_keys(lines, writer)
    bindings = lines.file.bindings
    changes = {index: with_value(bindings[index], value) for index, value in lines.decrypt(writer).items()}
    for index in entry_kids(lines.file):
        blank, _, end = _parts(bindings[index].text)
        comment = f"# {bindings[index].name}: keep this line, which marks the place of the key entry"
        changes[index] = bindings[index]._replace(name=None, value=None, text=blank + comment + end)
    draft = "".join(changes.get(index, binding).text for index, binding in enumerate(bindings))
    file = parse(lines.file.head + draft)
    if len(file.bindings) != len(bindings):
        raise FileError(
            f"{where} cannot be edited as plaintext, because python-dotenv would read it differently",
            hint="change it with encenv set",
        )
    return EditorSession(lines, str(file))


@frameless
def finish_edit(
    session: EditorSession, text: str, writer: Writer, must_encrypt: NameTest = lambda _: True
) -> EncryptResult:
    """Return the file of *session* with the edited *text*; lines that were not edited keep their bytes.

    A new or changed value is encrypted if the old one was, or if *must_encrypt* selects its name.

    Raises:
        EncenvError: If the text cannot be parsed, or a value cannot be encrypted. The caller still has the text.
    """
    if session.is_unedited(text):
        return EncryptResult(session.text)
    original = session.lines
    lines = classify(parse(text), original.where)
    if lines.sealed:
        names = [name for name, _ in lines.sealed.values()]
        failure = ConflictError("the value is encrypted already", hint="write its plaintext")
        raise combine([failure.of(*names)])
    changes, values = _compare(session, lines.file, must_encrypt)
    file = lines.file.replace(changes)
    result = EncryptResult(str(file))
    if values:
        result = encrypt_values(file, values, choose_data_key(original, writer))
    text = result.text
    for key in original.keys:
        text = _restore_entries(text, key.entries)
    text = drop_unused_entries(text, {key.entries[0].kid for key in original.keys})
    present = {binding.name for binding in lines.file.bindings}
    before = [b.name for b in original.file.bindings if b.name and not entry_kid(b.name)]
    removed_names = dict.fromkeys(name for name in before if name not in present)
    return replace(result, text=text, names=(*result.names, *removed_names))


@frameless
def encrypt_draft(session: EditorSession, text: str, writer: Writer) -> str:
    """Return a .env file with the whole edited *text* as one encrypted variable, also if it cannot be parsed."""
    data_key, entry, _ = choose_data_key(session.lines, writer)  # unwrapped already
    return f"{entry.name}={entry}\n{UNSAVED}={data_key.encrypt(UNSAVED, text)}\n"


def _compare(
    session: EditorSession, file: EnvFile, must_encrypt: NameTest
) -> tuple[dict[int, Binding], dict[int, str]]:
    """Return the lines of the edited *file* that get their original text again, and its values to encrypt."""
    # The original and the draft of each line that is not found in the edited text yet.
    unused: dict[tuple[str, str | None], list[tuple[Binding, Binding]]] = {}
    for old, draft in zip(session.lines.file.bindings, parse(session.draft).bindings, strict=True):
        unused.setdefault(_content(draft), []).append((old, draft))
    sealed_names = {name for name, _ in session.lines.sealed.values()}
    changes: dict[int, Binding] = {}
    values: dict[int, str] = {}
    for index, binding in enumerate(file.bindings):
        if pairs := unused.get(_content(binding)):
            old, draft = pairs.pop(0)
            if old.text == draft.text:  # neither a sealed value nor a key entry
                continue
            blank, statement, end = _parts(binding.text)
            if draft.name is None or statement == _parts(draft.text)[1]:
                changes[index] = old._replace(text=blank + _parts(old.text)[1] + end)
            else:
                changes[index] = with_value(binding, old.value or "")
        elif binding.value is not None and (binding.name in sealed_names or must_encrypt(binding.name or "")):
            values[index] = binding.value
    return changes, values


def _content(binding: Binding) -> tuple[str, str | None]:
    """Return what *binding* says, however it is written: name and value, or the comment."""
    return binding.name or _parts(binding.text)[1].strip(), binding.value


def _restore_entries(text: str, entries: Sequence[KeyEntry]) -> str:
    """Return *text* with *entries* of one data key above its first value, if it has values and no entry."""
    file = parse(text)
    prefix = f"encenv:1:{entries[0].kid}:"
    users = [i for i, binding in enumerate(file.bindings) if (binding.value or "").startswith(prefix)]
    if users and not any(binding.name == entries[0].name for binding in file.bindings):
        for entry in entries:
            file = file.insert_above(users[0], entry.name, str(entry))
    return str(file)


def _parts(text: str) -> tuple[str, str, str]:
    """Return the blank lines before a statement, the statement, and the newline after it."""
    statement = text[blank_lines(text) :]
    body = statement.rstrip("\r\n")
    return text[: blank_lines(text)], body, statement[len(body) :]
