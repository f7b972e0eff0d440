"""The findings: strict, frozen, the same after a way through JSON, and as documented."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from liverleaf import findings as module
from liverleaf.findings import Findings, Record
from liverleaf.measure.enhancement import CONDITIONS, FEATURES, WashOutStatus
from liverleaf.measure.plausibility import Doubt
from liverleaf.study import AlignmentReason, BodyPart, InputError, Phase, Species
from liverleaf.terminology import LesionType

DOCS = Path(__file__).parents[1] / "docs" / "findings.md"
SCHEMA = DOCS.with_name("findings.schema.json")
WRITTEN_BY_0_1 = Path(__file__).with_name("findings_1_0.json")
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
    assert module.LiverRecord(volume_ml=-1e-9).model_dump_json(exclude_none=True) == (
        '{"volume_ml":0.0}'
    )


def test_names_are_those_of_the_enumerations() -> None:
    schema = json.loads(Findings.json_schema())
    curve = schema["$defs"]["CurveRecord"]["properties"]["mean"]
    lesion, _null = schema["$defs"]["LesionRecord"]["properties"]["type_set"]["anyOf"]
    study = schema["$defs"]["StudyRecord"]["properties"]
    assert curve["propertyNames"]["enum"] == [phase.key for phase in Phase]
    assert lesion["items"]["enum"] == [lesion_type.key for lesion_type in LesionType]
    assert study["body_part"]["anyOf"][0]["enum"] == list(BodyPart)
    assert study["species"]["anyOf"][0]["enum"] == list(Species)
    status = schema["$defs"]["WashOut"]["properties"]["status"]
    assert status["anyOf"][0]["enum"] == list(WashOutStatus)
    reason = schema["$defs"]["AlignmentRecord"]["properties"]["reason"]
    assert reason["anyOf"][0]["enum"] == list(AlignmentReason)
    assert schema["$defs"]["DoubtRecord"]["properties"]["code"]["enum"] == list(Doubt)


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


def test_the_schema_lies_beside_the_document() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == Findings.json_schema()


# Reading


def test_findings_are_read_from_their_file(tmp_path: Path) -> None:
    (tmp_path / "findings.json").write_text(example().to_json(), encoding="utf-8")
    assert Findings.read(tmp_path / "findings.json") == example()


def test_findings_of_version_0_1_are_read() -> None:
    old = json.loads(WRITTEN_BY_0_1.read_text(encoding="utf-8"))
    assert old["schema_version"] == "1.0"
    found = Findings.read(WRITTEN_BY_0_1)
    assert found.schema_version == "2.0"
    assert found.model == "hepatica-net-ct"
    assert found.segmentation == module.SegmentationRecord(
        source="hepatica-net-ct", method="automatic", organs=("liver",)
    )
    new = json.loads(found.to_json())
    # all that it said is said still
    assert _as_in(old["lesions"][0], new["lesions"][0]) == old["lesions"][0]
    for key in ("liver", "warnings", "provenance"):
        assert _as_in(old[key], new[key]) == old[key]
    assert new["patient"] == {**old["patient"], "rule": "lesions"}
    # what it did not say is not made up
    assert new["doubts"] == [] and new["lesions"][0]["contrast"] is None
    assert new["lesions"][0]["wash_out"]["status"] is None
    assert all(feature["conditions"] == [] for feature in new["lesions"][0]["features"])
    assert [phase["given_to_model"] for phase in new["study"]["phases"]].count(None) == len(
        new["study"]["phases"]
    )
    assert (new["case"], new["li_rads"], new["follow_up"]) == (None, None, None)
    assert (new["study"]["species"], new["study"]["study_instance_uid"]) == (None, None)
    assert new["study"]["phases"][0]["sop_instance_uids"] == []


def _as_in(old: Any, new: Any) -> Any:
    """The new value with only the keys that the old one has."""
    if isinstance(old, dict):
        return {key: _as_in(old[key], new[key]) for key in old}
    if isinstance(old, list):
        return [_as_in(a, b) for a, b in zip(old, new, strict=True)]
    return new


def test_an_old_model_that_did_not_outline_the_liver_has_no_liver() -> None:
    old = json.loads(WRITTEN_BY_0_1.read_text(encoding="utf-8"))
    old["warnings"].append("the model hepatica-net-ct does not outline the liver")
    found = Findings.from_json(json.dumps(old))
    assert found.liver is None
    assert found.segmentation is not None and found.segmentation.organs == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no schema_version"),
        ("[1]", "has no schema_version"),
        ("{}", "has no schema_version"),
        ('{"schema_version": "3.1"}', "version 3.1 are not known here"),
        ('{"schema_version": "2.0"}', "Field required"),
        ('{"schema_version": "1.0"}', "version 1.0 are damaged"),
    ],
)
def test_what_are_no_findings_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "findings.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        Findings.read(tmp_path / "findings.json")
    assert "findings.json" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json cannot be read"):
        Findings.read(tmp_path / "nowhere.json")


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
    fields = {name for record in RECORDS for name in record.model_fields}
    assert documented == fields | set(FEATURES) | set(CONDITIONS) | set(Doubt)


def test_the_example_in_the_document_is_valid() -> None:
    assert example().schema_version in DOCS.read_text(encoding="utf-8")
