"""Files of requests: CSV and JSON lines as people and programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from image_commands.batch_files import FIELDS, read_batch
from image_provider import ConfigurationError, ImageGenerationRequest, ImageStyle


def read(name, text, encoding="utf-8"):
    Path(name).write_bytes(text.encode(encoding))
    return read_batch(name)


def refused(name, text):
    with pytest.raises(ValueError) as told:
        read(name, text)
    return str(told.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_both_forms_give_the_same_requests(encoding, end):
    table = [
        "prompt,style,size,seed,strength,loras,extra",
        'a red fox,cinematic,1344x768,7,,"[[""l"", 0.5]]",',
        "",
        '"a lighthouse, at ""night""",,,,0.5,,"{""3.cfg"": 2}"',
        ",,,,,,",
    ]
    lines = [
        '{"prompt": "a red fox", "style": "cinematic", "size": "1344x768", "seed": 7,'
        ' "loras": [["l", 0.5]]}',
        "  ",
        '{"prompt": "a lighthouse, at \\"night\\"", "strength": 0.5, "extra": {"3.cfg": 2},'
        ' "seed": null}',
    ]
    expected = [
        ImageGenerationRequest(
            "a red fox",
            width=1344,
            height=768,
            seed=7,
            style=ImageStyle.CINEMATIC,
            loras=[("l", 0.5)],
        ),
        ImageGenerationRequest('a lighthouse, at "night"', strength=0.5, extra={"3.cfg": 2}),
    ]
    assert read("a.csv", end.join([*table, ""]), encoding) == expected
    made = read("a.jsonl", end.join(lines), encoding)
    assert made == expected
    assert made[1].explicit_size == (None, None)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_table_as_excel_writes_it_elsewhere_is_read(delimiter):
    text = f"prompt{delimiter}seed\na fox, red{delimiter}7\n"
    assert read("a.csv", text) == [ImageGenerationRequest("a fox, red", seed=7)]


def test_a_prompt_may_have_lines_and_characters_that_end_one_elsewhere():
    assert read("a.csv", 'prompt\n"two\nlines"\n')[0].prompt == "two\nlines"
    (request,) = read("a.jsonl", '{"prompt": "one\u2028line"}\n')
    assert request.prompt == "one\u2028line"


def test_every_bad_line_of_a_table_is_told_at_once():
    told = refused(
        "a.csv",
        'prompt,seed,size,style\n"over\ntwo",x,,\na fox,1,big,\na fox,2,,noir\n,3,,\na,1,,,5\n'
        "ok,4,,\n",
    )
    head, *lines = told.splitlines()
    assert head == "a.csv cannot be used, and nothing was made:"
    assert [line.split(":")[0].strip() for line in lines] == [
        f"line {number}" for number in (2, 4, 5, 6, 7)
    ]
    for line, part in zip(
        lines,
        ["'x', which is no whole number", "1024x768", "unknown style", "no prompt", "5 cells"],
        strict=True,
    ):
        assert part in line


def test_every_bad_line_of_json_is_told_at_once():
    told = refused(
        "a.jsonl",
        '{"prompt": "a fox"}\n{broken\n[1]\n{"prompt": "a", "colour": "red"}\n{"seed": 1}\n'
        '{"prompt": "a", "seed": "7"}\n{"prompt": "a", "size": "64x64", "width": 64}\n',
    )
    numbers = [line.split(":")[0].strip() for line in told.splitlines()[1:]]
    assert numbers == [f"line {number}" for number in (2, 3, 4, 5, 6, 7)]
    assert "there is no field colour; there are: prompt, size, " in told


def test_a_long_list_of_problems_is_cut():
    told = refused("a.jsonl", "{\n" * 30)
    assert told.count("\n  line ") == 20 and told.endswith("  and 10 more")


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("prompt,colour", "line 1: there is no column colour; there are: prompt, size"),
        ("seed,size", "line 1: there is no column prompt"),
        ("prompt,seed,seed", "line 1: the column seed is there twice"),
        ("prompt,", "line 1: there is no column without a name"),
    ],
)
def test_a_header_that_cannot_be_used_is_told(header, told):
    assert told in refused("a.csv", f"{header}\na fox,red\n")


def test_quotes_that_do_not_end_are_told_by_their_line():
    assert "line 3: it is no CSV" in (told := refused("a.csv", 'prompt\na fox\n"a dog\n'))
    assert "write each quote twice" in told


def test_what_is_no_file_of_requests_is_told_with_what_to_do():
    assert "must end in .csv or .jsonl" in refused("a.txt", "a fox")
    assert "has no requests" in refused("a.csv", "prompt\n\n")
    assert "has no requests" in refused("a.jsonl", "\n")
    assert "line 1: it is not JSON: Expecting value at character 12" in refused(
        "a.jsonl", '{"prompt": '
    )
    with pytest.raises(ValueError, match=r"line 2 is no UTF-8; save it as UTF-8"):
        read("a.csv", "prompt\nfünf\n", "latin-1")
    with pytest.raises(ConfigurationError, match=r"gone\.csv cannot be read: .*; give the path of"):
        read_batch("gone.csv")


def test_every_field_of_a_request_can_stand_in_a_file():
    missing = set(ImageGenerationRequest.__dataclass_fields__) - set(FIELDS)
    assert missing == {"on_progress", "from_template", "style_name"}
