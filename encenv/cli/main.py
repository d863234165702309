"""Run the command line, from the imports to the exit code.

Data goes to standard output, everything else to standard error: ``encenv: error:`` says what happened,
``encenv: hint:`` what to do. Exit code 0 is success, 1 an error, 2 a wrong call.
"""

import sys


def main(args: list[str] | None = None) -> None:
    """Run the command line with *args*, the process's own if they are left out, and exit."""
    try:
        from encenv.cli.group import call  # a lazy door: Ctrl-C during the imports is answered like any other

        code = call(args)
    except KeyboardInterrupt:
        from encenv.cli.terminal import fail  # a lazy door: as above

        code = fail("interrupted", "run it again; no file was left half written")
    sys.exit(code)
