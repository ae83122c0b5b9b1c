"""Runs the project in this folder with nothing installed but Python 3.10 or newer.

    python3 dev.py demo PROMPT ...      make a picture, in outputs/ here unless -o says otherwise
    python3 dev.py test ...             run the tests; arguments as for pytest
    python3 dev.py check [--no-tests]   lint, format, types, known vulnerabilities and the tests
    python3 dev.py docs                 build the documentation, and say where its page is
    python3 dev.py run MODULE ...       run a module of the project, such as a benchmark

On Windows: `py dev.py ...`. Owns the virtual environment `.venv` beside it, which it makes and
keeps up to date; knows nothing of what the commands do. Standard library only, in syntax that
Python 3.6 reads, so that an old Python gets a message and not a SyntaxError.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
OLDEST_PYTHON = (3, 10)
INTERRUPTED = 130  # what a shell reports after Ctrl-C
AUDIT_SECONDS = 90

# Each set has what those before it have, since the tools of the later ones double what a mere
# demo would download.
REQUIREMENTS = {
    "demo": ["requirements.txt", "requirements-embedded.txt"],
    "dev": ["requirements-dev.txt"],
    "docs": ["requirements-dev.txt", "requirements-docs.txt"],
}


class SetupError(Exception):
    """The virtual environment could not be made; the message says what to do."""


def main(arguments: "list[str]") -> int:
    """Run one command; the return value is the exit code."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    misuses = {"check": rest not in ([], ["--no-tests"]), "run": not rest, "docs": bool(rest)}
    if misuses.get(command, False) or command not in ("demo", "test", "check", "docs", "run"):
        say(__doc__)
        return 0 if command in ("-h", "--help") else 2
    try:
        refuse_old_python(sys.version_info[:3])
        set_up(command if command in REQUIREMENTS else "dev")
    except SetupError as error:
        say(f"dev.py: {error}")
        return 1
    except KeyboardInterrupt:
        say("dev.py: interrupted; the next run starts the set-up again")
        return INTERRUPTED
    if command == "demo":
        # By its path, so that the caller's folder is where -o counts from, and nothing in it is
        # taken for a module of ours.
        return run(str(ROOT / "image_cli.py"), "demo", "-o", as_seen_here(ROOT / "outputs"), *rest)
    if command == "test":
        return run_here("pytest", *rest)
    if command == "docs":
        return build_docs()
    if command == "run":
        return run_here(*rest)
    return check(with_tests=rest != ["--no-tests"])


def say(text: "str | None") -> None:
    print(text, file=sys.stderr, flush=True)


def refuse_old_python(version: "tuple[int, ...]") -> None:
    if version < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        found = ".".join(map(str, version))
        raise SetupError(
            f"Python {oldest} or newer is needed; this is {found}, at {sys.executable}.\n"
            "Windows and macOS: install it from python.org. Debian, Ubuntu: sudo apt install "
            "python3 python3-venv.\nThen run dev.py with the new one, for example: "
            "python3.12 dev.py test"
        )


def set_up(kind: str) -> None:
    """Make `.venv` ready for one set of requirements, unless it is."""
    usable = is_usable(PYTHON)
    if usable and is_stamped(kind):
        return
    files = " and ".join(REQUIREMENTS[kind])  # tells a second set-up, for more, from the first
    say(f"Setting up .venv with {files} (once, about a minute) ...")
    if not usable:
        make_venv()
    for stamp in VENV.glob("*.stamp"):
        stamp.unlink()  # an install that breaks off must not look finished
    install(REQUIREMENTS[kind])
    stamp_file(kind).write_text(requirements_digest(), encoding="utf-8")


def is_usable(python: Path) -> bool:
    """True when it starts, has pip, and is of the Python version that runs dev.py."""
    try:
        result = subprocess.run(
            [str(python), "-c", "import sys, pip; print(sys.version)"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except OSError:
        return False
    return result.stdout.strip() == sys.version.strip()


def stamp_file(kind: str) -> Path:
    return VENV / f"{kind}.stamp"


def is_stamped(kind: str) -> bool:
    """True when this set, or a larger one, was installed from the files as they are now."""
    digest = requirements_digest()
    kinds = list(REQUIREMENTS)
    stamps = [stamp_file(larger) for larger in kinds[kinds.index(kind) :]]
    return any(stamp.is_file() and stamp.read_text("utf-8") == digest for stamp in stamps)


def requirements_digest() -> str:
    files = sorted(ROOT.glob("requirements*.txt"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def make_venv() -> None:
    attempt(
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        f"this Python ({sys.executable}) could not make the virtual environment {VENV}.",
        "Debian, Ubuntu: sudo apt install python3-venv. Elsewhere: install a complete Python "
        "from python.org. Then run the same command again.",
    )


def install(files: "list[str]") -> None:
    options = [part for file in files for part in ("-r", str(ROOT / file))]
    attempt(
        [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"] + options,
        f"pip could not install {' and '.join(files)}.",
        "Check the network, a proxy's settings included, and run the same command again.",
    )


def attempt(command: "list[str]", failure: str, remedy: str) -> None:
    """Run a step of the set-up quietly; a failure shows the last lines that it printed."""
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if result.returncode:
        last_lines = ["    " + line for line in result.stdout.strip().splitlines()[-10:]]
        raise SetupError("\n".join([failure + " It said:", *last_lines, remedy]))


def as_seen_here(path: Path) -> str:
    """A path of the project, as short as it can be written in the caller's folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def run_here(module: str, *arguments: str) -> int:
    """Run a module of `.venv` in the project folder; the return value is its exit code."""
    return run("-m", module, *arguments, folder=str(ROOT))


def run(*arguments: str, folder: "str | None" = None) -> int:
    """Run `.venv`'s Python, in the caller's folder if None; the return value is its exit code."""
    process = subprocess.Popen([str(PYTHON), *arguments], cwd=folder)
    interrupted = False
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            interrupted = True  # the child got it too, and may have a job to cancel first
    if interrupted:
        return INTERRUPTED
    return code if code >= 0 else 128 - code


def check(with_tests: bool) -> int:
    """Run every check, whatever the others say; the return value is the first failure's code."""
    steps = [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)]
    if with_tests:
        steps.append(("pytest",))
    failure = 0
    for step in steps:
        say(f"== {' '.join(step)}")
        code = run_here(*step)
        if code == INTERRUPTED:
            return code
        failure = failure or code
    return failure or audit()


def audit() -> int:
    """Look the packages of `.venv` up among known vulnerabilities; 1 when one has some.

    Where the network has no data on them, that is said and is no failure.
    """
    say("== pip-audit")
    command = [str(PYTHON), "-m", "pip_audit", "--local", "--skip-editable", "--timeout", "5"]
    try:
        told = subprocess.run(
            command + ["--progress-spinner", "off", "--format", "json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=AUDIT_SECONDS,
        )
        packages = json.loads(told.stdout.decode("utf-8", "replace"))["dependencies"]
    except (ValueError, KeyError, TypeError, subprocess.TimeoutExpired):
        say("skipped: the list of known vulnerabilities cannot be reached")
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    return report_audit(packages)


def report_audit(packages: "list[Any]") -> int:
    unknown = [package["name"] for package in packages if "vulns" not in package]
    if len(unknown) == len(packages):
        say("skipped: the list that was reached knows none of the packages")
        return 0
    if unknown:
        say(f"not looked up: {', '.join(unknown)}")
    failure = 0
    for package in packages:
        for fault in package.get("vulns", []):
            fixed = ", ".join(fault.get("fix_versions", [])) or "no version yet"
            name = f"{package['name']} {package['version']}"
            say(f"{name} has a known vulnerability: {fault['id']}, fixed in {fixed}")
            failure = 1
    return failure


def build_docs() -> int:
    """Build the site anew, every warning an error; the path of its first page goes to stdout."""
    site = Path("docs") / "_build" / "html"
    code = run_here("sphinx", "-E", "-q", "-W", "--keep-going", "-n", "docs", str(site))
    if code == 0:
        print(as_seen_here(ROOT / site / "index.html"))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
