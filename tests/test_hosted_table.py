"""The tables of hosted providers and models are those of the capability table."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from config import SETTINGS
from hosted_providers.table import VENDORS, markdown, models_of
from image_routing.built_in import BUILT_IN, KEY_SETTINGS

ROOT = Path(__file__).resolve().parent.parent
START = "<!-- hosted providers: python -m hosted_providers.table -->\n"
END = "\n<!-- end of hosted providers -->"


def test_readme_has_what_the_command_prints():
    done = subprocess.run(
        [sys.executable, "-m", "hosted_providers.table"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split(START)[1].split(END)[0]

    assert shown == done.stdout.strip(), "run the command and put what it prints into README.md"
    assert done.stdout.strip() == markdown()


def test_every_model_has_its_place():
    for vendor in VENDORS:
        rows = models_of(vendor).splitlines()[2:]
        ids = {name for row in rows for name in row.removeprefix("| ").split(" | ")[0].split(", ")}
        assert ids == {
            re.sub("^(black-forest-labs|fal-ai)/", "", m.id) for m in vendor.catalog.models
        }


def test_settings_named_by_the_vendors_are_those_of_the_configuration():
    names = {setting.name for setting in SETTINGS}

    assert {vendor.url_setting for vendor in VENDORS} <= names
    assert {vendor.name: vendor.key_setting for vendor in VENDORS} == KEY_SETTINGS
    assert BUILT_IN.keys() == {"comfyui", *KEY_SETTINGS}
