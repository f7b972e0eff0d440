"""How all pages are made: their templates, and pictures that stand in the page itself."""

from __future__ import annotations

import base64

import jinja2


def templates(folder: str = "export/html", *, lstrip_blocks: bool = False) -> jinja2.Environment:
    """The templates in a folder of the package: values are escaped, unknown names are errors.

    Args:
        folder: below the package.
        lstrip_blocks: whether white space before a tag that begins a line is left out.
    """
    return jinja2.Environment(
        loader=jinja2.PackageLoader("liverleaf", folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=lstrip_blocks,
    )


def data_uri(media_type: str, data: bytes) -> str:
    """A file that stands in the page itself, as "image/png"."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
