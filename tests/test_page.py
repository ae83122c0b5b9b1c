"""A workflow as a page: complete, inert, the same every time, and readable in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from comfyui.binding import Binding, Ignored
from comfyui.graph import links_of
from comfyui.object_info import ObjectInfo
from comfyui.page import draw_page
from comfyui.page_boxes import COLUMNS, make_boxes, shortened, width_of, wrapped
from comfyui.page_drawing import colour_class
from comfyui.page_layout import Layout, Wire, lay_out
from comfyui.validation import WorkflowProblem
from comfyui.workflow import Workflow
from image_provider import ImageGenerationRequest

ROOT = Path(__file__).parent.parent
OBJECT_INFO = Path(__file__).parent / "data" / "object_info" / "0.26.0.json"
BROWSERS = ("google-chrome", "chrome", "chromium", "chromium-browser")
WIDTH = 100.0
HOSTILE = (
    """</script></style></title><script>document.title='ran'</script>"><img src=x onerror=x>"""
)


class Page(HTMLParser):
    """What a page holds: its elements with their attributes, and the texts inside each kind."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def of_class(self, name):
        return [attrs for _, attrs in self.elements if name in (attrs.get("class") or "").split()]


def node(class_type="Some", title=None, **inputs):
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title or class_type}}


def curves(page):
    """The links that are drawn."""
    return [a for tag, a in page.elements if tag == "path" and a["class"] != "head"]


def draw(graph, bindings=(), ignored=(), problems=(), object_info=None, name="a.json"):
    return draw_page(name, graph, bindings, ignored, problems, object_info)


def bundled(name, object_info=None):
    workflow = Workflow.from_file(ROOT / "workflows" / "comfyui" / name)
    request = ImageGenerationRequest("a quiet harbour", seed=42, steps=30, width=640, strength=0.5)
    return workflow.bind(request, object_info)


def object_info():
    return ObjectInfo.from_dict(json.loads(OBJECT_INFO.read_text("utf-8")))


def places(heights, wires):
    return lay_out(heights, WIDTH, [Wire(a, 10, b, 10) for a, b in wires])


def columns(layout: Layout):
    return {box: corner.x for box, corner in layout.corners.items()}


# --- what the page says


@pytest.mark.parametrize("name", ["t2i_flux.json", "inpaint_checkpoint.json"])
def test_every_node_link_and_bound_input_appears(name):
    bound = bundled(name)
    page = Page(draw(bound.graph, bound.bindings, bound.ignored))
    assert len(page.of_class("box")) == len(bound.graph)
    links = sum(len(list(links_of(each))) for each in bound.graph.values())
    assert len(curves(page)) == links
    inputs = {(binding.node_id, binding.input_name) for binding in bound.bindings}
    assert len(page.of_class("bound")) == len(inputs) > 3
    pills = {text.removeprefix("← ") for text in page.texts["text"] if text.startswith("← ")}
    assert pills == {binding.parameter for binding in bound.bindings}
    cells = "\n".join(page.texts["td"])
    assert all(binding.reason in cells for binding in bound.bindings)
    assert all(entry.reason in cells for entry in bound.ignored)


def test_reason_of_a_bound_input_is_shown_to_whoever_points_at_it():
    binding = Binding("seed", "1", "KSampler", "seed", 7, "KSampler 1.seed")
    page = Page(draw({"1": node("KSampler", seed=7)}, [binding]))
    assert "seed = 7\nset by seed: KSampler 1.seed" in page.texts["title"]


def test_input_found_on_two_ways_is_one_row_with_both():
    ways = [Binding("prompt", "1", "Text", "value", "a fox", f"way {n}") for n in (1, 2)]
    page = Page(draw({"1": node("Text", value="a fox")}, ways))
    assert len(page.of_class("bound")) == 1
    assert "way 1\nway 2" in page.texts["td"]
    assert "1 node · 0 links · 1 input set" in page.texts["p"]


def test_binding_to_an_input_that_the_graph_lacks_is_drawn():
    binding = Binding("loras", "1", "LoraLoader", "lora_name", ("ink", 0.5), "added")
    page = Page(draw({"1": node("LoraLoader")}, [binding]))
    assert len(page.of_class("bound")) == 1
    assert '["ink", 0.5]' in page.texts["text"]


def test_binding_to_a_node_that_is_not_there_stands_in_the_table_alone():
    page = Page(draw({"1": node()}, [Binding("seed", "9", "KSampler", "seed", 7, "why")]))
    assert page.of_class("bound") == []
    assert "node 9" in page.texts["td"]


def test_problem_is_red_at_its_node_and_in_the_table():
    graph = {"1": node("UNETLoader", unet_name="a.safetensors"), "2": node()}
    message = "node 1 UNETLoader, unet_name: 'a.safetensors' is not on the server"
    problem = WorkflowProblem(
        "missing_model", "1", "UNETLoader", "UNETLoader", "unet_name", message
    )
    page = Page(draw(graph, problems=[problem]))
    wrong = [attrs["id"] for attrs in page.of_class("wrong") if "id" in attrs]
    assert wrong == ["n0"]
    assert "⚠ missing model" in page.texts["text"]
    assert message in page.texts["td"]
    assert "1 problem" in page.texts["a"]


def test_problem_of_the_workflow_as_a_whole_stands_in_the_table():
    problem = WorkflowProblem("no_output", None, None, None, None, "no node gives a result")
    page = Page(draw({"1": node()}, problems=[problem]))
    assert page.texts["td"] == ["the workflow", "no node gives a result"]
    assert page.of_class("wrong") == []


def test_no_problems_is_said_only_of_a_graph_that_was_looked_into():
    assert "no problems" not in draw({"1": node()})
    assert "no problems" in draw({"1": node()}, object_info=object_info())


def test_empty_graph_gives_a_page():
    page = Page(draw({}))
    assert "It is empty." in page.texts["p"]
    assert page.open == []


def test_link_to_a_node_that_is_not_there_is_marked_and_not_drawn():
    page = Page(draw({"1": node(model=["7", 0])}))
    assert "no node 7" in page.texts["text"]
    assert len(page.of_class("wrong")) == 2
    assert curves(page) == []


def test_link_from_an_output_that_the_class_lacks_is_drawn():
    graph = {"1": node("VAELoader", vae_name="x"), "2": node("VAEDecode", vae=["1", -3])}
    page = Page(draw(graph, object_info=object_info()))
    assert "VAE" in page.texts["text"]
    assert len(curves(page)) == 1


def test_links_have_the_colours_of_their_types():
    graph = bundled("t2i_flux.json").graph
    types = {"MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE"}
    for info in (None, object_info()):
        page = Page(draw(graph, object_info=info))
        assert {curve["class"] for curve in curves(page)} == {
            colour_class(link_type) for link_type in types
        }


def test_type_is_taken_from_the_output_and_past_what_goes_with_anything():
    info = ObjectInfo.from_dict(
        {
            "Give": {"input": {}, "output": ["SIGMAS", "*"]},
            "Take": {"input": {"required": {"model": ["*"], "other": ["NOISE"], "any": ["*"]}}},
        }
    )
    graph = {"1": node("Give"), "2": node("Take", model=["1", 0], other=["1", 1], any=["1", 1])}
    taker = make_boxes(graph, [], [], info)[1]
    assert [row.type for row in taker.rows] == ["SIGMAS", "NOISE", "NOISE"]


def test_type_that_no_end_of_a_link_tells_is_left_open():
    giver, taker = make_boxes({"1": node(), "2": node(any=["1", 0])}, [], [], None)
    assert [(row.name, row.type) for row in giver.rows] == [("output 0", "")]
    assert taker.rows[0].type == ""


def test_id_of_a_node_is_shown_whole_whatever_its_class():
    (box,) = make_boxes({"65:35:84": node("TextEncode" * 9)}, [], [], None)
    assert box.about.endswith("… · 65:35:84")


def test_every_colour_of_a_link_is_in_the_style_sheet():
    types = ["", "MODEL", "CONTROL_NET", *(f"TYPE_{number}" for number in range(100))]
    page = draw({"1": node()})
    names = {name for link_type in types for name in colour_class(link_type).split()}
    assert len(names) > 10
    assert all(f".{name} {{ color:" in page for name in names)


# --- safety


def hostile_page():
    graph = {
        HOSTILE: node(HOSTILE, HOSTILE, **{HOSTILE: HOSTILE, "nul\x00": "\ud800 \x1b[31m \x85"}),
        "2": node(title=HOSTILE, x=[HOSTILE, 0], y=[HOSTILE, 3], z=[HOSTILE + "?", 0]),
    }
    binding = Binding(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    problem = WorkflowProblem("bad_link", HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    return draw(graph, [binding], [Ignored(HOSTILE, HOSTILE)], [problem], name=HOSTILE)


def test_hostile_texts_stay_texts():
    page = Page(hostile_page())
    assert {tag for tag, _ in page.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "a", "div", "span"),
        *("b", "i", "label", "input", "table", "tr", "th", "td"),
        *("svg", "clippath", "g", "path", "rect", "circle", "text"),
    }
    names = {name for _, attrs in page.elements for name in attrs}
    assert not [name for name in names if name.startswith("on") or name in ("style", "src")]
    assert page.open == []
    assert page.texts["h1"] == [HOSTILE]


def test_links_lead_nowhere_but_into_the_page():
    page = Page(hostile_page())
    anchors = {f"#{attrs['id']}" for _, attrs in page.elements if "id" in attrs}
    leads = {attrs["href"] for _, attrs in page.elements if "href" in attrs}
    assert leads <= anchors
    assert "#n0" in leads


def test_policy_lets_nothing_run_and_nothing_be_fetched():
    page = draw({"1": node()})
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)', page)[1])
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in page.replace("http-equiv", "")


def test_page_can_be_written_whatever_the_workflow_holds():
    page = hostile_page()
    assert page.encode("utf-8").decode("utf-8") == page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", page)


def test_a_picture_in_a_value_does_not_fill_the_page():
    page = draw({"1": node(image="A" * 5_000_000)})
    assert len(page) < 40_000
    assert "(5000000 characters)" in page


def test_same_arguments_give_the_same_page():
    bound = bundled("inpaint_flux.json")
    pages = {draw(bound.graph, bound.bindings, bound.ignored) for _ in range(2)}
    assert len(pages) == 1


# --- texts of known width


@pytest.mark.parametrize(
    "text",
    ["word " * 200, "x" * 1000, "紅い狐が雪の中に" * 60, "a\n\n\nb\n" * 300, " " * 900 + "end"],
)
def test_long_text_is_cut_to_six_lines_that_fit(text):
    lines = wrapped(text)
    assert len(lines) <= 6
    assert lines[-1].endswith("…")
    assert all(width_of(line) <= COLUMNS for line in lines)


def test_short_text_is_wrapped_and_not_cut():
    assert wrapped("a red fox\nin the snow") == ("a red fox", "in the snow")


@pytest.mark.parametrize("text", ["a\nb", "名前" * 30, "plain", "x" * 500, "e\u0301" * 40])
def test_shortened_text_is_one_line_that_fits(text):
    line = shortened(text, 20)
    assert "\n" not in line
    assert width_of(line) <= 20


@pytest.mark.parametrize("name", ["x", "n" * 100, "名" * 50])
@pytest.mark.parametrize("parameter", ["seed", "extra['some very long title of a node.text']"])
def test_name_tag_and_value_of_a_row_have_room_beside_each_other(name, parameter):
    for value in ("", 1, "short", "v" * 30, "a b " * 99):
        binding = Binding(parameter, "1", "Some", name, value, "why")
        (box,) = make_boxes({"1": node(**{name: value})}, [binding], [], None)
        (row,) = box.rows
        tag = width_of(row.parameter) + 4
        assert width_of(row.name) + tag + width_of(row.aside) <= COLUMNS


# --- layout


def test_boxes_stand_in_columns_by_the_longest_path():
    found = columns(places(dict.fromkeys("abcd", 50), ["ab", "bc", "cd", "ad"]))
    assert found["a"] < found["b"] < found["c"] < found["d"]


def test_source_stands_beside_what_it_feeds():
    found = columns(places(dict.fromkeys("abcdv", 50), ["ab", "bc", "cd", "vd"]))
    assert found["v"] == found["c"]


def test_chain_follows_to_what_it_feeds():
    boxes = dict.fromkeys("abcdevw", 50)
    found = columns(places(boxes, ["ab", "bc", "cd", "de", "vw", "we"]))
    assert (found["v"], found["w"]) == (found["c"], found["d"])


def test_boxes_do_not_overlap_and_wires_pass_between_them():
    graph = bundled("inpaint_checkpoint.json").graph
    heights = {box: 60.0 + 7 * number for number, box in enumerate(graph)}
    wires = [(link.node_id, box) for box, each in graph.items() for _, link in links_of(each)]
    layout = places(heights, wires)
    by_column: dict[float, list[tuple[float, float]]] = {}
    for box, corner in layout.corners.items():
        by_column.setdefault(corner.x, []).append((corner.y, corner.y + heights[box]))
    for spans in by_column.values():
        spans.sort()
        assert all(above[1] < below[0] for above, below in zip(spans, spans[1:], strict=False))
    lanes = [point for path in layout.paths for point in path[1:-1:2]]
    assert len(lanes) > 3
    for point in lanes:
        assert not any(top <= point.y <= bottom for top, bottom in by_column[point.x])


def test_boxes_stand_in_the_order_of_the_rows_that_they_feed():
    rows = {"c": 10.0, "a": 30.0, "d": 50.0, "b": 70.0}
    wires = [Wire(box, 10, "all", rows[box]) for box in "abcd"]
    corners = lay_out(dict.fromkeys([*"abcd", "all"], 90.0), WIDTH, wires).corners
    assert sorted("abcd", key=lambda box: corners[box].y) == list(rows)


def test_wires_of_one_row_are_straight():
    corners = places({"a": 300, "b": 40, "c": 120}, ["ab", "bc"]).corners
    assert len({round(corner.y, 6) for corner in corners.values()}) == 1


@pytest.mark.parametrize("wires", [["aa"], ["ab", "ba"], ["ab", "bc", "ca", "cd", "bb"]])
def test_cycles_are_drawn(wires):
    layout = places(dict.fromkeys("abcd", 50), wires)
    assert all(len(path) >= 2 for path in layout.paths)
    graph = {box: node() for box in "abcd"}
    for source, target in wires:
        graph[target]["inputs"][f"from_{source}"] = [source, 0]
    assert Page(draw(graph)).of_class("back")


def test_parts_that_nothing_joins_stand_apart():
    heights = dict.fromkeys([*"abc", *(f"n{n}" for n in range(40))], 50.0)
    layout = places(heights, ["ab"])
    assert len(set(layout.corners.values())) == len(heights)
    assert layout.height < 40 * 50
    assert all(corner.x + WIDTH <= layout.width for corner in layout.corners.values())


def test_chain_of_thousands_needs_no_recursion():
    heights = {str(n): 50.0 for n in range(3000)}
    layout = places(heights, [(str(n), str(n + 1)) for n in range(2999)])
    assert len(set(columns(layout).values())) == 3000


def test_wires_past_many_columns_stay_few_points():
    heights = {str(n): 50.0 for n in range(600)}
    chain = [(str(n), str(n + 1)) for n in range(599)]
    layout = places(heights, [*chain, *((str(n), "599") for n in range(600))])
    # Each of 600 wires past up to 600 columns would be 180,000 lanes.
    assert sum(len(path) for path in layout.paths) < 50_000


# --- in a browser


MEASURE = """<pre id="report"></pre><script>
const box = e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.right, r.bottom]; };
document.getElementById("report").textContent = JSON.stringify({
  svg: box(document.querySelector("svg")),
  bound: [...document.querySelectorAll(".bound")].map(row => ({
    box: box(row), fill: getComputedStyle(row.querySelector(".pill")).fill })),
  texts: [...document.querySelectorAll(".box")].flatMap(node =>
    [...node.querySelectorAll("text")].map(text =>
      ({ card: box(node.querySelector(".card")), box: box(text), words: text.textContent }))),
});</script></body>"""


@pytest.fixture
def browser(tmp_path):
    """Opens a page in a real browser: the document as it became, and the console's lines."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium is installed")

    def open_page(page):
        file = tmp_path / "page.html"
        file.write_text(page, encoding="utf-8")
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-sync",
        ]
        options += ["--disable-background-networking", "--disable-component-update"]
        options += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
        done = subprocess.run(
            [program, *options, "--window-size=1400,1000", "--dump-dom", file.as_uri()],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=True,
        )
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return open_page


def inside(inner, outer):
    return (
        inner[0] >= outer[0] - 1
        and inner[1] >= outer[1] - 1
        and inner[2] <= outer[2] + 1
        and inner[3] <= outer[3] + 1
    )


def test_browser_shows_every_bound_input_and_keeps_texts_in_their_boxes(browser):
    bound = bundled("inpaint_flux.json", object_info())
    full = {"n" * 20: "v" * (COLUMNS - 22), "long": "w" * 300, "wide": "紅い狐" * 60}
    bound.graph["full"] = node("C" * 60, "A title of many words that has no end", **full)
    page = draw(bound.graph, bound.bindings, bound.ignored, object_info=object_info())
    without_policy = re.sub("<meta http-equiv[^>]+>", "", page)
    document, _ = browser(without_policy.replace("</body>", MEASURE))
    report = json.loads(html.unescape(re.search(r'id="report">([^<]+)<', document)[1]))
    inputs = {(binding.node_id, binding.input_name) for binding in bound.bindings}
    assert len(report["bound"]) == len(inputs) > 3
    for row in report["bound"]:
        assert row["box"][2] - row["box"][0] > 100
        assert row["box"][3] - row["box"][1] > 10
        assert inside(row["box"], report["svg"])
        assert row["fill"] in ("rgb(178, 106, 0)", "rgb(224, 160, 48)")  # light, dark
    assert [
        text["words"] for text in report["texts"] if not inside(text["box"], text["card"])
    ] == []


def test_browser_runs_and_refuses_nothing_of_a_hostile_workflow(browser):
    document, console = browser(hostile_page())
    assert console == []
    assert "<title>ran</title>" not in document
    assert document.count("<script") == 0


def test_policy_stops_a_script_even_if_it_came_through(browser):
    script = "<script>document.title='ran'</script></body>"
    document, console = browser(draw({"1": node()}).replace("</body>", script))
    assert "<title>a.json</title>" in document
    assert len(console) == 1
