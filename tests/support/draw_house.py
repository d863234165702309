"""Draw the rooms of the house and the imports between them as encenv/house.svg.

Run ``PYTHONPATH=tests python -m support.draw_house`` after a change to the rooms. The arrows are measured from the
source; where the rooms are placed in the picture is said here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise

from support.house import FACES, PACKAGE, ROOMS, files, imports

PICTURE = PACKAGE / "house.svg"

MARGIN = 16
GAP = 30  # between columns
FLOOR_GAP = 40  # between rows; the arrows' heads are drawn there
COLUMN = 154
PAD = 12
NAME = 26  # height of a room's name
LINE = 16  # height of every other line
LETTER = 6.2  # width of a letter of a purpose, on average
CHARACTER = 6.7  # width of a character of a file's name, at 11 pixels of a monospaced font
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.name { font: 600 15px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
.files { font: 11px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #59636e }
.room { fill: #f6f8fa; stroke: #8c959f; stroke-width: 1.2 }
.face { fill: #ddf4ff; stroke: #54aeff; stroke-width: 1.2 }
.arrow { fill: none; stroke: #0969da; stroke-width: 1.8 }
.tip { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .files { fill: #9198a1 }
  .room { fill: #151b23; stroke: #656c76 } .face { fill: #0c2d4d; stroke: #1f6feb }
  .arrow { stroke: #4493f8 } .tip { fill: #4493f8 }
}
"""

TIP = """
<marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
<path class="tip" d="M0 0L10 5L0 10z"/>
</marker>
"""


@dataclass(frozen=True)
class Place:
    """Where a room is: its first row and column, and how many of each it takes. Row 0 is the roof."""

    row: int
    column: int
    columns: int = 1
    rows: int = 1


PLACES = {
    "cli.verbs": Place(0, 0, 6),
    "cli": Place(1, 0, 2),
    "git": Place(2, 0, 1, 2),
    "policy": Place(2, 1),
    "export": Place(2, 2),
    "encenv": Place(2, 3),
    "load": Place(3, 1, 3),
    "files": Place(4, 0, 4),
    "keys.aws": Place(4, 4, 2),
    "testing": Place(1, 5, 1, 3),
    "keys": Place(5, 0, 6),
    "format": Place(6, 0, 6),
    "errors": Place(7, 0, 6),
}
FACE_PURPOSES = {
    "encenv": "the public names, handed out lazily",
    "testing": "a KMS to test with, and fixtures",
}


@dataclass(frozen=True)
class Box:
    """A room as it is drawn."""

    name: str
    purpose: list[str]
    files: list[str]
    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The x of the right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of the lower edge."""
        return self.y + self.height


Point = tuple[float, float]


def owner(file: str) -> str:
    """Return the room or face that a file of the package belongs to."""
    if file in {"", "__main__"}:
        return "encenv"
    names = [name for name in PLACES if f"{file}.".startswith(f"{name}.")]
    return max(names, key=len)


def measured() -> dict[str, set[str]]:
    """Return which other rooms each room imports according to the source, even if only for the type checker."""
    arrows: dict[str, set[str]] = {name: set() for name in PLACES}
    for file, path in files().items():
        if file == "__main__":  # starts the command line: python -m encenv
            continue
        targets = {owner(one.target) for one in imports(path) if one.target}  # "" is imported for __version__
        arrows[owner(file)] |= targets - {owner(file)}
    return arrows


def reduced(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return *arrows* without those that follow from others: from a to c, if a leads to b and b to c."""

    def reach(name: str) -> set[str]:
        return arrows[name].union(*(reach(target) for target in arrows[name]))

    return {
        name: {one for one in targets if not any(one in reach(other) for other in targets - {one})}
        for name, targets in arrows.items()
    }


def contents(name: str) -> tuple[str, list[str]]:
    """Return the purpose of a room and the names of its files within it."""
    room = next((room for room in ROOMS if room.name == name), None)
    own = room.files if room else [face for face in FACES if face.startswith(f"{name}.")]
    return (room.purpose if room else FACE_PURPOSES[name]), [
        file.removeprefix(f"{name}.") for file in own if file != name
    ]


def wrapped(words: Iterable[str], separator: str, characters: int) -> list[str]:
    """Return *words* in lines of at most so many characters, without a separator at the end of a line."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1] + separator + word) <= characters:
            lines[-1] += separator + word
        else:
            lines.append(word)
    return lines


def boxes() -> dict[str, Box]:
    """Lay the rooms out: a row is as high as the text of its rooms."""
    drawn: dict[str, Box] = {}
    top = float(MARGIN)
    for row in range(1 + max(place.row + place.rows - 1 for place in PLACES.values())):
        bottom = top
        for name, place in PLACES.items():
            if place.row == row:
                purpose, names = contents(name)
                width = place.columns * COLUMN + (place.columns - 1) * GAP
                inner = width - 2 * PAD
                lines = wrapped(purpose.split(), " ", int(inner / LETTER))
                short = wrapped(names, " · ", int(inner / CHARACTER))
                height = NAME + LINE * (len(lines) + len(short)) + PAD + 2
                drawn[name] = Box(
                    name, lines, short, MARGIN + place.column * (COLUMN + GAP), top, width, height
                )
            if name in drawn and row == place.row + place.rows - 1:
                bottom = max(bottom, drawn[name].bottom)
        for name, place in PLACES.items():
            if row == place.row + place.rows - 1:
                drawn[name] = replace(drawn[name], height=bottom - drawn[name].y)
        top = bottom + FLOOR_GAP
    return drawn


def route(start: Box, end: Box, others: list[Box], ends: list[Point]) -> list[Point]:
    """Return the corners of an arrow between two boxes that crosses no other box and ends beside other arrows.

    It goes straight down where one box is above the other; else it leaves by the side and turns down.

    Raises:
        SystemExit: If there is no such way, so that the rooms have to be placed differently.
    """
    parts = (0.5, 0.25, 0.75, 0.1, 0.9)
    left, right = max(start.x, end.x), min(start.right, end.right)
    side = start.right if end.x >= start.right else start.x
    if left < right:
        downwards = [left + (right - left) * part for part in parts]
        ways = [[(x, start.bottom), (x, end.y)] for x in downwards]
    else:
        downwards = [end.x + end.width * part for part in (0.25, 0.1, *parts)]
        ways = [[(side, start.y + NAME), (x, start.y + NAME), (x, end.y)] for x in downwards]
        ways.append([(side, start.y + NAME), (end.x if end.x > side else end.right, start.y + NAME)])
    for way in ways:
        if (
            not any(crosses(way, box) for box in others)
            and not crosses(way[:-1], end)
            and way[-1] not in ends
        ):
            return way
    raise SystemExit(f"no way from {start.name} to {end.name}: change PLACES in {__file__}")


def crosses(way: list[Point], box: Box) -> bool:
    """Return whether an arrow touches a box."""
    return any(
        min(x, to_x) <= box.right
        and max(x, to_x) >= box.x
        and min(y, to_y) <= box.bottom
        and max(y, to_y) >= box.y
        for (x, y), (to_x, to_y) in pairwise(way)
    )


def drawing() -> str:
    """Return the house as an SVG document."""
    drawn = boxes()
    width = max(box.right for box in drawn.values()) + MARGIN
    height = max(box.bottom for box in drawn.values()) + MARGIN
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        "<title>The rooms of encenv and the imports between them</title>",
        f"<style>{STYLE}</style>",
        f"<defs>{TIP}</defs>",
    ]
    ends: list[Point] = []
    for name, targets in reduced(measured()).items():
        for target in sorted(targets, key=list(PLACES).index):
            others = [box for box in drawn.values() if box.name not in {name, target}]
            corners = route(drawn[name], drawn[target], others, ends)
            ends.append(corners[-1])
            path = "M" + "L".join(f"{x:g} {y:g}" for x, y in corners)
            out.append(
                f'<path class="arrow" d="{path}" marker-end="url(#tip)"><title>{name} → {target}</title></path>'
            )
    for box in drawn.values():
        kind = "face" if box.name in FACE_PURPOSES else "room"
        x = box.x + PAD
        out += [
            f'<rect class="{kind}" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="8"/>',
            f'<text class="name" x="{x:g}" y="{box.y + 21:g}">{escape(box.name.replace(".", "/"))}</text>',
        ]
        y = box.y + NAME
        for style, lines in (("purpose", box.purpose), ("files", box.files)):
            y += 2
            for line in lines:
                y += LINE
                out.append(f'<text class="{style}" x="{x:g}" y="{y - 2:g}">{escape(line)}</text>')
    return "\n".join([*out, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
