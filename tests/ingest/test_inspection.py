"""Reports of a study: of DICOM, NIfTI and case folders in one form."""

import json
from dataclasses import asdict

import numpy as np

from liverleaf.ingest.inspection import Inspection, SeriesReport
from liverleaf.ingest.reader import inspect, read_study
from liverleaf.storage.case_folder import save_case
from liverleaf.study import Phase


def report(number: int) -> SeriesReport:
    return SeriesReport(number, "art", "CT", 3, (3, 4, 5), (2.5, 1.0, 1.0), None, False, 0.0)


def test_an_inspection_is_iterated_over_its_reports() -> None:
    reports = (report(1), report(2))
    assert list(Inspection(reports)) == list(reports)
    assert Inspection(()).warnings == ()


def test_a_report_is_plain_data() -> None:
    assert json.loads(json.dumps(asdict(report(7))))["number"] == 7


def test_reports_fit_the_study_that_is_read(tmp_path, make, stored) -> None:
    folder = make.shuffled(make.series(stored, SeriesDescription="art"), tmp_path / "dicom")
    study = read_study(folder)
    save_case(tmp_path / "case", study)
    (dicom,) = inspect(folder)
    (case,) = inspect(tmp_path / "case")
    image = study.phases[Phase.ARTERIAL]
    for found in (dicom, case):
        assert (found.phase, found.used) == (Phase.ARTERIAL, True)
        assert found.shape == image.volume.shape
        np.testing.assert_allclose(found.spacing_mm, image.volume.spacing, rtol=1e-4)
        assert (found.confidence, found.evidence) == (image.confidence, image.evidence)
