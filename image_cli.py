"""The command line: `python -m image_cli generate "a red fox" -o outputs`.

Owns the list of commands, what is logged where, and exit codes: 0 done, 1 failed, 2 wrong usage,
130 ended by Ctrl-C. What was asked for goes to stdout, everything else to stderr. What a command
does is in the module of its name.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from comfyui.embedded.options import port_number
from image_commands import (
    batch,
    cache,
    completion,
    doctor,
    generate,
    models,
    providers,
    workflow,
)
from image_commands.shared import (
    FAILED,
    INTERRUPTED,
    USAGE,
    Parser,
    WrongUsage,
    add_command,
    print_json,
    say,
)
from image_commands.version import ShowVersion
from image_provider import ImageGenerationError

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger("image_cli")  # also when run as __main__

_OUR_LOGGERS = (
    "comfyui",
    "comfyui.embedded",
    "comfyui.servers",
    "comfyui_provider",
    "hosted_providers",
    "image_batches",
    "image_cache",
    "image_cli",
    "image_generator",
    "image_io",
    "image_provider_router",
    "image_routing",
)

_EXAMPLES = """examples:
  image-cli generate "a red fox" --style cinematic --size 1344x768 --seed 7 -o pictures
  image-cli generate "a winter coat" --image fox.png --mask mask.png --strength 0.8
  image-cli generate --again pictures/comfyui-00001-7.png -o again
  image-cli batch foxes.csv -o foxes --jobs 4
  image-cli doctor
  image-cli models loras
  image-cli workflow check t2i_flux.json --server
  image-cli serve --port 8188
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # consoles that lack a character
    words = list(sys.argv[1:] if argv is None else argv)
    console = _console()
    tell = partial(_tell, console, "--json" in words)
    parser = build_parser()
    completion.complete(parser)
    try:
        args = parser.parse_args(words)
        command: Callable[[argparse.Namespace, Console], int] = args.command
        with _logging_to(console, args.debug):
            code = command(args, console)
        sys.stdout.flush()
        return code
    except ImageGenerationError as error:
        return tell(str(error), error.error_type, FAILED)
    except (WrongUsage, TypeError, ValueError) as error:
        logger.debug("wrong usage", exc_info=True)
        return tell(str(error), "wrong_usage", USAGE)
    except BrokenPipeError:  # who reads has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        message = "interrupted; what ran on a ComfyUI server was cancelled"
        return tell(message, "cancelled", INTERRUPTED)


def _tell(console: Console, as_json: bool, message: str, error_type: str, code: int) -> int:
    """Tells of the failure that ends a command: people on stderr, scripts on stdout."""
    say(console, message, "error")
    if as_json:
        print_json({"error": message, "error_type": error_type})
        sys.stdout.flush()
    return code


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command; each parser's help ends with examples that it takes."""
    parser = Parser(
        prog="image-cli",
        description="Make pictures with ComfyUI and hosted models.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "-v",
        "--debug",
        action="store_true",
        help="tell of workflow changes, found nodes and every call as they happen",
    )
    parser.add_argument("--version", action=ShowVersion, help="print the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    generate.add_commands(commands, common)
    batch.add_commands(commands, common)
    providers.add_commands(commands, common)
    models.add_commands(commands, common)
    doctor.add_commands(commands, common)
    _add_serve(commands, common)
    workflow.add_commands(commands, common)
    cache.add_commands(commands, common)
    completion.add_commands(commands, common)
    return parser


def _add_serve(commands: Any, common: argparse.ArgumentParser) -> None:
    told = "start the embedded server (procedural pictures, no model)"
    serve = add_command(commands, common, "serve", told, "--port 8188")
    serve.add_argument("--port", type=port_number, default=8188, help="port on 127.0.0.1 (8188)")
    serve.set_defaults(command=_serve)


def _serve(args: argparse.Namespace, console: Console) -> int:
    from comfyui.embedded import serve

    logging.getLogger("comfyui.embedded").setLevel(logging.INFO)  # says where it listens
    return serve(port=args.port)


def _console() -> Console:
    try:
        from rich.console import Console
    except ModuleNotFoundError as error:
        sys.exit(f"error: {_another_python(error.name)}")
    return Console(stderr=True)


def _another_python(lacking: str | None) -> str:
    return (
        f"{lacking} is not installed for this Python ({sys.executable}). In a copy of the project "
        "use the Python in .venv (`python3 dev.py demo` makes it); elsewhere install the project "
        "with `pip install .` in its folder"
    )


@contextmanager
def _logging_to(console: Console, debug: bool) -> Iterator[None]:
    """Log records as lines of their own, above a progress bar."""
    handler = _ConsoleHandler(console)
    root = logging.getLogger()
    root.addHandler(handler)
    levels = {name: logging.getLogger(name).level for name in _OUR_LOGGERS}
    for name in _OUR_LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Writes `warning: …`, but for what is said at the level INFO."""
        kind = None if record.levelno == logging.INFO else record.levelname.lower()
        say(self._console, self.format(record), kind)


if __name__ == "__main__":
    sys.exit(main())
