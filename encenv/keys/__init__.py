"""From a key entry to a data key."""
