"""Numbers and codes in words."""

from __future__ import annotations

import typing

import pytest

from liverleaf.export import wording
from liverleaf.findings import ConditionRecord, ContrastRecord, FeatureRecord, WashOut
from liverleaf.measure.enhancement import CONDITIONS, WashOutStatus
from liverleaf.study import Phase


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, "0 %"),
        (0.003, "< 1 %"),
        (0.5, "50 %"),
        (0.994, "99 %"),
        (0.997, "> 99 %"),
        (1.0, "100 %"),
        (-0.2, "−20 %"),
    ],
)
def test_percent_is_never_rounded_to_certainty(share: float, expected: str) -> None:
    assert wording.percent(share) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (90.4, "HU", "+90 HU"),
        (-12.0, "HU", "−12 HU"),
        (0.653, "fraction of pre", "+65 % of pre"),
        (0.0, "HU", "0 HU"),
    ],
)
def test_differences_carry_sign_and_unit(value: float, unit: str, expected: str) -> None:
    assert wording.signed(value, unit) == expected


def washed(status: str | None, share: float | None = None) -> WashOut:
    return WashOut(
        phase="delayed",
        status=typing.cast(typing.Any, status),
        share_lost=share,
        against_liver=None,
        unit="HU",
        liver_to_lesion_percent=None,
    )


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (washed("wash_out"), "wash-out (delayed)"),
        (washed("no_wash_out_still_enhancing"), "no wash-out, still enhancing (delayed)"),
        (washed("no_wash_out"), "no wash-out (delayed)"),
        (washed("not_measurable"), "not measurable"),
        (washed(None), "not measurable"),
        (None, "not measurable"),
    ],
)
def test_wash_out_in_words(record: WashOut | None, expected: str) -> None:
    assert wording.wash_out(record) == expected


def test_no_negative_share_is_shown() -> None:
    assert wording.share_lost(washed("wash_out", 0.5)) == "50 %"
    assert wording.share_lost(washed(None, -6.87)) == ""  # as version 0.1 wrote it
    assert wording.share_lost(washed("no_wash_out")) == ""


def test_contrast_over_the_phases() -> None:
    record = ContrastRecord(unit="HU", by_phase={"pre": -10, "arterial": 35})
    assert wording.contrast(record) == {Phase.PRE: "−10 HU", Phase.ARTERIAL: "+35 HU"}
    assert wording.contrast(None) == {}


def test_an_absent_feature_says_which_condition_failed() -> None:
    conditions = (
        ConditionRecord(name="core_below_liver_late", value=54, threshold=10, unit="HU", met=True),
        ConditionRecord(
            name="core_not_darker_arterial", value=-12, threshold=0, unit="HU", met=False
        ),
    )
    record = FeatureRecord(
        name="wash_out_non_peripheral",
        present=False,
        evidence=54,
        threshold=10,
        unit="HU",
        conditions=conditions,
    )
    assert wording.feature(record) == (
        "absent: late darkness of the core below liver, +54 HU (threshold +10 HU), passes,"
        " but it was already darker than liver in the arterial phase (−12 HU, threshold 0 HU)"
    )
    old = record.model_copy(update={"conditions": ()})
    assert wording.feature(old) == "absent: +54 HU, threshold +10 HU"


def test_every_code_has_words() -> None:
    assert set(wording.WASH_OUT_TEXTS) == set(WashOutStatus)
    assert set(wording.CONDITION_TEXTS) == set(CONDITIONS)
