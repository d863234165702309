"""Install and remove the drivers by which git shows .env files masked and merges them by variable."""

import shlex
from collections.abc import Iterator

from encenv.git.repository import config, git, remove_config
from encenv.git.script import read_script


def install_drivers() -> Iterator[str]:
    """Write the drivers into the configuration of this clone; yield what was done, nothing if they were there."""
    changed = {key: value for key, value in _settings().items() if config(key) != value}
    for key, value in changed.items():
        git("config", "--local", key, value)
    if changed:
        yield "git diff shows .env files masked, git merge merges them by variable: set for this clone"


def remove_drivers() -> Iterator[str]:
    """Remove the drivers from the configuration of this clone; yield what was done."""
    for section in ("diff.encenv", "merge.encenv"):
        yield from remove_config(section)


def has_drivers() -> bool:
    """Return whether this clone has drivers, of whichever version of encenv."""
    return all(config(key) for key in _settings())


def _settings() -> dict[str, str]:
    driver = f"sh -c {shlex.quote(read_script('driver.sh'))} driver.sh"
    escaped = driver.replace("%", "%%")  # in a merge driver, git expands %O and the like
    return {
        "diff.encenv.textconv": f"{driver} textconv",
        "merge.encenv.name": "merge .env files by variable",
        "merge.encenv.driver": f"{escaped} merge %O %A %B %L %P",
        # Where two branches have merged each other, git first makes one ancestor of two. With conflict markers in that,
        # one side's choice would pass for no change at all; binary keeps what was there before.
        "merge.encenv.recursive": "binary",
    }
