"""
A command that runs the suite on pairs of Python and Django, each in an environment of its own.

Each interpreter is run to learn its version, because a program on the PATH may not work.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = ROOT / ".matrix"
#: The Pythons for each Django, oldest first.
SUPPORTED = {
    "5.2": ("3.11", "3.12", "3.13"),
    "6.0": ("3.12", "3.13"),
    "6.1": ("3.12", "3.13"),
}
PAIRS = [f"{python}-{django}" for django, pythons in SUPPORTED.items() for python in pythons]
#: The exit code if no pair was available; pytest's own for "no tests were collected".
NOTHING_RAN = 5

REINSTALL = ("-m", "pip", "install", "-qq", "--force-reinstall", "--no-deps", ".")
QUESTION = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
DESCRIPTION = (
    "Run the suite on pairs of Python and Django, each in an environment of its own in .matrix/."
)
EPILOG = f"""\
pairs: {", ".join(PAIRS)}; all of them, if none is given
example: python -m tests.matrix 3.13-6.1 -- tests/capture -x
exit code: 0 if every available pair passed, 1 if one failed, {NOTHING_RAN} if none was available"""


def main(arguments: list[str]) -> int:
    """Run the chosen pairs, print one line about each, and return the exit code."""
    options, for_pytest = parse(arguments)
    interpreters = find_interpreters()
    if options.list:
        outcomes = {pair: availability(pair, interpreters) for pair in options.pairs}
    else:
        outcomes = {pair: run(pair, interpreters, for_pytest) for pair in options.pairs}
    print()
    for pair, outcome in outcomes.items():
        print(f"{pair}  {outcome}")
    return exit_code(list(outcomes.values()))


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return our own options, and pytest's arguments, which follow ``--``."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m tests.matrix",
        usage="%(prog)s [--help] [--list] [pair ...] [-- pytest arguments]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pairs", nargs="*", metavar="pair", help="a Python and a Django: 3.13-6.1")
    parser.add_argument("--list", action="store_true", help="list which pairs this machine can run")
    options = parser.parse_args(arguments[:end])
    if unknown := [pair for pair in options.pairs if pair not in PAIRS]:
        parser.error(f"{', '.join(unknown)} is not supported. The pairs are {', '.join(PAIRS)}.")
    options.pairs = options.pairs or PAIRS
    return options, arguments[end + 1 :]


def find_interpreters() -> dict[str, Path]:
    """Return this machine's working interpreters by their version."""
    found: dict[str, Path] = {}
    for program in dict.fromkeys(path.resolve() for path in candidates()):
        if version := version_of(program):
            found.setdefault(version, program)
    return found


def candidates() -> Iterator[Path]:
    """Yield the paths where an interpreter may be: this one's, the PATH's, pyenv's and uv's."""
    yield Path(sys.executable)
    for folder in map(Path, os.environ.get("PATH", "").split(os.pathsep)):
        for path in sorted(folder.glob("python3*")):
            if re.fullmatch(r"python3(\.\d+)?", path.name):
                yield path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob("versions/*/bin/python3"))
    yield from sorted(Path.home().glob(".local/share/uv/python/*/bin/python3"))


def version_of(program: Path) -> str | None:
    """Return an interpreter's version, as in "3.13"; None if it can't make environments."""
    try:
        asked = subprocess.run(
            [program, "-c", QUESTION], capture_output=True, text=True, check=False
        )
    except OSError:  # it is not executable, or built for another machine
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None


def availability(pair: str, interpreters: dict[str, Path]) -> str:
    """Return which interpreter a pair would run on, or why it can't."""
    python, _, _ = pair.partition("-")
    if python in interpreters:
        return f"available: {interpreters[python]}"
    found = sorted(interpreters, key=lambda version: [int(part) for part in version.split(".")])
    return f"not available: no Python {python} was found, only {', '.join(found)}"


def run(pair: str, interpreters: dict[str, Path], arguments: list[str]) -> str:
    """Make or update a pair's environment and run the suite in it. Return the outcome as a phrase."""
    python, _, django = pair.partition("-")
    if python not in interpreters:
        return availability(pair, interpreters)
    environment = ENVIRONMENTS / pair
    inside = str(environment / "bin" / "python")
    files = ["-r", "requirements/packages.txt", "-r", "requirements/tests.txt"]
    files += ["-c", f"requirements/django-{django}.txt"]
    commands = {
        "making the environment": [str(interpreters[python]), "-m", "venv", str(environment)],
        "installing": [inside, "-m", "pip", "install", "-qq", *files],
        # The wheel, as others install it; pip would keep the one of an earlier run.
        "installing the package": [inside, *REINSTALL],
        "pytest": [inside, "-m", "pytest", "-n", "4", *arguments],
    }
    for step, command in commands.items():
        print(f"{pair} $ {shlex.join(command)}", flush=True)
        if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
            return f"failed: {step} ended with exit code {code}"
    return "passed"


def exit_code(outcomes: list[str]) -> int:
    """Return 1 if a pair failed, and ``NOTHING_RAN`` if none was available, else 0."""
    if any(outcome.startswith("failed") for outcome in outcomes):
        return 1
    return NOTHING_RAN if all(outcome.startswith("not") for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
