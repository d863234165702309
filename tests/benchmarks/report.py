"""Draw from ``results.json`` what the README shows, tables and plot, and say how far the aims are reached.

python tests/benchmarks/report.py
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from plot import Bar, bars
from reach import reached

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
PLOT = HERE / "cold-start.svg"
BEGIN = "<!-- benchmarks: drawn by tests/benchmarks/report.py -->"
END = "<!-- end of benchmarks -->"
COUNT = 20
PLACES = ("http, 0 ms", "http, 20 ms", "tls, 0 ms", "tls, 20 ms")
PLOTTED = "http, 0 ms"  # where all peers could be measured
MEGABYTES = (1024, 512, 128)

Results = dict[str, Any]


def main() -> None:
    """Write the plot and, between its marks, the README's part."""
    results = json.loads((HERE / "results.json").read_text())
    text = README.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the README has no lines {BEGIN!r} and {END!r}")
    if bare := _plot(results):
        PLOT.write_text(bare)
    parts = [
        part
        for part in (
            _cold(results),
            _runtime(results),
            _instructions(results),
            _commands(results),
            _size(results),
            _scale(results),
            _machine(results),
        )
        if part
    ]
    README.write_text("\n\n".join([before + begin, *parts, end + after]))
    for name, part in results.items():
        load, cores = part["machine"]["load"][0], part["machine"]["cores"]
        if load > cores / 2:
            print(f"{name} was measured on a machine with a load of {load:g}, {cores} cores: do not quote it")
    for aim in reached(results):
        print(aim)


def _part(results: Results, name: str) -> Results:
    found: Results = results.get(name, {}).get("results", {})
    return found


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cold(results: Results) -> str:
    cold = _part(results, "cold")
    columns = [cold.get(f"{COUNT} secrets, {place}", {}) for place in PLACES]
    limited = _part(results, "limited")
    columns += [limited.get(f"{COUNT} secrets, http, 0 ms, {size} MB", {}) for size in MEGABYTES]
    heads = [*(place.replace("tls", "TLS") for place in PLACES), *(f"{size} MB" for size in MEGABYTES)]
    shown = [(head, column) for head, column in zip(heads, columns, strict=True) if column]
    if not shown:
        return ""
    rows = [
        [name, *(_overhead(column.get(name, {})) for _, column in shown)]
        for name in dict.fromkeys(name for _, column in shown for name in column)
        if name != "plaintext"
    ]
    base = [column.get("plaintext", {}).get("median") for _, column in shown]
    rows.append(["*plaintext, the whole process*", *("" if one is None else f"{one:.0f}" for one in base)])
    text = (
        f"What {COUNT} secrets add to a cold start: milliseconds over the same program with plaintext variables, and "
        "in proportion to one `Decrypt` through boto3. By how the test KMS is reached and how long it takes to "
        "answer; on the right with as much of a processor as a Lambda function of that size has."
    )
    runs = [
        column["plaintext"] for column in columns[: len(PLACES)] if "median" in column.get("plaintext", {})
    ]
    if runs:
        least, most = min(run["min"] for run in runs), max(run["q3"] for run in runs)
        text += (
            f" How quiet the machine was: the program with plaintext variables, always the same, took {least:.0f} to "
            f"{most:.0f} ms in these runs."
        )
    plot = f"![Cold start: milliseconds added by each way]({PLOT.relative_to(README.parent)})"
    return "\n\n".join([text, plot, _table(["", *(head for head, _ in shown)], rows)])


def _runtime(results: Results) -> str:
    limited = _part(results, "limited")
    columns = {
        head: limited[f"Lambda runtime, {head}"]
        for head in ("no limit", *(f"{size} MB" for size in MEGABYTES))
        if f"Lambda runtime, {head}" in limited
    }
    if not columns:
        return ""
    names = [name for name in next(iter(columns.values())) if name != "plaintext"]
    rows = [[name, *(_overhead(column.get(name, {})) for column in columns.values())] for name in names]
    text = (
        "The same of the first request to a function, initialisation included, under AWS's own runtime client and "
        "runtime emulator on this machine:"
    )
    return f"{text}\n\n{_table(['', *columns], rows)}"


def _instructions(results: Results) -> str:
    found = _part(results, "instructions")
    columns = {scheme: found.get(f"{COUNT} secrets, {scheme}", {}) for scheme in ("http", "tls")}
    if not all(columns.values()):
        return ""
    names = [name for name in columns["http"] if name != "plaintext"]
    rows = [
        [
            name,
            *(f"{column[name]['overhead']:.0f} ({column[name]['ratio']:.2f})" for column in columns.values()),
        ]
        for name in names
    ]
    text = (
        "The same in millions of instructions, which are the same whatever else a machine is doing, and leave out waiting "
        "and the system's own work "
        f"(the whole program with plaintext variables: {columns['http']['plaintext']['millions']:.0f}):"
    )
    table = _table(["", "http", "TLS"], rows)
    if _part(results, "cold"):
        return f"{text}\n\n{table}"
    text = (
        f"What {COUNT} secrets add to a cold start, in millions of instructions over the same program with plaintext "
        f"variables (that has {columns['http']['plaintext']['millions']:.0f}), and in proportion to one `Decrypt` "
        "through boto3. Instructions are the same whatever else a machine is doing; waiting for KMS and the system's own "
        "work come on top."
    )
    plot = f"![Cold start: instructions added by each way]({PLOT.relative_to(README.parent)})"
    return f"{text}\n\n{plot}\n\n{table}"


def _overhead(result: Results) -> str:
    if "overhead" not in result:
        return ""
    if result["overhead"] <= 0:
        return "within noise"  # nothing takes less than nothing
    ratio = f" ({result['ratio']:.2f})" if "ratio" in result else ""
    return f"{result['overhead']:.0f}{ratio}"


def _commands(results: Results) -> str:
    rows = _part(results, "commands").get("rows", [])
    ours = next((row["median_ms"] for row in rows if row["command"] == "encenv run, local key"), None)
    if not rows or ours is None:
        return ""
    lines = [[row["command"], f"{row['median_ms'] / ours:.2f}"] for row in rows]
    text = (
        "How long it takes to start `true` with 20 decrypted variables, as a multiple of encenv's own time:"
    )
    return f"{text}\n\n{_table(['', 'times'], lines)}"


def _size(results: Results) -> str:
    rows = _part(results, "size").get("rows", [])
    if not rows:
        return ""
    lines = [[row["way"], str(row["value_characters"]), str(row["fit"])] for row in rows]
    return (
        "A stored secret of 32 characters, and how many of them, with names of 16, fit the 4,096 bytes of a Lambda "
        "function's variables:\n\n" + _table(["", "characters", "fit"], lines)
    )


def _scale(results: Results) -> str:
    rows = _part(results, "scale").get("rows", [])
    if not rows:
        return ""
    sizes = list(dict.fromkeys(row["variables"] for row in rows))
    lines = []
    for subject in dict.fromkeys(row["subject"] for row in rows):
        own = [row for row in rows if row["subject"] == subject]
        lines.append(
            [subject, *(_time(row["median_ms"]) for row in own), f"{own[-1]['peak_kib'] / 1024:.0f}"]
        )
    text = (
        "Milliseconds for so many variables, without the start of Python and what it imports, and the memory that the last "
        "column's number takes at its height, in MiB:"
    )
    return f"{text}\n\n{_table(['', *(f'{size:,}' for size in sizes), 'MiB'], lines)}"


def _time(milliseconds: float) -> str:
    return f"{milliseconds:.1f}" if milliseconds < 10 else f"{milliseconds:,.0f}"


def _machine(results: Results) -> str:
    machines = [part["machine"] for part in results.values() if "machine" in part]
    if not machines:
        return ""
    last = max(machines, key=lambda machine: machine["date"])
    return (
        f"Measured on {last['date'][:10]}: {last['processor']}, {last['cores']} cores, Python {last['python']}, "
        f"{last['openssl']}. How, and with which versions: [tests/benchmarks](tests/benchmarks/README.md)."
    )


def _plot(results: Results) -> str:
    return _plot_of_times(results) or _plot_of_instructions(results)


def _plot_of_instructions(results: Results) -> str:
    column = _part(results, "instructions").get(f"{COUNT} secrets, http", {})
    found = [
        Bar(name, one["overhead"], one["overhead"], one["overhead"], ours=name.startswith("encenv"))
        for name, one in column.items()
        if name != "plaintext"
    ]
    title = f"Cold start with {COUNT} secrets: millions of instructions over plaintext variables"
    note = "counted by valgrind, whole processes; KMS on this machine, answering at once over http"
    return bars(title, note, sorted(found, key=lambda bar: bar.value)) if found else ""


def _plot_of_times(results: Results) -> str:
    column = _part(results, "cold").get(f"{COUNT} secrets, {PLOTTED}", {})
    found = [
        Bar(
            name,
            result["overhead"],
            result["overhead_q1"],
            result["overhead_q3"],
            ours=name.startswith("encenv"),
        )
        for name, result in column.items()
        if "overhead" in result and name != "plaintext"
    ]
    title = f"Cold start with {COUNT} secrets: milliseconds over plaintext variables"
    note = "median and middle half of whole processes; KMS on this machine, answering at once over http"
    return bars(title, note, sorted(found, key=lambda bar: bar.value)) if found else ""


if __name__ == "__main__":
    main()
