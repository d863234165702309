"""Expand ``${NAME}`` in the values of bindings, and decrypt only the values that this needs.

A reference means what it means to python-dotenv: the nearest binding of that name above, or a process variable.
So a binding refers only upwards, references cannot form a circle, and each value is computed once.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

from encenv.files.dotenv_names import Atom, Variable, parse_variables
from encenv.format.sealed import claims

# For each name, the index of the binding or the name of the process variable that supplies it.
_Sources = dict[str, int | str]


class Expansion:
    """The values of *bindings* with ``${NAME}`` and ``${NAME:-default}`` replaced, each computed on request.

    Args:
        bindings: Name and raw value of each binding in order; None for a line without "=".
        environ: The process variables.
        override: Whether bindings come before process variables of the same name, as in ``dotenv_values``.
        decrypt_binding: Takes index, name and raw value; returns the plaintext (the raw value itself if it is not
            sealed), or None if decryption failed. Called at most once for each index, and only if needed.
        decrypt_process: The same for a process variable that is referred to; takes name and raw value.
    """

    def __init__(
        self,
        bindings: Sequence[tuple[str, str | None]],
        environ: Mapping[str, str],
        *,
        override: bool = True,
        decrypt_binding: Callable[[int, str, str], str | None],
        decrypt_process: Callable[[str, str], str | None],
    ) -> None:
        self._bindings = bindings
        # A copy: os.environ raises on names that its encoding cannot hold, and may change while we work.
        self._environ = dict(environ)
        self._override = override
        self._decrypt_binding = decrypt_binding
        self._decrypt_process = decrypt_process
        self._places: dict[str, list[int]] = {}  # the indexes of each name, ascending
        for index, (name, _) in enumerate(bindings):
            self._places.setdefault(name, []).append(index)
        self._values: dict[int, str | None] = {}
        self._process: dict[str, str] = {}

    def value(self, index: int) -> str | None:
        """Return the final value of the binding at *index*: decrypted, then expanded.

        None if it has no "=". A value that cannot be decrypted counts as empty, here and where it is referred to.
        """
        needs = self._needs([index], self._text)
        for at in sorted(needs):  # a binding refers only upwards: what it needs is computed before it
            if at not in self._values:
                atoms, sources = needs[at]
                # python-dotenv's own atoms decide about defaults and missing names.
                environ = {
                    name: self._values[source] if isinstance(source, int) else self._process_value(source)
                    for name, source in sources.items()
                }
                is_bare = self._bindings[at][1] is None
                self._values[at] = None if is_bare else "".join(atom.resolve(environ) for atom in atoms)
        return self._values[index]

    def references(self, indexes: Iterable[int]) -> tuple[set[int], set[str]]:
        """Return the bindings that *indexes* need, themselves included, and the names of process variables.

        References inside sealed values are not followed.
        """
        needs = self._needs(indexes, self._visible_text)
        all_sources = [source for _, sources in needs.values() for source in sources.values()]
        return {*needs}, {source for source in all_sources if isinstance(source, str)}

    def _needs(
        self, indexes: Iterable[int], text_of: Callable[[int], str]
    ) -> dict[int, tuple[list[Atom], _Sources]]:
        """Return atoms and sources of all bindings that *indexes* need, by index; *text_of* gives the texts to look at."""
        needs: dict[int, tuple[list[Atom], _Sources]] = {}
        waiting = list(indexes)  # not recursion: a chain of references may be as long as the file
        while waiting:
            index = waiting.pop()
            if index not in needs:
                atoms = list(parse_variables(text_of(index)))
                sources = self._sources(index, atoms)
                needs[index] = atoms, sources
                waiting.extend(source for source in sources.values() if isinstance(source, int))
        return needs

    def _text(self, index: int) -> str:
        """Return the plaintext of the binding at *index*, or nothing if its value is known already."""
        name, raw = self._bindings[index]
        return "" if raw is None or index in self._values else self._decrypt_binding(index, name, raw) or ""

    def _visible_text(self, index: int) -> str:
        raw = self._bindings[index][1]
        return "" if raw is None or claims(raw) else raw

    def _sources(self, index: int, atoms: Iterable[Atom]) -> _Sources:
        """Return the sources of the names in *atoms*, which the binding at *index* refers to."""
        sources: _Sources = {}
        for atom in atoms:
            if not isinstance(atom, Variable):
                continue
            name = atom.name
            places = self._places.get(name, [])
            above = bisect_left(places, index)
            if name in self._environ and not (above and self._override):
                sources[name] = name
            elif above:
                sources[name] = places[above - 1]
        return sources

    def _process_value(self, name: str) -> str:
        if name not in self._process:
            self._process[name] = self._decrypt_process(name, self._environ[name]) or ""
        return self._process[name]
