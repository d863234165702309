"""Draw a bar chart as SVG, which is legible on a light and on a dark page; its axis begins at 0."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 800
LABELS = 262  # for the names, on the left
END = 70  # for the figures, on the right
TOP = 58
ROW = 30
THICK = 16
STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 2500, 5000)
TICKS_MAX = 7
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.quiet { fill: #59636e; font-size: 12px }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.bar { fill: #8c959f } .ours { fill: #0969da } .range { stroke: #1f2328; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .quiet { fill: #9198a1 } .grid { stroke: #3d444d }
  .bar { fill: #656c76 } .ours { fill: #4493f8 } .range { stroke: #f0f6fc }
}
"""


@dataclass(frozen=True)
class Bar:
    """A bar, with a line from *low* to *high* for the middle half of the measurements."""

    name: str
    value: float
    low: float
    high: float
    ours: bool = False


def bars(title: str, note: str, rows: Sequence[Bar]) -> str:
    """Return *rows* as an SVG document."""
    most = max(max(row.high, row.value, 1.0) for row in rows)
    step = next((step for step in STEPS if most / step <= TICKS_MAX), STEPS[-1])
    height = TOP + ROW * len(rows) + 34
    bottom = TOP + ROW * len(rows)

    def x(value: float) -> float:
        return LABELS + max(0.0, value) / most * (WIDTH - LABELS - END)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="12" y="22">{escape(title)}</text>',
        f'<text class="quiet" x="12" y="41">{escape(note)}</text>',
    ]
    for tick in range(0, int(most) + 1, step):
        out += [
            f'<line class="grid" x1="{x(tick):.1f}" y1="{TOP}" x2="{x(tick):.1f}" y2="{bottom}"/>',
            f'<text class="quiet" x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick}</text>',
        ]
    for index, row in enumerate(rows):
        middle = TOP + ROW * index + ROW / 2
        kind = "ours" if row.ours else "bar"
        figure = x(max(row.value, row.high)) + 8
        out += [
            f'<text x="{LABELS - 10}" y="{middle + 4.5}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect class="{kind}" x="{LABELS}" y="{middle - THICK / 2}" width="{x(row.value) - LABELS:.1f}" height="{THICK}"/>',
            f'<line class="range" x1="{x(row.low):.1f}" y1="{middle}" x2="{x(row.high):.1f}" y2="{middle}"/>',
            f'<text x="{figure:.1f}" y="{middle + 4.5}">{row.value:.0f}</text>',
        ]
    return "\n".join([*out, "</svg>", ""])
