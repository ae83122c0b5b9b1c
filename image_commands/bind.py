"""The command `workflow bind`: the graph that a request would send, written and not sent.

Owns the options for the parameters, and what is told of where they went.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from comfyui.binding import bind
from comfyui.replacements import left_to_server
from comfyui.survey import merged
from comfyui.workflow import Workflow
from image_commands.completers import workflow_names
from image_commands.files import FILE_HELP, load_workflow, write_whole
from image_commands.servers import (
    add_server_options,
    known_classes,
    known_replacements,
    problems_of,
    without_missing,
)
from image_commands.shared import (
    OK,
    add_json,
    completes,
    number,
    one_line,
    parse_assignment,
    parse_size,
    place_of,
    print_json,
    print_table,
    say,
    short,
    whole_number,
)
from image_provider import DEFAULT_SIZE, ImageGenerationRequest

if TYPE_CHECKING:
    from rich.console import Console


def add_bind(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    completes(parser.add_argument("file", metavar="FILE", help=FILE_HELP), workflow_names)
    add_server_options(parser)
    _add_request(parser)
    parser.add_argument("-o", dest="output", required=True, metavar="OUT", help="file to write")
    add_json(parser)
    parser.set_defaults(command=_bind)


def _add_request(parser: argparse.ArgumentParser) -> None:
    request = parser.add_argument_group("parameters", "what is not given stays as it is")
    add = request.add_argument
    add("--prompt", metavar="TEXT", help="what the picture shows")
    add("--negative", metavar="TEXT", help="what the picture must not show")
    add("--seed", type=whole_number, help="the same seed gives the same picture")
    add("--steps", type=whole_number, help="sampling steps")
    add("--guidance", type=number, help="how closely the prompt is followed")
    add("--strength", type=number, help="0.0-1.0, how much may change")
    add("--size", type=parse_size, metavar="WxH", help="pixels, for example 1024x768")
    add("--model", metavar="NAME", help="model file, as the server calls it")
    add("--image", metavar="NAME", help="picture to start from, by its name on the server")
    add("--mask", metavar="NAME", help="mask, by its name on the server")
    add(
        "--set",
        dest="extra",
        type=parse_assignment,
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        help="any input, by its node's id or title; the value is JSON, or else a text; repeatable",
    )


def _bind(args: argparse.Namespace, console: Console) -> int:
    request = _request(args)
    info = known_classes(args)
    workflow = load_workflow(args.file, info)
    left = ("prompt",) if args.prompt is None else ()
    bound = bind(workflow, _as_sent(request, workflow, console), info, left)
    replaced = known_replacements(args, bound.graph, info)
    graph, notes = without_missing(bound.graph, workflow, info, replaced)
    write_whole(args.output, json.dumps(graph, indent=2, ensure_ascii=False) + "\n")
    told = {
        "file": args.file,
        "output": args.output,
        "bindings": [asdict(entry) for entry in merged(bound.bindings)],
        "ignored": [asdict(entry) for entry in bound.ignored],
        "notes": [*left_to_server(graph, replaced).values()],
        "warnings": [
            *notes,
            *(problem.message for problem in problems_of(Workflow(graph), info, replaced)),
        ],
    }
    if args.json:
        print_json(told)
    else:
        _print_bound(told, console)
    return OK


def _print_bound(told: dict[str, Any], console: Console) -> None:
    print_table(
        ("parameter", "input", "value", "why"),
        [
            (entry["parameter"], place_of(entry), _value(entry["value"]), entry["reason"])
            for entry in told["bindings"]
        ],
        stderr=True,
    )
    for entry in told["ignored"]:
        say(console, one_line(f"{entry['parameter']} is ignored: {entry['reason']}"), "warning")
    for note in told["notes"]:
        say(console, one_line(note))
    for warning in told["warnings"]:
        say(console, one_line(warning), "warning")
    print(told["output"])


def _request(args: argparse.Namespace) -> ImageGenerationRequest:
    width, height = args.size or (DEFAULT_SIZE, DEFAULT_SIZE)
    request = ImageGenerationRequest(
        prompt=args.prompt or "",
        negative_prompt=args.negative,
        width=width,
        height=height,
        seed=args.seed,
        steps=args.steps,
        guidance_scale=args.guidance,
        source_image_url=args.image,
        mask_image_url=args.mask,
        strength=args.strength,
        model=args.model,
        extra=dict(args.extra),
    )
    if args.prompt is None and args.size is None and request == ImageGenerationRequest(""):
        raise ValueError("nothing to fill in was given; give --prompt or another of the parameters")
    return request


def _as_sent(
    request: ImageGenerationRequest, workflow: Workflow, console: Console
) -> ImageGenerationRequest:
    """The request with its size made to fit the model, as a generation makes it."""
    from comfyui.source_upload import prepare

    unpictured = replace(request, source_image_url=None, mask_image_url=None)
    prepared = prepare(unpictured, workflow, workflow.source or "given", None)
    if "size" in prepared.notes:
        sides = (prepared.notes["size"][key] for key in ("asked", "used"))
        asked, used = ("x".join(map(str, side)) for side in sides)
        say(console, f"The size {asked} becomes {used}, which this model takes.")
    return replace(request, width=prepared.request.width, height=prepared.request.height)


def _value(value: object) -> str:
    return short(value if isinstance(value, str) else json.dumps(value))
