"""System check of the versions of Python and Django."""

import sys
from typing import Any

import django
from django.core.checks import CheckMessage, Error, register

#: The versions with which the whole test suite passes: the same as in the package's classifiers.
TESTED = {
    "Python": ("3.11", "3.12", "3.13"),
    "Django": ("5.2", "6.0", "6.1"),
}


@register()
def versions_are_tested(**_: Any) -> list[CheckMessage]:
    """Check that this version of Python, and this version of Django, are tested."""
    return [
        *untested("Python", sys.version_info[:2]),
        *untested("Django", django.VERSION[:2]),
    ]


def untested(name: str, version: tuple[int, ...]) -> list[CheckMessage]:
    """Return an error if a version, such as ``(3, 11)``, is not tested. ``name`` is a key of `TESTED`."""
    found = ".".join(map(str, version))
    if found in TESTED[name]:
        return []
    hint = (
        f"Use {name} {', '.join(TESTED[name][:-1])} or {TESTED[name][-1]}. To use another version at your "
        "own risk, add this id to SILENCED_SYSTEM_CHECKS."
    )
    text = f"django-pillarbox is not tested with {name} {found}."
    return [Error(text, hint=hint, id="pillarbox.E012")]
