"""What one load of a settings class knows about the values that the model was given, so that errors show no secret."""

from collections.abc import Iterable

from encenv.keys.session import Session


class Record:
    """The session that decrypts the values of one load, and which keys of the model's data they came to.

    Args:
        session: The session.
        prefix: What the name of an encrypted variable begins with that supplies the name behind it.

    Attributes:
        decrypted_keys: Keys of the model's data that hold something decrypted.
        plain_texts: Texts of plaintext variables by such keys; these an error may show.
        lost: Field and path of values that could not be decrypted. No lower source stands in for them.
    """

    def __init__(self, session: Session, prefix: str) -> None:
        self.session, self.prefix = session, prefix
        self.decrypted_keys: set[str] = set()
        self.plain_texts: dict[str, set[str]] = {}
        self.lost: set[tuple[str, ...]] = set()

    def note_decrypted(self, keys: Iterable[str]) -> None:
        """Note that a variable which was decrypted gave the model something under *keys*."""
        self.decrypted_keys.update(keys)

    def note_plain(self, keys: Iterable[str], texts: Iterable[str | None]) -> None:
        """Note that a plaintext variable gave the model *texts* under *keys*."""
        for key in keys:
            self.plain_texts.setdefault(key, set()).update(text for text in texts if text is not None)
