"""The command line. Only this room prints, and ends the process.

From the bottom up:
terminal · report · options · files: output and input, for all verbs.
editor · key_health: parts of one verb.
group · main: the call itself. verbs/ has one file for each verb.
"""
