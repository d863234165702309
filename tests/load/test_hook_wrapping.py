"""A class with its own `settings_customise_sources` costs the same at its first and at its thousandth instance."""

import gc
import itertools
import sys

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict
from support.equivalence import Environment, process

from encenv import EncryptedSettings

LOADS = 1_000  # when each one wrapped the hook once more, the 500th raised RecursionError


class Plain(EncryptedSettings):
    """A settings class without a hook."""

    model_config = SettingsConfigDict(extra="ignore")
    a: str = "none"
    b: str = "none"
    c: str = "none"


def depth():
    """Return how many frames the stack has."""
    frames = itertools.takewhile(
        bool, itertools.accumulate(itertools.count(), lambda frame, _: frame.f_back, initial=sys._getframe())
    )
    return sum(1 for _ in frames)


def hook_of(depths):
    """Return a hook that notes the depth of the stack at its last call in *depths*."""

    def settings_customise_sources(cls, settings_cls, init_settings, env_settings, **sources):
        depths[:] = [depth()]
        return init_settings, env_settings

    return classmethod(settings_customise_sources)


def own_hook(hook):
    """Return a class with *hook* of its own."""
    return type("Hooked", (Plain,), {"settings_customise_sources": hook})


def hook_replaced(hook):
    """Return a class whose hook has been replaced by *hook*, after instances were made."""
    made = own_hook(hook_of([]))
    made(c="init")
    made.settings_customise_sources = hook
    return made


def hook_of_parent_replaced(hook):
    """Return a class whose parent's hook has been replaced by *hook*, after instances were made."""
    parent = own_hook(hook_of([]))
    made = type("Child", (parent,), {})
    made(c="init")
    parent.settings_customise_sources = hook
    return made


def hook_of_mixin(hook, *, first):
    """Return a class with a mixin, *first* or last of its bases, that has *hook*."""
    mixin = type("Mixin", () if first else (BaseSettings,), {"settings_customise_sources": hook})
    return type("Mixed", (mixin, Plain) if first else (Plain, mixin), {"model_config": Plain.model_config})


def hook_assigned(hook):
    """Return a class to which *hook* was assigned once it was finished."""
    made = type("Finished", (Plain,), {})
    made.settings_customise_sources = hook
    return made


HOOK_SHAPES = {
    "own": own_hook,
    "inherited": lambda hook: type("Child", (own_hook(hook),), {}),
    "mixin before": lambda hook: hook_of_mixin(hook, first=True),
    "mixin after": lambda hook: hook_of_mixin(hook, first=False),
    "assigned later": hook_assigned,
    "replaced later": hook_replaced,
    "replaced later in the parent": hook_of_parent_replaced,
}


def reload(cls):
    """Return a function that loads one living object of *cls* again, in its place."""
    settings = cls()
    return lambda: settings.__init__(c="init")


def nest(cls):
    """Return a function that loads a settings class with *cls* inside."""

    class Outer(Plain):
        inner: cls = Field(default_factory=cls)

    return Outer


WAYS_TO_LOAD = {
    "validate": lambda cls: lambda: cls.model_validate({"c": "init"}),
    "reload": reload,
    "command line": lambda cls: lambda: CliApp.run(cls, cli_args=[], c="init"),
    "nested": nest,
}


def assert_level(make, depths, loads):
    """Assert that *loads* calls of *make* end as deep as the first call, and leave no objects behind."""
    make()
    gc.collect()
    first, objects = depths[0], len(gc.get_objects())
    for _ in range(loads - 1):
        make()
    assert depths[0] == first
    gc.collect()
    assert len(gc.get_objects()) < objects + loads / 4


@pytest.mark.parametrize("shape", HOOK_SHAPES)
def test_many_instances_of_a_class_with_a_hook(shape):
    """The hook is wrapped once, in whatever class it is and whenever it came there: each instance costs the same."""
    depths = []
    made = HOOK_SHAPES[shape](hook_of(depths))
    with process(Environment().sealed(A="process"), B="plain"):
        assert_level(lambda: made(c="init"), depths, LOADS)


@pytest.mark.parametrize("way", WAYS_TO_LOAD)
def test_many_loads_of_a_class_with_a_hook(way):
    """The hook is wrapped once, however the class is loaded."""
    depths = []
    made = own_hook(hook_of(depths))
    made.cli_cmd = lambda self: None
    with process(Environment().sealed(A="process"), B="plain"):
        assert_level(WAYS_TO_LOAD[way](made), depths, LOADS // 4)
