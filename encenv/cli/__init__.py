"""The command line. Only in this room is anything printed or exited.

From the bottom up:
terminal · report · options · files: what a person sees and gives.
editor · ram_folder · key_health: what one or two verbs need.
group · main: the call itself. verbs/ has one file a verb.
"""
