"""The commands `generate` and `demo`: make pictures and put them into a folder.

Owns the options of a request, where the files go, and what is said of pictures. Knows no protocol:
it calls ImageGenerator as any application does.
"""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from image_commands.again import make_again, recipe_of
from image_commands.completers import provider_names, style_names, workflow_names
from image_commands.files import own_workflow, writable_folder
from image_commands.progress import show_progress
from image_commands.shared import (
    FAILED,
    OK,
    add_command,
    add_json,
    completes,
    how_many,
    number,
    parse_size,
    print_json,
    say,
    whole_number,
)
from image_config import Config
from image_generator import ImageGenerator
from image_provider import (
    DEFAULT_SIZE,
    ConfigurationError,
    ImageGenerationResult,
    ImageStyle,
)

if TYPE_CHECKING:
    from rich.console import Console

_OF_A_REQUEST = (
    *("size", "seed", "steps", "number", "negative", "style", "image", "mask"),
    *("strength", "guidance", "provider", "model", "workflow"),
)
"""Options that say what picture is made, by the names of their values."""


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds `generate` and `demo`; `common` has the options that every command takes."""
    _add_generate(commands, common)
    _add_demo(commands, common)


def _add_generate(commands: Any, common: argparse.ArgumentParser) -> None:
    generate = add_command(
        commands,
        common,
        "generate",
        "make pictures",
        '"a red fox" --style cinematic --size 1344x768 --seed 7 -o pictures',
        '"a winter coat" --image fox.png --mask mask.png --strength 0.8',
        "--again pictures/comfyui-00001-7.png -o again",
    )
    _add_request(generate, prompt="?")
    generate.add_argument("--negative", metavar="TEXT", help="what the picture must not show")
    styles = ", ".join(style.value for style in ImageStyle)
    style = generate.add_argument(
        "--style", metavar="NAME", help=f"one of your own (IMAGE_STYLE_TEMPLATES), or {styles}"
    )
    generate.add_argument("--image", metavar="FILE", help="picture to start from (path or URL)")
    generate.add_argument(
        "--mask", metavar="FILE", help="white may change, black stays; needs --image"
    )
    generate.add_argument("--strength", type=number, help="0.0-1.0, how much may change")
    generate.add_argument("--guidance", type=number, help="how closely the prompt is followed")
    provider = generate.add_argument(
        "--provider", metavar="NAME", help="this provider and no other"
    )
    generate.add_argument("--model", metavar="NAME", help="model file or id")
    workflow = generate.add_argument(
        "--workflow", metavar="FILE", help="a file of yours, or a name in the workflow folder"
    )
    completes(style, style_names)
    completes(provider, provider_names)
    completes(workflow, workflow_names)
    generate.add_argument(
        "--again", metavar="FILE", help="make this picture once more, and nothing else"
    )
    generate.add_argument("--no-cache", action="store_true", help="make it even if it is cached")
    generate.set_defaults(command=_generate, refuse=generate.error, default_of=generate.get_default)


def _add_demo(commands: Any, common: argparse.ArgumentParser) -> None:
    demo = add_command(
        commands,
        common,
        "demo",
        "make one picture with the ComfyUI that answers, or else the embedded server",
        '"a red fox in the snow"',
    )
    _add_request(demo)
    demo.set_defaults(command=_demo)


def _add_request(parser: argparse.ArgumentParser, prompt: str | None = None) -> None:
    parser.add_argument("prompt", metavar="PROMPT", nargs=prompt, help="what the picture shows")
    parser.add_argument(
        "--size", type=parse_size, metavar="WxH", help="pixels, for example 1024x768"
    )
    parser.add_argument("--seed", type=whole_number, help="the same seed gives the same picture")
    parser.add_argument("--steps", type=whole_number, help="sampling steps")
    parser.add_argument(
        "-n", dest="number", type=how_many("pictures"), default=1, metavar="N", help="pictures"
    )
    parser.add_argument(
        "-o", dest="output", default="outputs", metavar="DIR", help="folder for them (outputs)"
    )
    parser.add_argument(
        "--preview",
        action="store_true",
        help="show the picture while it is made, in terminals that show pictures",
    )
    add_json(parser)


def _generate(args: argparse.Namespace, console: Console) -> int:
    if args.again is not None:
        return _again(args, console)
    if args.prompt is None:
        args.refuse("the following arguments are required: PROMPT (or --again FILE)")
    if args.mask is not None and args.image is None:
        args.refuse("argument --mask: needs --image, the picture that it is a mask of")
    with ImageGenerator(_config(args)) as generator:
        request = generator.build_request(
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
        )
        folder = writable_folder(args.output)
        with show_progress(console, preview=args.preview) as on_progress:
            told = replace(request, on_progress=on_progress)
            result = generator.generate_request(told, use_cache=not args.no_cache)
    return _finish(result, folder, args.json, console)


def _again(args: argparse.Namespace, console: Console) -> int:
    """A picture once more, by what its file or the folder that it lies in tells of it."""
    if args.prompt is not None:
        args.refuse("argument --again: the file says what the picture shows; give no PROMPT")
    changed = [name for name in _OF_A_REQUEST if getattr(args, name) != args.default_of(name)]
    if changed:
        options = ", ".join("-n" if name == "number" else f"--{name}" for name in changed)
        args.refuse(f"argument --again: the file says how it was made; leave out {options}")
    recipe = recipe_of(args.again)
    with ImageGenerator(_config(args)) as generator:
        folder = writable_folder(args.output)
        with show_progress(console, preview=args.preview) as on_progress:
            result = make_again(recipe, generator, on_progress)
    return _finish(result, folder, args.json, console)


def _demo(args: argparse.Namespace, console: Console) -> int:
    with _demo_generator(args, console) as generator:
        folder = writable_folder(args.output)
        with show_progress(console, preview=args.preview) as on_progress:
            result = generator.generate(
                args.prompt,
                **_request_fields(args),
                provider="comfyui",
                use_cache=False,
                on_progress=on_progress,
            )
    return _finish(result, folder, args.json, console)


def _config(args: argparse.Namespace, **changed: str) -> Config:
    """The settings, some of them changed; a preview that is asked for is asked of the server."""
    if args.preview and Config().get_comfyui_preview_method() is None:
        changed["COMFYUI_PREVIEW_METHOD"] = "auto"
    return Config({**os.environ, **changed})


def _demo_generator(args: argparse.Namespace, console: Console) -> ImageGenerator:
    """One for the ComfyUI that the settings name if it answers, else for an embedded server."""
    from comfyui.address import parse_addresses

    config = _config(args)
    address = config.get_comfyui_server_address()
    if address.strip().lower() != "embedded":
        generator = ImageGenerator(config)
        reason = generator.router.providers["comfyui"].unavailable_reason()
        if reason is None:
            shown = ", ".join(str(server) for server in parse_addresses(address))
            say(console, f"Using the ComfyUI at {shown}.")
            return generator
        generator.close()
        say(console, f"No ComfyUI to use: {reason}.")
    logging.getLogger("comfyui.servers").setLevel(logging.ERROR)  # its warning says this again
    say(console, "Starting the embedded server: procedural pictures, no model runs.")
    return ImageGenerator(_config(args, COMFYUI_SERVER_ADDRESS="embedded"))


def _request_fields(args: argparse.Namespace) -> dict[str, Any]:
    width, height = args.size or (DEFAULT_SIZE, DEFAULT_SIZE)
    return {
        "width": width,
        "height": height,
        "seed": args.seed,
        "steps": args.steps,
        "num_images": args.number,
    }


def _finish(result: ImageGenerationResult, folder: Path, as_json: bool, console: Console) -> int:
    """Saves what there is, also of a generation that failed half-way, and tells of it."""
    try:
        paths = result.save(folder)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written to: {error.strerror or error}; choose another with -o"
        ) from error
    if result.images and (result.metadata or {}).get("server") == "embedded":
        say(console, "Made by the embedded server: a procedural picture, no model ran.")
    if as_json:
        print_json(_as_plain(result, paths))
    else:
        for path in paths:
            print(path)
    if not result.success:
        say(console, result.error or "the generation failed", "error")
        return FAILED
    return OK


def _as_plain(result: ImageGenerationResult, paths: list[Path]) -> dict[str, Any]:
    """The result as JSON has it: each picture by the path of its file, None where it has none."""
    saved = iter(paths)
    images = []
    for image in result.images:
        told = {key: value for key, value in image.items() if key != "bytes"}
        path = str(next(saved)) if image.get("bytes") is not None else None
        images.append({"path": path, **told})
    return {
        "success": result.success,
        "provider": result.provider,
        "model": result.model,
        "images": images,
        "metadata": result.metadata or {},
        "error": result.error,
        "error_type": result.error_type,
    }
