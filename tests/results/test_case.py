"""One case of a cohort: done whole or not at all, skipped when done, and told when it fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from liverleaf.cohort.study_index import FoundStudy, Source
from liverleaf.findings import Findings
from liverleaf.results import case as case_module
from liverleaf.results.case import (
    RECORDS,
    CaseTask,
    analysis_by_model,
    do_case,
    fingerprint_of_case,
    fingerprint_of_study,
    finished_cases,
    lost_case,
    read_record,
    records,
)
from liverleaf.storage.case_folder import save_case
from liverleaf.study import InputError, Study
from liverleaf.system.workers import workers


@pytest.fixture
def task(tiny_case: Callable, work: Callable, tmp_path: Path) -> CaseTask:
    """The task of one case folder."""
    study, _ = tiny_case(3)
    save_case(tmp_path / "cohort/case-03", replace(study, subject_id="subject-3"))
    (tmp_path / "out" / RECORDS).mkdir(parents=True)
    folder = tmp_path / "cohort/case-03"
    return CaseTask(
        "case-03", "subject-3", folder, tmp_path / "out", work, fingerprint_of_case(folder)
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_case_is_done_once(task: CaseTask) -> None:
    assert not task.finished
    assert do_case(task).failed_at is None
    assert task.finished
    ((result, *others),) = [list(finished_cases(task.out))]
    assert not others
    assert (result.case, result.subject, result.has_seg) == ("case-03", "subject-3", False)
    assert result.findings.study.case_id == "case-03"
    assert names(task.out) == {RECORDS, "case-03"}


def test_a_case_that_has_changed_is_done_again(task: CaseTask, tiny_case: Callable) -> None:
    do_case(task)
    (task.folder / "old").touch()
    changed = replace(task, fingerprint="other")
    assert not changed.finished
    do_case(changed)
    assert changed.finished and not task.finished
    assert not (task.folder / "old").exists()


def test_a_failure_is_told_and_leaves_nothing(task: CaseTask) -> None:
    (Path(str(task.source)) / "portal.nii.gz").unlink()
    record = do_case(task)
    assert record.failed_at == "reading"
    assert record.reason == "portal.nii.gz is missing: the case folder is incomplete"
    assert read_record(task.out, "case-03") == record
    assert not task.folder.exists() and not task.finished
    assert not list(finished_cases(task.out))


def after_reading(read: Callable[[], Study], out: Path) -> Findings:
    read()
    raise KeyError("Mustermann^Erika")


def test_a_failure_after_reading_is_one_of_the_analysis_and_quotes_nothing(task: CaseTask) -> None:
    record = do_case(replace(task, work=after_reading))
    assert record.failed_at == "analysis"
    assert record.reason == "analysing it failed unexpectedly (KeyError)"


def test_what_fails_at_first_can_succeed_later(task: CaseTask) -> None:
    do_case(replace(task, work=after_reading))
    do_case(task)
    assert task.finished
    assert [record.failed_at for record in records(task.out)] == [None]


def test_a_refused_study_is_not_read(task: CaseTask) -> None:
    record = do_case(replace(task, refused="no CT or MR image"))
    assert (record.failed_at, record.reason) == ("reading", "no CT or MR image")


def test_reasons_do_not_name_the_files_of_a_study(task: CaseTask, tmp_path: Path) -> None:
    file = tmp_path / "Mustermann_Erika.nii.gz"
    file.write_bytes(b"no NIfTI")
    found = FoundStudy("case-03", "subject-3", (Source(str(file)),))
    record = do_case(replace(task, source=found))
    assert record.failed_at == "reading" and record.reason
    assert "ustermann" not in record.reason


def dies_with(read: Callable[[], Study], out: Path) -> Findings:
    """Ends its process as the system does for want of memory."""
    read()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_case_that_takes_its_process_along_is_told_and_the_rest_goes_on(
    task: CaseTask, tiny_case: Callable, tmp_path: Path
) -> None:
    tasks = [replace(task, work=dies_with)]
    for number in (4, 5):
        folder = tmp_path / f"cohort/case-0{number}"
        save_case(folder, tiny_case(number)[0])
        tasks.append(replace(task, case=folder.name, source=folder))
    with workers(do_case, lost_case, jobs=1, apart=True) as run:
        done = {record.case: record.failed_at for record in run(tasks)}
    assert done == {"case-03": "analysis", "case-04": None, "case-05": None}
    assert "died" in read_record(task.out, "case-03").reason
    assert {result.case for result in finished_cases(task.out)} == {"case-04", "case-05"}


def test_a_case_killed_after_its_folder_appeared_is_finished(task: CaseTask) -> None:
    do_case(task)  # the record was written before the folder
    assert read_record(task.out, "case-03").failed_at is None
    assert task.finished


def test_a_model_is_loaded_once_for_many_cases(
    task: CaseTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    monkeypatch.setattr(
        "liverleaf.models.predictor.load_predictor",
        lambda folder, device: loaded.append((folder, device)) or len(loaded),
    )
    case_module._model_of_thread.cache_clear()

    def asks(
        read: Callable[[], Study],
        out: Path,
        *,
        model: str,
        device: str,
        keep_maps: bool,
        load: Callable,
    ):
        assert not keep_maps
        return load(Path(model), device)

    monkeypatch.setattr(case_module, "analyze_study", asks)
    work = analysis_by_model("one", "cpu")
    assert [work(task.read, task.folder) for _ in range(3)] == [1, 1, 1]
    assert analysis_by_model("two", "cpu")(task.read, task.folder) == 2
    assert loaded == [(Path("one"), "cpu"), (Path("two"), "cpu")]
    case_module._model_of_thread.cache_clear()


def test_fingerprints_change_with_what_they_are_of(task: CaseTask) -> None:
    folder = Path(str(task.source))
    before = fingerprint_of_case(folder)
    assert before == fingerprint_of_case(folder)
    with (folder / "case.json").open("a") as stream:
        stream.write("\n")
    text_changed = fingerprint_of_case(folder)
    (folder / "portal.nii.gz").write_bytes(b"")
    assert len({before, text_changed, fingerprint_of_case(folder)}) == 3
    one = FoundStudy("case-a", "s", (Source("a", None, "image-1", 10),))
    two = replace(one, sources=(*one.sources, Source("b", None, "image-2", 10)))
    moved = replace(one, sources=(Source("elsewhere", None, "image-1", 10),))
    assert fingerprint_of_study(one, ()) == fingerprint_of_study(moved, ())
    assert fingerprint_of_study(one, ()) != fingerprint_of_study(two, ())


def test_a_damaged_record_is_no_record(task: CaseTask) -> None:
    do_case(task)
    (task.out / RECORDS / "case-03.json").write_text("{")
    assert read_record(task.out, "case-03") is None
    assert not task.finished


def test_case_of_another_modality_than_said_is_refused(task: CaseTask) -> None:
    from liverleaf.study import Modality

    with pytest.raises(InputError, match="CT"):
        replace(task, modality=Modality.MR).read()
