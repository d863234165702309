"""The command line. Only in this room is anything printed or exited.

main · group · terminal · files · options · key_options · ram_folder · verbs/: one file a verb.
"""
