"""``python -m encenv``: the command line."""

from encenv.cli import main

main()
