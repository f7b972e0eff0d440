"""The flow of studies: every one is counted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from liverleaf.results.case import CaseRecord
from liverleaf.results.columns import CaseResult
from liverleaf.results.flow import REASONS_SHOWN, Flow, shown_reasons


def record(**changes: object) -> CaseRecord:
    return CaseRecord(**{"case": "case-1", "subject": "s", "fingerprint": "f", **changes})


def test_every_study_is_counted_once(result_of: Callable[..., CaseResult]) -> None:
    flow = Flow()
    flow.add_result(replace(result_of(0), has_seg=True))
    flow.add_result(result_of(1, types=[]))
    flow.add_failure(record(failed_at="reading", reason="no slices"))
    flow.add_failure(record(failed_at="analysis", reason="no liver"))
    flow.waiting = 1
    flow.add_refused(["no slices", "burned in"])
    assert (flow.found, flow.read, flow.analysed, flow.waiting) == (7, 4, 2, 1)
    assert flow.refused == {"no slices": 2, "burned in": 1}
    assert flow.failed == {"no liver": 1}
    assert (flow.with_lesions, flow.with_seg) == (1, 1)
    assert flow.doubted == 2  # their livers are of 350 ml
    assert flow.by_modality == {"CT": 2}


def test_nothing_is_found_in_nothing() -> None:
    assert (Flow().found, Flow().read, Flow().analysed) == (0, 0, 0)


def test_rare_reasons_are_counted_together() -> None:
    reasons = Counter({f"reason {n}": 100 - n for n in range(REASONS_SHOWN + 3)})
    shown = shown_reasons(reasons)
    assert len(shown) == REASONS_SHOWN + 1
    assert shown[0] == ("reason 0", 100)
    assert shown[-1] == ("other reasons", sum(100 - REASONS_SHOWN - n for n in range(3)))
    assert sum(number for _, number in shown) == reasons.total()
    assert shown_reasons(Counter({"one": 1})) == [("one", 1)]
