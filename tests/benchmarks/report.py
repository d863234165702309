"""Draw the tables, the plot and the key figures of the READMEs from ``results.json``, and compare them with the aims.

python tests/benchmarks/report.py
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from plot import Bar, bars
from reach import reached

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"  # the key figures and the plot
TABLES = HERE / "README.md"  # everything
PLOT = HERE / "cold-start.svg"
BEGIN = "<!-- benchmarks: drawn by tests/benchmarks/report.py -->"
END = "<!-- end of benchmarks -->"
COUNT = 20
MANY = 1_000
PLACES = ("http, 0 ms", "http, 20 ms", "tls, 0 ms", "tls, 20 ms")
PLOTTED = "http, 0 ms"  # where all peers could be measured
MEGABYTES = (1024, 512, 128)

Results = dict[str, Any]


def main() -> None:
    """Write the plot and, between their marks, the tables and the key figures; say how far the aims are reached."""
    results = json.loads((HERE / "results.json").read_text())
    for path, text in written(results).items():
        path.write_text(text)
    for name, part in results.items():
        load, cores = part["machine"]["load"][0], part["machine"]["cores"]
        if load > cores / 2:
            print(f"{name} was measured on a machine with a load of {load:g}, {cores} cores: do not quote it")
    for aim in reached(results):
        print(aim)


def written(results: Results) -> dict[Path, str]:
    """Return each file that shows results, with its new text: the plot, the README and this folder's README."""
    files = {
        README: _between_marks(README, _figures(results)),
        TABLES: _between_marks(TABLES, _tables(results)),
    }
    plot = _plot(results)
    return {**files, PLOT: plot} if plot else files


def _between_marks(path: Path, part: str) -> str:
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no lines {BEGIN!r} and {END!r}")
    return "\n\n".join([before + begin, part, end + after])


def _figures(results: Results) -> str:
    """Return the few figures that the main README shows."""
    lines = []
    instructions = _part(results, "instructions").get(f"{COUNT} secrets, http", {})
    if instructions:
        ours, theirs = (instructions[name]["overhead"] for name in ("encenv", "boto3 envelope"))
        lines.append(
            f"A cold start with {COUNT} secrets takes {ours:.0f} million instructions more than with plaintext variables. "
            f"One `Decrypt` through boto3 takes {theirs:.0f} million."
        )
    cold = _part(results, "cold").get(f"{COUNT} secrets, {PLOTTED}", {})
    if cold:
        ours, theirs = (cold[name]["overhead"] for name in ("encenv", "boto3 envelope"))
        lines.append(
            f"That is {ours:.0f} ms against {theirs:.0f} ms on the machine below, with KMS answering at once."
        )
    scale = {
        row["subject"]: row for row in _part(results, "scale").get("rows", []) if row["variables"] == MANY
    }
    if scale:
        ours, theirs = (scale[name]["median_ms"] for name in ("EncryptedSettings", "BaseSettings"))
        lines.append(
            f"{MANY:,} encrypted variables load in {ours:.0f} ms; pydantic-settings alone takes {theirs:.0f} ms for the "
            "same in plaintext."
        )
    size = {row["way"]: row for row in _part(results, "size").get("rows", [])}
    if size:
        ours = size["encenv, KMS"]
        lines.append(
            f"A secret of 32 characters takes {ours['value_characters']} characters encrypted; {ours['fit']} of them fit "
            "the 4,096 bytes of a Lambda function's variables."
        )
    plot = f"![Cold start: what each way adds]({PLOT.relative_to(README.parent)})"
    more = "All tables, how they were measured, and with which versions: [tests/benchmarks](tests/benchmarks/README.md)."
    return "\n\n".join(
        [plot, "\n".join(f"- {line}" for line in lines), f"{_machine(results)} {more}".strip()]
    )


def _tables(results: Results) -> str:
    """Return all tables, for this folder's README."""
    parts = [
        _cold(results),
        _runtime(results),
        _instructions(results),
        _commands(results),
        _size(results),
        _scale(results),
        _machine(results),
    ]
    return "\n\n".join(part for part in parts if part)


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
        f"Milliseconds that {COUNT} secrets add to a cold start, compared with the same program and plaintext variables; "
        "in brackets, in proportion to one `Decrypt` through boto3. The columns say how the test KMS is reached and how long "
        "it takes to answer; those on the right have as much of a processor as a Lambda function of that size."
    )
    runs = [
        column["plaintext"] for column in columns[: len(PLACES)] if "median" in column.get("plaintext", {})
    ]
    if runs:
        least, most = min(run["min"] for run in runs), max(run["q3"] for run in runs)
        text += (
            f" In these runs the program with plaintext variables took {least:.0f} to {most:.0f} ms, which shows how quiet "
            "the machine was."
        )
    return "\n\n".join([text, _table(["", *(head for head, _ in shown)], rows)])


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
        "The same for the first request to a function, initialisation included, under AWS's own runtime client and "
        "runtime emulator:"
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
        "The same in millions of instructions. Their number does not depend on what else the machine is doing; waiting and "
        "the system's own work are not counted "
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
    return f"{text}\n\n{table}"


def _overhead(result: Results) -> str:
    if "overhead" not in result:
        return ""
    if result["overhead"] <= 0:
        return "within noise"  # the difference was 0 or negative
    ratio = f" ({result['ratio']:.2f})" if "ratio" in result else ""
    return f"{result['overhead']:.0f}{ratio}"


def _commands(results: Results) -> str:
    rows = _part(results, "commands").get("rows", [])
    ours = next((row["median_ms"] for row in rows if row["command"] == "encenv run, local key"), None)
    if not rows or ours is None:
        return ""
    lines = [[row["command"], f"{row['median_ms'] / ours:.2f}"] for row in rows]
    text = "Time to start `true` with 20 decrypted variables, as a multiple of the time of `encenv run`:"
    return f"{text}\n\n{_table(['', 'times'], lines)}"


def _size(results: Results) -> str:
    rows = _part(results, "size").get("rows", [])
    if not rows:
        return ""
    lines = [[row["way"], str(row["value_characters"]), str(row["fit"])] for row in rows]
    return (
        "Length of a stored secret of 32 characters, and how many of them, with names of 16 characters, fit the 4,096 bytes of "
        "a Lambda function's variables:\n\n" + _table(["", "characters", "fit"], lines)
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
        "Milliseconds for so many variables, without starting Python and importing modules; and the peak memory for the largest "
        "number, in MiB:"
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
        f"{last['openssl']}."
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
