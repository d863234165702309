"""The verbs of the command line, one file each; a verb is imported when it is called."""
