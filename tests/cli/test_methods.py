"""The command line about methods and folders: answers on stdout, reasons on stderr, one line each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import refused

from avzoo import zoo
from avzoo.cli import main, parse_literal


def test_list_has_a_line_for_every_method(avzoo_command):
    status, out, err = avzoo_command("list")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [row.name for row in zoo.METHODS]
    for line, row in zip(out.splitlines(), zoo.METHODS, strict=True):
        assert row.task in line
        assert row.paper in line


def test_list_as_json(avzoo_command):
    rows = json.loads(avzoo_command("list", "--json")[1])
    assert [row["name"] for row in rows] == [row.name for row in zoo.METHODS]
    assert rows[0]["licenses"]["weights"]["identifier"] == zoo.METHODS[0].licenses["weights"].identifier


def test_list_of_what_may_be_used_commercially(avzoo_command):
    rows = json.loads(avzoo_command("list", "--json", "--commercial-ok")[1])
    assert [row["name"] for row in rows] == [row.name for row in zoo.METHODS if row.commercial_use]
    assert "flexiast" not in [row["name"] for row in rows]  # nobody can say it of its training data


def test_info_says_what_the_row_says(avzoo_command):
    _, out, _ = avzoo_command("info", "flexiast")
    row = zoo.find_row("flexiast")
    for expected in (
        row.title,
        row.paper,
        row.repository,
        *row.public_names,
        *(v.checkpoint or "" for v in row.variants),
    ):
        assert expected in out


def test_info_as_json(avzoo_command):
    described = json.loads(avzoo_command("info", "flexiast", "--json")[1])
    assert described["task"] == "audio-classification"
    assert described["commercial_use"] is None


def test_card_prints_the_card(avzoo_command):
    status, out, _ = avzoo_command("card", "flexiast")
    assert status == 0
    assert out.startswith("---\n")
    assert "# FlexiAST" in out


@pytest.mark.parametrize("command", ["info", "card"])
def test_an_unknown_method_is_named(avzoo_command, command):
    refused(avzoo_command(command, "flexist"), "no method is called 'flexist'", "flexiast")


def test_help_and_mistakes_are_argparses(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "convert" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["tag"])


def test_the_command_is_installed():
    """What it says of a file, torch's warnings included: tests/conversion/test_loading_elsewhere.py."""
    command = [Path(sys.executable).with_name("avzoo"), "list"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (result.stdout.splitlines()[0].split()[0], result.stderr) == (zoo.METHODS[0].name, "")


def test_push_refuses_a_folder_without_a_model(avzoo_command, tmp_path):
    refused(avzoo_command("push", tmp_path, "someone/flexiast"), "holds no config.json")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("1e-12", 1e-12),
        ("(8,16)", (8, 16)),
        ("[[16,8]]", [[16, 8]]),
        ("true", True),
        ("null", None),
        ("pi", "pi"),
        ("multi_label_classification", "multi_label_classification"),
    ],
)
def test_values_on_the_command_line(text, value):
    assert parse_literal(text) == value
