"""``python -m encenv``: the command line."""

from encenv.cli.main import main

main()
