"""The findings: strict, frozen, the same after a way through JSON, and as the document describes them."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from liverleaf import findings as module
from liverleaf.findings import Findings, Record
from liverleaf.measure.enhancement import FEATURES
from liverleaf.study import Phase
from liverleaf.terminology import LesionType

DOCS = Path(__file__).parents[1] / "docs" / "findings.md"
RECORDS = [
    value
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Record) and value is not Record
]


def example() -> Findings:
    """The one in the document."""
    found = re.search(r"```json\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return Findings.model_validate_json(found[1])


def test_json_reads_back_the_same() -> None:
    found = example()
    text = found.to_json()
    assert Findings.model_validate_json(text) == found
    assert Findings.model_validate_json(text).to_json() == text
    assert list(json.loads(text)) == list(Findings.model_fields)


def test_findings_are_frozen_strict_and_finite() -> None:
    found = example()
    with pytest.raises(ValidationError, match="frozen"):
        found.model = "other"
    for change in (
        {"surprise": 1},
        {"liver": {"volume_ml": float("nan")}},
        {"schema_version": "0.9"},
    ):
        with pytest.raises(ValidationError):
            Findings.model_validate(found.model_dump() | change)


def test_no_negative_zero() -> None:
    assert module.LiverRecord(volume_ml=-1e-9).model_dump_json() == '{"volume_ml":0.0}'


def test_names_are_those_of_the_enumerations() -> None:
    schema = json.loads(Findings.json_schema())
    curve = schema["$defs"]["CurveRecord"]["properties"]["mean"]
    lesion, _null = schema["$defs"]["LesionRecord"]["properties"]["type_set"]["anyOf"]
    assert curve["propertyNames"]["enum"] == [phase.key for phase in Phase]
    assert lesion["items"]["enum"] == [lesion_type.key for lesion_type in LesionType]


def test_the_schema_lets_later_minor_versions_pass() -> None:
    schema = json.loads(Findings.json_schema())
    assert schema["$schema"].endswith("2020-12/schema")
    version = schema["properties"]["schema_version"]
    assert (
        re.fullmatch(version["pattern"], "2.7")
        and not re.fullmatch(version["pattern"], "3.0")
        and "const" not in version
    )
    records = [schema, *schema["$defs"].values()]
    assert len(records) == len(RECORDS) and all(
        "additionalProperties" not in record for record in records
    )


# The document


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_is_documented_in_the_words_of_the_code(record) -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name, field in record.model_fields.items():
        assert field.description, f"{record.__name__}.{name} has no docstring"
        assert re.search(
            rf"^\| `{name}` \|.*\| {re.escape(' '.join(field.description.split()))} \|$",
            text,
            re.MULTILINE,
        ), f"{record.__name__}.{name}"


def test_no_field_is_documented_that_does_not_exist() -> None:
    documented = set(re.findall(r"^\| `(\w+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert documented == {name for record in RECORDS for name in record.model_fields} | set(
        FEATURES
    )


def test_the_example_in_the_document_is_valid() -> None:
    assert example().schema_version in DOCS.read_text(encoding="utf-8")
