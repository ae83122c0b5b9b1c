"""The command line: `python -m image_cli generate "a red fox" -o outputs`.

Owns arguments, progress bars, tables, where files go and exit codes: 0 done, 1 failed, 2 wrong
usage, 130 ended by Ctrl-C. Paths of pictures go to stdout, everything else to stderr. Knows no
protocol: it calls ImageGenerator as any application does.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import batch_cli
import workflow_cli
from cli_files import own_workflow, writable_folder
from cli_shared import FAILED, INTERRUPTED, OK, USAGE, as_text, parse_size, plain, say
from comfyui.embedded.options import port_number
from config import Config
from image_generator import ImageGenerator
from image_provider import (
    DEFAULT_SIZE,
    FEATURES,
    ImageGenerationError,
    ImageGenerationResult,
    ImageStyle,
    ProgressUpdate,
)
from recipes import make_again, recipe_of

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger("image_cli")  # also when run as __main__

_OUR_LOGGERS = (
    "comfyui",
    "comfyui.embedded",
    "comfyui.servers",
    "comfyui_provider",
    "hosted_providers",
    "batch_resume",
    "generator_pickling",
    "image_batches",
    "image_cache",
    "image_cli",
    "image_generator",
    "image_io",
    "image_provider_router",
)
_TITLE_WIDTH = 28

_EXAMPLES = """examples:
  image-cli generate "a red fox in the snow" --style cinematic --size 1344x768 -o pictures
  image-cli generate "a winter coat" --image fox.png --mask mask.png --strength 0.8
  image-cli generate --again pictures/comfyui-00001-7.png -o again
  image-cli batch foxes.csv -o foxes --jobs 4
  image-cli providers
  image-cli workflow check t2i_flux.json --server
  image-cli serve --port 8188
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # consoles that lack a character
    args = _parser().parse_args(argv)
    console = _console()
    command: Callable[[argparse.Namespace, Console], int] = args.command
    with _logging_to(console, args.debug):
        try:
            code = command(args, console)
            sys.stdout.flush()
            return code
        except ImageGenerationError as error:
            say(console, str(error), "error")
            return FAILED
        except (TypeError, ValueError) as error:
            logger.debug("wrong usage", exc_info=True)
            say(console, str(error), "error")
            return USAGE
        except BrokenPipeError:  # who reads has read enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except KeyboardInterrupt:
            say(console, "interrupted; what ran on a ComfyUI server was cancelled", "error")
            return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_generate(commands, common)
    _add_demo(commands, common)
    providers = commands.add_parser("providers", parents=[common], help="list the providers")
    providers.set_defaults(command=_providers)
    serve = commands.add_parser(
        "serve", parents=[common], help="start the embedded server (procedural pictures, no model)"
    )
    serve.add_argument("--port", type=port_number, default=8188, help="port on 127.0.0.1 (8188)")
    serve.set_defaults(command=_serve)
    batch_cli.add_command(commands, common)
    workflow_cli.add_commands(commands, common)
    return parser


def _add_generate(commands: Any, common: argparse.ArgumentParser) -> None:
    generate = commands.add_parser("generate", parents=[common], help="make pictures")
    _add_request(generate, prompt="?")
    generate.add_argument("--negative", metavar="TEXT", help="what the picture must not show")
    generate.add_argument("--style", choices=[style.value for style in ImageStyle])
    generate.add_argument("--image", metavar="FILE", help="picture to start from (path or URL)")
    generate.add_argument(
        "--mask", metavar="FILE", help="white may change, black stays; needs --image"
    )
    generate.add_argument("--strength", type=float, help="0.0-1.0, how much may change")
    generate.add_argument("--guidance", type=float, help="how closely the prompt is followed")
    generate.add_argument("--provider", metavar="NAME", help="this provider and no other")
    generate.add_argument("--model", metavar="NAME", help="model file or id")
    generate.add_argument(
        "--workflow", metavar="FILE", help="a file of yours, or a name in the workflow folder"
    )
    generate.add_argument(
        "--again", metavar="FILE", help="make this picture once more, and nothing else"
    )
    generate.add_argument("--no-cache", action="store_true", help="make it even if it is cached")
    generate.set_defaults(command=_generate, refuse=generate.error)


def _add_demo(commands: Any, common: argparse.ArgumentParser) -> None:
    demo = commands.add_parser(
        "demo",
        parents=[common],
        help="make one picture with the ComfyUI that answers, or else the embedded server",
    )
    _add_request(demo)
    demo.set_defaults(command=_demo)


def _add_request(parser: argparse.ArgumentParser, prompt: str | None = None) -> None:
    parser.add_argument("prompt", metavar="PROMPT", nargs=prompt, help="what the picture shows")
    parser.add_argument(
        "--size", type=parse_size, metavar="WxH", help="pixels, for example 1024x768"
    )
    parser.add_argument("--seed", type=int, help="the same seed gives the same picture")
    parser.add_argument("--steps", type=int, help="sampling steps")
    parser.add_argument("-n", dest="number", type=int, default=1, metavar="N", help="pictures")
    parser.add_argument(
        "-o", dest="output", default="outputs", metavar="DIR", help="folder for them (outputs)"
    )


def _generate(args: argparse.Namespace, console: Console) -> int:
    if args.again is not None:
        return _again(args, console)
    if args.prompt is None:
        args.refuse("the following arguments are required: PROMPT (or --again FILE)")
    if args.mask is not None and args.image is None:
        args.refuse("argument --mask: needs --image, the picture that it is a mask of")
    with ImageGenerator() as generator:
        folder = writable_folder(args.output)
        with _progress(console) as on_progress:
            result = generator.generate(
                args.prompt,
                **_request_fields(args),
                style=args.style,
                negative_prompt=args.negative,
                source_image_url=args.image,
                mask_image_url=args.mask,
                strength=args.strength,
                guidance_scale=args.guidance,
                provider=args.provider,
                model=args.model,
                workflow=args.workflow
                and own_workflow(args.workflow, generator.router.providers["comfyui"]),
                use_cache=not args.no_cache,
                on_progress=on_progress,
            )
    return _finish(result, folder, console)


def _again(args: argparse.Namespace, console: Console) -> int:
    """A picture once more, by what its file or the folder that it lies in tells of it."""
    if args.prompt is not None:
        args.refuse("argument --again: the file says what the picture shows; give no PROMPT")
    recipe = recipe_of(args.again)
    with ImageGenerator() as generator:
        folder = writable_folder(args.output)
        with _progress(console) as on_progress:
            result = make_again(recipe, generator, on_progress)
    return _finish(result, folder, console)


def _demo(args: argparse.Namespace, console: Console) -> int:
    with _demo_generator(console) as generator:
        folder = writable_folder(args.output)
        with _progress(console) as on_progress:
            result = generator.generate(
                args.prompt,
                **_request_fields(args),
                provider="comfyui",
                use_cache=False,
                on_progress=on_progress,
            )
    return _finish(result, folder, console)


def _demo_generator(console: Console) -> ImageGenerator:
    """One for the ComfyUI that the settings name if it answers, else for an embedded server."""
    from comfyui.address import parse_addresses

    address = Config().get_comfyui_server_address()
    if address.strip().lower() != "embedded":
        generator = ImageGenerator()
        reason = generator.router.providers["comfyui"].unavailable_reason()
        if reason is None:
            shown = ", ".join(str(server) for server in parse_addresses(address))
            say(console, f"Using the ComfyUI at {shown}.")
            return generator
        generator.close()
        say(console, f"No ComfyUI to use: {reason}.")
    logging.getLogger("comfyui.servers").setLevel(logging.ERROR)  # its warning says this again
    say(console, "Starting the embedded server: procedural pictures, no model runs.")
    return ImageGenerator(Config({**os.environ, "COMFYUI_SERVER_ADDRESS": "embedded"}))


def _request_fields(args: argparse.Namespace) -> dict[str, Any]:
    width, height = args.size or (DEFAULT_SIZE, DEFAULT_SIZE)
    return {
        "width": width,
        "height": height,
        "seed": args.seed,
        "steps": args.steps,
        "num_images": args.number,
    }


def _finish(result: ImageGenerationResult, folder: Path, console: Console) -> int:
    """Saves what there is, also of a generation that failed half-way, and tells of it."""
    try:
        paths = result.save(folder)
    except OSError as error:
        say(console, f"{folder} cannot be written to: {error.strerror or error}", "error")
        return FAILED
    if result.images and (result.metadata or {}).get("server") == "embedded":
        say(console, "Made by the embedded server: a procedural picture, no model ran.")
    for path in paths:
        print(path)
    if not result.success:
        say(console, result.error or "the generation failed", "error")
        return FAILED
    return OK


def _providers(args: argparse.Namespace, console: Console) -> int:
    from rich.console import Console as RichConsole
    from rich.table import Table

    table = Table("provider", "usable", "model or workflow", "features", box=None, pad_edge=False)
    reasons = Table.grid("provider", "reason", padding=(0, 2))
    for column in (*table.columns[:2], reasons.columns[0]):
        column.no_wrap = True
    with ImageGenerator() as generator:
        for name, told in generator.get_available_providers().items():
            features = [word for word, has in told["features"].items() if has]
            can = "all" if len(features) == len(FEATURES) else ", ".join(features)
            usable = "yes" if told["available"] else "no"
            table.add_row(as_text(name), usable, as_text(told["model"] or ""), as_text(can))
            if told["reason"] is not None:
                reasons.add_row(as_text(name), as_text(told["reason"]))
    out = RichConsole()
    if not out.is_terminal:
        out.width = 1000  # who reads it by program wants a line a provider
    out.print(table)
    if reasons.row_count:
        out.print("\nWhy not:", reasons, sep="\n")
    return OK


def _serve(args: argparse.Namespace, console: Console) -> int:
    from comfyui.embedded import serve

    logging.getLogger("comfyui.embedded").setLevel(logging.INFO)  # says where it listens
    return serve(port=args.port)


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


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


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[ProgressUpdate], None]]:
    """A bar that follows the sampling steps; nothing where there is no terminal."""
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[left]}", style="dim"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=1.0, left="")

        def show(update: ProgressUpdate) -> None:
            bar.update(
                task, completed=update.fraction, description=_doing(update), left=_left(update)
            )

        yield show


def _doing(update: ProgressUpdate) -> str:
    """One line of a steady width, so that the bar does not jump."""
    text = update.stage
    if update.stage == "queued" and update.queue_position is not None:
        text = f"queued, position {update.queue_position}"
    elif update.stage == "running" and update.node_title is not None:
        text = " ".join(plain(update.node_title).split())
        step = f" {update.step}/{update.total_steps}" if update.total_steps else ""
        text = f"{text[: _TITLE_WIDTH - len(step)]}{step}"
    return text.ljust(_TITLE_WIDTH)


def _left(update: ProgressUpdate) -> str:
    if update.eta_seconds is None:
        return ""
    minutes, seconds = divmod(round(update.eta_seconds), 60)
    return f"{minutes}:{seconds:02} left"


if __name__ == "__main__":
    sys.exit(main())
