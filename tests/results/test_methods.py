"""The methods' paragraph says what the findings say."""

from __future__ import annotations

from collections.abc import Callable

from liverleaf.results.columns import CaseResult
from liverleaf.results.flow import Flow
from liverleaf.results.methods import Methods


def paragraph(*results: CaseResult) -> str:
    methods, flow = Methods(), Flow()
    for result in results:
        methods.add(result)
        flow.add_result(result)
    flow.add_refused(["no slices"])
    return methods.text(flow)


def of_version(result: CaseResult, version: str) -> CaseResult:
    origin = result.findings.provenance
    origin = origin.model_copy(update={"versions": {**origin.versions, "liverleaf": version}})
    findings = result.findings.model_copy(update={"provenance": origin})
    return CaseResult(result.case, result.subject, findings)


def test_versions_weights_and_numbers_are_named(result_of: Callable[..., CaseResult]) -> None:
    text = paragraph(result_of(0), result_of(1))
    assert "Of 3 studies found, 2 could be read and 2 were analysed (2 CT; 2 patients)." in text
    assert "with liverleaf 9.8.7 (commit abc123, Python 3.11, PyTorch 2.7)." in text
    assert f"outlined by bright (SHA-256 of the weights {'f' * 64})." in text
    assert "pre-contrast, 2 and 2; arterial, 2 and 2" in text
    assert "hepatobiliary, " not in text
    assert "research only" in text


def test_results_of_several_versions_are_told(result_of: Callable[..., CaseResult]) -> None:
    text = paragraph(result_of(0), result_of(1), of_version(result_of(2), "9.9.0"))
    assert "liverleaf 9.8.7 (commit abc123, Python 3.11, PyTorch 2.7), 2 studies" in text
    assert "liverleaf 9.9.0 (commit abc123, Python 3.11, PyTorch 2.7), 1 study" in text
    assert "by several versions" in text


def test_a_paragraph_about_nothing_invents_nothing() -> None:
    text = paragraph()
    assert "0 were analysed (none; 0 patients)" in text
    assert "an unknown version" in text
    assert "outlined" not in text
