"""What git runs, and what git says: the hook, the diff and merge drivers, the repository."""
