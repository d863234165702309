"""What git runs and what is asked of git: the hook, the diff and merge drivers, the repository."""
