"""Every undocumented name of python-dotenv that encenv relies on, read in one place, without a default.

If an update has renamed one, the error names it. Each written text is parsed again, which proves that they still work.
"""

from typing import TypeAlias

from dotenv import parser, variables

from encenv.errors import missing_name

_missing = None
try:
    Atom: TypeAlias = variables.Atom
    Variable: TypeAlias = variables.Variable
    parse_variables = variables.parse_variables
    Statement: TypeAlias = parser.Binding
    Reader: TypeAlias = parser.Reader
    parse_key, parse_value, parse_stream = parser.parse_key, parser.parse_value, parser.parse_stream
except AttributeError as error:
    _missing = missing_name(error)
if _missing is not None:
    raise _missing
