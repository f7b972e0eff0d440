"""What all templates share."""

import base64

import jinja2
import pytest

from liverleaf.export.html.templates import data_uri, templates


def test_a_file_in_the_page_reads_back() -> None:
    data = bytes(range(256))
    head, _, body = data_uri("image/png", data).partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == data


def test_values_are_escaped_and_unknown_names_are_errors() -> None:
    environment = templates()
    shown = environment.from_string("{{ name }}").render(name="<b>")
    assert shown == "&lt;b&gt;"
    with pytest.raises(jinja2.UndefinedError):
        environment.from_string("{{ other }}").render(name="")


def test_the_templates_of_a_folder_are_found() -> None:
    assert "results.html" in templates().list_templates()
    assert templates("benchmarks/phantom").list_templates() != templates().list_templates()
