"""A .env file on disk: read, understood, encrypted, edited and replaced.

From the bottom up:
disk · atomic: bytes on disk, and their text.
document · expand: what the lines say to python-dotenv.
key_names · writer: who encrypts, and under which keys.
lines · plaintext_leaks · inspect · compare: what a reader can tell, with or without a key.
data_key_choice: under which data key a value is encrypted.
encrypt · edit · editor_session · rewrap: one change of a file each, with a proof.
"""
