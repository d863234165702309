"""A .env file on disk."""
