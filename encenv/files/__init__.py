"""Read, inspect, encrypt, edit and replace .env files on disk.

From the bottom up:
disk · atomic: bytes on disk, and their text.
document · expand: what the lines say to python-dotenv.
opening · plaintext_leaks · inspect · compare: what a reader can tell, with or without a key.
key_names · writer · lines · data_key_choice: who encrypts what, and under which data key.
encrypt · edit · editor_session · rewrap: one change of a file each, with a proof.
"""
