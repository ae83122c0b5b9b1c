"""The documentation is true: its programs and commands run, its files are read, its links lead on.

What its tables say of the code is compared with what the code does. The messages that it quotes are
in tests/test_docs_troubleshooting.py.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import fields
from pathlib import Path
from types import GenericAlias

import pytest

import config
import hosted_providers
import image_provider
from comfyui import Workflow
from comfyui.claims import PARAMETERS, read_overrides
from docs import tables
from image_generator import ImageGenerator
from image_provider import ERROR_CLASSES, ImageGenerationError, ImageGenerationRequest
from image_provider_router import ENTRY_POINT_GROUP, ImageProviderRouter
from image_routing.resting import FIRST_REST, LONGEST_REST
from image_routing.rules import parse_rules
from tests.document_support import (
    ROOT,
    Block,
    blocks,
    cli_lines,
    run_cli,
    run_python,
    tomllib,
    write_files,
)
from tests.fakes.provider import FakeProvider

DOCS = ROOT / "docs"
PAGES = sorted(
    [path for path in DOCS.rglob("*.md") if "_build" not in path.parts]
    + [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")]
)
# new_provider.md and README.md have tests of their own.
BLOCKS = [block for page in PAGES if page.name != "README.md" for block in blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
RUN = [block for block in PYTHON if block.why_not_run is None]
LINES = cli_lines(BLOCKS)
REASONS = {
    "the address is that of the copy you use",
    "it installs the project",
    "it is a command of ComfyUI",
    "it runs until Ctrl-C",
    "it needs a key of OpenAI",
    "they take up to a minute each",
}
"""Why blocks are not run: these alone count, and each of them is needed."""
BY_CI = ("python3 dev.py test", "python3 dev.py check", "python3 dev.py docs")
DEMO = 'python3 dev.py demo "a red fox in the snow"'
LANGUAGES = {"python", "sh", "json", "toml", "text", "ini", "bat", "nginx"}
DIRECTIVES = {"{toctree}", "{include}", "{eval-rst}", "{raw}"}


@pytest.fixture
def embedded(monkeypatch, comfyui_server):
    """An embedded server that the settings name."""
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", comfyui_server.address)
    return comfyui_server


# Blocks


@pytest.mark.parametrize("block", RUN, ids=str)
def test_python_block_runs(block: Block, capsys, embedded, monkeypatch, tmp_path):
    fixtures = {"comfyui_server": embedded, "monkeypatch": monkeypatch, "tmp_path": tmp_path}
    write_files(ROOT / block.page)
    names = run_python(block, fixtures)

    printed = capsys.readouterr().out
    assert printed.strip() or any(name.startswith("test_") for name in names)
    assert "False" not in printed


@pytest.mark.parametrize(("block", "line"), LINES, ids=lambda part: str(part)[-60:])
def test_command_line_runs(block: Block, line: str, capsys, embedded):
    write_files(ROOT / block.page)
    assert run_cli(line, capsys).strip()


def test_every_other_command_is_run_by_ci_or_by_the_tests_of_dev():
    others = {
        line
        for block in BLOCKS
        if block.language == "sh" and block.why_not_run is None
        for line in block.text.splitlines()
        if not line.startswith("python -m image_cli ")
    }
    assert others == {*BY_CI, DEMO}
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    assert all(command in ci for command in BY_CI)


def test_blocks_that_are_not_run_say_why_and_are_few():
    reasons = [block.why_not_run for block in BLOCKS if block.why_not_run is not None]
    assert set(reasons) == REASONS
    assert len(reasons) <= 10


def test_every_block_is_of_a_kind_that_a_test_knows():
    assert {block.language for block in BLOCKS} <= LANGUAGES
    for page in PAGES:
        found = re.findall(r"^ *`{3,}(\{[\w-]+\})", page.read_text("utf-8"), re.MULTILINE)
        assert set(found) <= DIRECTIVES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_has_a_language(page: Path):
    fences = re.findall(r"^ *(`{3,})(.*)$", page.read_text("utf-8"), re.MULTILINE)
    opened = ""
    for fence, info in fences:
        if not opened:
            assert info, "a block without a language, which nothing colours or runs"
            opened = fence
        elif fence == opened and not info:
            opened = ""


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "json"], ids=str)
def test_json_is_what_its_reader_takes(block: Block):
    data = json.loads(block.text)
    if block.info == "bindings":
        assert read_overrides(data, block.page)
    else:
        assert block.info == "routing"
        assert parse_rules(data, block.page)


def test_env_lines_are_settings(tmp_path):
    for block in BLOCKS:
        if block.language == "ini":
            file = tmp_path / "copy.env"
            file.write_text(block.text, "utf-8")
            read = config.Config({}, file)
            for line in block.text.split():
                name, _, value = line.partition("=")
                assert read.get(name) == value


# Links


def _slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    text = re.sub(r"^( *)(`{3,}).*?^\1\2$", "", page.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.M) if anchor else []
        assert not anchor or anchor in map(_slug, headings), target


def test_every_page_is_in_the_table_of_contents():
    listed = re.findall(r"^(?:guide|reference|developers)/[\w-]+$", _page("index"), re.M)
    below = {page.relative_to(DOCS).as_posix().removesuffix(".md") for page in DOCS.glob("*/*.md")}
    assert set(listed) == {name for name in below if not name.startswith("_build/")}


def _page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text("utf-8")


# What pages say


def test_files_that_are_named_are_there():
    for page in PAGES:
        for name in re.findall(
            r"`((?:comfyui|image_io|tests|workflows)/[\w./]+)`", page.read_text("utf-8")
        ):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_benchmarks_that_are_named_are_there():
    page = re.sub(r"<!--.*?-->", "", _page("benchmarks"))
    named = set(re.findall(r"benchmarks\.(\w+)", page))
    assert named and all((ROOT / "benchmarks" / f"{name}.py").exists() for name in named)


def test_routing_file_that_is_shown_does_what_is_said_of_it(embedded):
    (block,) = blocks(DOCS / "guide" / "routing.md", "json")
    rules = parse_rules(json.loads(block.text), block.page)
    assert rules.default_provider == "comfyui"
    assert rules.features["inpainting"].required
    Path("image_routing_config.json").write_text(block.text, "utf-8")
    with ImageGenerator() as generator:
        of_style = generator.generate("a red fox", style="cinematic", width=64, height=64)
        draft = generator.generate("a red fox", provider="draft", width=64, height=64)
    assert of_style.metadata["workflow"] == "t2i_flux.json"
    assert draft.metadata["workflow"] == "t2i_checkpoint.json"


def test_what_is_said_of_rests_is_so():
    assert "else for 5\nseconds, doubled with each further failure up to a minute" in _page(
        "guide/routing"
    )
    assert (FIRST_REST, LONGEST_REST) == (5, 60)


def test_package_that_declares_a_provider_as_shown_adds_it(tmp_path, monkeypatch):
    page = DOCS / "developers" / "add-a-provider.md"
    (shown,) = blocks(page, "toml")
    ((group, entries),) = tomllib.loads(shown.text)["project"]["entry-points"].items()
    assert group == ENTRY_POINT_GROUP
    (code,) = blocks(page, "python")
    package = tmp_path / "site"
    info = package / "my_package-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "my_package.py").write_text(code.text.split("\nwith ")[0], "utf-8")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines), "utf-8")
    (info / "METADATA").write_text("Name: my-package\nVersion: 1.0\n", "utf-8")
    monkeypatch.syspath_prepend(str(package))
    with ImageGenerator() as generator:
        result = generator.generate("anything orange", provider="plain")
        told = generator.get_available_providers()["plain"]
    sys.modules.pop("my_package")
    assert (result.provider, told["available"]) == ("plain", True)
    assert result.to_pil().size == (1024, 1024)


# Tables


def test_every_table_is_on_a_page_and_every_mark_has_one():
    marks = re.findall(r"<!-- table: (\w+) -->", "".join(page.read_text("utf-8") for page in PAGES))
    assert sorted(marks) == sorted(tables.TABLES)
    assert "<!--" not in tables.fill("".join(f"<!-- table: {mark} -->\n" for mark in marks))


@pytest.mark.parametrize("word", ERROR_CLASSES)
def test_the_error_table_tells_the_fallback_as_the_router_does_it(word):
    (row,) = (line for line in tables.errors().splitlines() if line.startswith(f"| `{word}` |"))
    router = ImageProviderRouter(config.Config({}))
    first = FakeProvider("first", ERROR_CLASSES[word]("it failed"))
    router.providers.update({"comfyui": first, "openai": FakeProvider("second")})
    router.routing_rules["fallback_chain"] = ["comfyui", "openai"]
    falls_back = router.generate(ImageGenerationRequest("a fox")).provider == "second"
    assert row.endswith(f"| {'yes' if falls_back else 'no'} |")


def test_the_parameter_table_names_the_inputs_that_binding_writes():
    request = ImageGenerationRequest(
        "a fox", "fog", 640, 768, seed=7, steps=9, guidance_scale=4.0, strength=0.5, model="x"
    )
    request.source_image_url, request.mask_image_url = "fox.png", "fox.png"
    seen = set()
    for file in (ROOT / "workflows" / "comfyui").glob("*.json"):
        for bound in Workflow.from_file(file).bind(request).bindings:
            is_held = bound.input_name == "value"  # behind a primitive or a switch
            assert is_held or bound.input_name in tables.PLACES[bound.parameter].inputs, file.name
            seen.add(bound.parameter)
    assert seen == {*PARAMETERS} == {*tables.PLACES}


def test_the_settings_table_has_every_setting_once():
    names = re.findall(r"^\| `([A-Z0-9_]+)` \|", tables.settings(), re.MULTILINE)
    assert names == [setting.name for setting in config.SETTINGS]


def test_the_reference_has_every_public_class():
    reference = "".join(path.read_text("utf-8") for path in (DOCS / "reference").glob("*.md"))
    documented = set(re.findall(r"^\.\. autoclass:: [\w.]+\.(\w+)$", reference, re.MULTILINE))
    told = documented | set(re.findall(r"`(\w+Error)`", tables.errors()))
    public = {
        name
        for module in (image_provider, hosted_providers)
        for name in module.__all__
        if isinstance(getattr(module, name), type)
        and not isinstance(getattr(module, name), GenericAlias)  # a type, too, to Python 3.10
    }
    for name in ("ComfyUIProvider", "ImageGenerator", "ImageProviderRouter", "Config"):
        assert name in documented
    assert {"Workflow", "ObjectInfo", "BoundWorkflow", "WorkflowProblem"} <= documented
    parts = {"DefaultSize", "ProviderAttempt", "NotConnectedError", "SourceUnavailableError"}
    assert public - told == parts  # what callers never write themselves


def test_every_field_of_a_request_is_explained():
    cells = re.findall(r"^\| (`.+?) \|", _page("reference/contract"), re.MULTILINE)
    explained = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert explained == {field.name for field in fields(ImageGenerationRequest)} - {"from_template"}


def test_errors_carry_what_the_page_says_of_all():
    named = {field.name for field in fields(ImageGenerationError)}
    said = _page("reference/errors").partition("Each also carries")[2].partition(".")[0]
    assert named == set(re.findall(r"`(\w+)`", said))
