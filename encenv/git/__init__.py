"""Start git and answer its calls: the repository, the hooks, the diff and merge drivers."""
