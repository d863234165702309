"""The variables of a .env file, written for another place."""
