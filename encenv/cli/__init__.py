"""The command line. Only in this room is anything printed or exited.

From the bottom up:
terminal · report · options · files: what a person sees and gives.
editor · key_health: what one verb needs.
group · main: the call itself. verbs/ has one file a verb.
"""
