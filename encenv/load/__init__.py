"""From sources to settings."""
