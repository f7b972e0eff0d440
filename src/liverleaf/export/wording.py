"""Numbers and codes of the findings in the words that pages and terminals show."""

from __future__ import annotations

from liverleaf.findings import (
    ConditionRecord,
    ContrastRecord,
    FeatureRecord,
    Findings,
    WashOut,
)
from liverleaf.segmentation import MANUAL_SOURCE
from liverleaf.study import Phase

WASH_OUT_TEXTS = {
    "wash_out": "wash-out",
    "no_wash_out_still_enhancing": "no wash-out, still enhancing",
    "no_wash_out": "no wash-out",
    "not_measurable": "not measurable",
}
"""What each `WashOut.status` says."""

PROBABILITIES_DO_NOT_HOLD = "Probabilities of a model do not hold here, and no type is ruled out."
"""What a doubt means for types."""

CONDITION_TEXTS = {
    "core_arterial_contrast": (
        "arterial contrast of the core to liver",
        "its core is not clearly brighter than liver in the arterial phase",
    ),
    "core_arterial_rise": (
        "gain on liver since before contrast",
        "it gained little on liver since before contrast",
    ),
    "rim_over_core": (
        "arterial excess of the rim over the core",
        "its rim is not clearly brighter than its core in the arterial phase",
    ),
    "rim_arterial_contrast": (
        "arterial contrast of the rim to liver",
        "its rim is not clearly brighter than liver in the arterial phase",
    ),
    "core_below_liver_late": (
        "late darkness of the core below liver",
        "its core is not clearly darker than liver in the late phase",
    ),
    "core_not_darker_arterial": (
        "arterial contrast of the core to liver",
        "it was already darker than liver in the arterial phase",
    ),
    "core_late_rise": (
        "gain of the core on liver by the late phase",
        "its core gained little on liver by the late phase",
    ),
}
"""What each condition of a feature is called, and what it means that it is not met."""


def number(value: float, decimals: int = 0) -> str:
    """With thin spaces between thousands and a true minus sign."""
    return f"{value:,.{decimals}f}".replace(",", "\u2009").replace("-", "\u2212")


def percent(share: float, decimals: int = 0) -> str:
    """A share as percent; a share that is not quite 0 or 1 is not rounded to it."""
    if decimals == 0 and 0 < share < 0.005:
        return "< 1 %"
    if decimals == 0 and 0.995 <= share < 1:
        return "> 99 %"
    return f"{number(100 * share, decimals)} %"


def signed(value: float, unit: str) -> str:
    """A difference with its sign: HU as they are, a fraction as percent of its whole."""
    scaled, shown_unit = (
        (value, unit) if unit == "HU" else (100 * value, unit.replace("fraction", "%"))
    )
    return f"{'+' if scaled > 0 else ''}{number(scaled)} {shown_unit}"


def wash_out(record: WashOut | None) -> str:
    """Whether a lesion washes out, and by which phase."""
    if record is None or record.status in (None, "not_measurable"):
        return WASH_OUT_TEXTS["not_measurable"]
    return f"{WASH_OUT_TEXTS[str(record.status)]} ({Phase.parse(record.phase).title})"


def share_lost(record: WashOut | None) -> str:
    """The share of its uptake that a lesion lost by the later phase; "" where none is told."""
    if record is None or record.share_lost is None or record.share_lost < 0:
        return ""
    return percent(record.share_lost)


def contrast(record: ContrastRecord | None) -> dict[Phase, str]:
    """Contrast to the liver per phase, with sign and unit."""
    if record is None:
        return {}
    return {
        Phase.parse(name): signed(value, record.unit) for name, value in record.by_phase.items()
    }


def feature_title(name: str) -> str:
    """The name of a feature as people write it."""
    return name.replace("_non_", ", non-").replace("_", " ").replace("wash out", "wash-out")


def feature(record: FeatureRecord) -> str:
    """Whether a feature is present, and each of its conditions with value and threshold."""
    verdict = "present" if record.present else "absent"
    if not record.conditions:
        return f"{verdict}: {_against(record.evidence, record.threshold, record.unit)}"
    met = [_met(condition) for condition in record.conditions if condition.met]
    failed = [_failed(condition) for condition in record.conditions if not condition.met]
    if not failed:
        return f"{verdict}: {'; '.join(met)}"
    passed = f"{'; '.join(met)}, passes, but " if met else ""
    return f"{verdict}: {passed}{' and '.join(failed)}"


def masks_of(findings: Findings) -> str:
    """Whose masks were measured."""
    if findings.segmentation is None:
        return "nothing was outlined"
    source = findings.segmentation.source
    return "masks drawn by hand" if source == MANUAL_SOURCE else f"masks of {source}"


def no_lesion(findings: Findings) -> str:
    """What it means that there is no lesion."""
    if findings.segmentation is None:
        return "Nothing was outlined."
    if findings.segmentation.method == "automatic":
        return "No lesion was found."
    return "The mask holds no lesion."


def _met(condition: ConditionRecord) -> str:
    name, _ = CONDITION_TEXTS[condition.name]
    value = signed(condition.value, condition.unit)
    return f"{name}, {value} (threshold {signed(condition.threshold, condition.unit)})"


def _failed(condition: ConditionRecord) -> str:
    _, meaning = CONDITION_TEXTS[condition.name]
    return f"{meaning} ({_against(condition.value, condition.threshold, condition.unit)})"


def _against(value: float, threshold: float, unit: str) -> str:
    return f"{signed(value, unit)}, threshold {signed(threshold, unit)}"
