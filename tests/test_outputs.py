"""The shapes in which nodes give files and texts: those of ComfyUI, of packs, and any other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui.outputs import OutputFile, parse_outputs, parse_texts, suffix_of

SAVED = {"filename": "a.png", "subfolder": "", "type": "output"}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
"""Whatever an entry can be."""


def only(ui: Any) -> OutputFile:
    """The one file of a node `1` that gives this."""
    (file,) = parse_outputs({"1": ui})
    return file


def test_files_of_every_kind_are_outputs_and_other_entries_are_not():
    outputs = {
        "9": {
            "images": [{"filename": "a.png", "subfolder": "s", "type": "temp"}, "x", {"no": 1}],
            "animated": [True],
            "text": "words",
        },
        "7": {"audio": [{"filename": "b.flac", "subfolder": None}]},
        "6": None,
    }
    assert parse_outputs(outputs) == [
        OutputFile("9", "images", "a.png", "s", "temp"),
        OutputFile("7", "audio", "b.flac", "", "output"),
    ]


@pytest.mark.parametrize(
    ("ui", "kind", "filename"),
    [
        ({"images": [SAVED]}, "images", "a.png"),  # SaveImage
        ({"images": [SAVED], "animated": [True]}, "images", "a.png"),  # SaveAnimatedPNG
        ({"images": [{"filename": "a.MP4"}], "animated": [True]}, "video", "a.MP4"),  # SaveVideo
        ({"images": [{"filename": "a.webm"}], "animated": [True]}, "video", "a.webm"),  # SaveWEBM
        ({"images": [{"filename": "a.svg"}]}, "images", "a.svg"),  # SaveSVGNode
        ({"audio": [{"filename": "a.opus"}]}, "audio", "a.opus"),  # SaveAudioOpus
        ({"latents": [{"filename": "a.latent"}]}, "latents", "a.latent"),  # SaveLatent
        ({"3d": [{"filename": "a.glb"}]}, "3d", "a.glb"),  # SaveGLB
        ({"text": ["t"], "files": [{"filename": "a.md"}]}, "files", "a.md"),  # SaveText
        (
            {"gifs": [{"filename": "a.mp4", "format": "video/h264-mp4", "fullpath": "/o/a.mp4"}]},
            "gifs",
            "a.mp4",
        ),  # VideoHelperSuite
        ({"of its own": [{"filename": "a.xyz"}]}, "of its own", "a.xyz"),
    ],
)
def test_a_file_is_found_under_whatever_key_a_node_chose(ui, kind, filename):
    file = only(ui)
    assert (file.kind, file.filename, file.subfolder, file.folder_type) == (
        kind,
        filename,
        "",
        "output",
    )


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("3d/mesh_00001_.glb", ("mesh_00001_.glb", "3d", "output")),
        ("preview3d_5f.GLTF", ("preview3d_5f.GLTF", "", "output")),
        ("a\\b\\mesh.obj", ("mesh.obj", "a/b", "output")),
        ("mesh.fbx [temp]", ("mesh.fbx", "", "temp")),
        ("/data/comfy/output/3d/mesh.ply", ("mesh.ply", "/data/comfy/output/3d", "output")),
        ("D:\\ComfyUI\\output\\mesh.stl", ("mesh.stl", "D:/ComfyUI/output", "output")),
        ("/mesh.glb", ("mesh.glb", "/", "output")),
    ],
)
@pytest.mark.parametrize("key", ["result", "3d"])
def test_a_model_may_be_named_by_its_path(path, place, key):
    file = only({key: [path, {"position": {"x": 1}}, "temp/background.png"]})
    assert (file.kind, file.place) == ("3d", place)


@pytest.mark.parametrize(
    "result", [["", None], ["words", None], [None, "a.glb"], [".glb"], ["a.png", {}], [5], []]
)
def test_other_results_are_no_files(result):
    assert parse_outputs({"1": {"result": result}}) == []


def test_a_file_that_two_nodes_name_is_told_once():
    saved = {"filename": "mesh.glb", "subfolder": "3d", "type": "output"}
    outputs = {"5": {"3d": [saved]}, "6": {"result": ["3d/mesh.glb", None]}, "7": {"3d": [saved]}}
    assert [file.node_id for file in parse_outputs(outputs)] == ["5"]


@pytest.mark.parametrize(
    ("entry", "filename", "subfolder"),
    [
        ({"filename": "sub/a.png"}, "a.png", "sub"),
        ({"filename": "sub/a.png", "subfolder": "in"}, "a.png", "in/sub"),
        ({"filename": "sub\\a.png", "subfolder": ""}, "a.png", "sub"),
        ({"filename": "a.png", "subfolder": "in\\here"}, "a.png", "in\\here"),
    ],
)
def test_a_folder_in_a_name_is_told_as_one(entry, filename, subfolder):
    file = only({"images": [entry]})
    assert (file.filename, file.subfolder) == (filename, subfolder)


@pytest.mark.parametrize("filename", ["", "folder/", None, 5, ["a.png"]])
def test_an_entry_without_a_name_is_no_file(filename):
    assert parse_outputs({"1": {"images": [{"filename": filename}]}}) == []


@pytest.mark.parametrize(
    ("key", "filename", "is_picture"),
    [
        ("images", "a.png", True),
        ("images", "a.exr", True),
        ("images", "a.mp4", False),
        ("a_images", "a.WEBP", True),
        ("gifs", "a.gif", False),
        ("audio", "a.flac", False),
        ("files", "png", False),
    ],
)
def test_pictures_are_told_from_the_rest(key, filename, is_picture):
    assert only({key: [{"filename": filename}]}).is_picture is is_picture


def test_texts_of_nodes_are_told_by_node():
    outputs = {
        "5": {"text": ["a", 1, "b"]},
        6: {"text": ("c",)},
        "7": {"text": "d"},
        "8": None,
        "9": {"text": [], "result": ["e"]},
    }
    assert parse_texts(outputs) == {"5": ["a", "b"], "6": ["c"]}
    assert parse_texts(None) == {}


@given(
    ANY_JSON
    | st.dictionaries(
        st.text(max_size=3),
        st.dictionaries(
            st.sampled_from(["images", "result", "3d", "text", "x"]),
            ANY_JSON
            | st.lists(ANY_JSON | st.fixed_dictionaries({"filename": ANY_JSON}), max_size=3),
        ),
        max_size=3,
    )
)
def test_nothing_that_a_server_can_say_makes_it_raise(outputs):
    files, texts = parse_outputs(outputs), parse_texts(outputs)
    assert len({file.place for file in files}) == len(files)
    assert all(file.filename and "/" not in file.filename for file in files)
    assert all(isinstance(text, str) for found in texts.values() for text in found)


@given(st.text(), st.text(alphabet="abcXYZ019", min_size=1))
def test_a_suffix_is_what_stands_behind_the_last_dot(stem, suffix):
    assert suffix_of(f"a{stem}.{suffix}") == f".{suffix.lower()}"
    assert suffix_of(stem.replace(".", "")) == ""
