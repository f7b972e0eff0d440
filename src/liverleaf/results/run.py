"""A whole cohort, or a folder of studies, analysed into one folder of results.

Cases are done by several processes. A case that fails does not stop the others, and a run that was
stopped is continued by the next.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from liverleaf.cohort.index import case_folders
from liverleaf.cohort.own_studies import Naming, Tables, find_studies
from liverleaf.cohort.provenance import note_unused_files
from liverleaf.cohort.study_index import StudyIndex
from liverleaf.models.checkpoint import load_card, weights_hash
from liverleaf.models.predictor import chosen_device
from liverleaf.models.processes import network_workers
from liverleaf.models.shipped import DEFAULT_MODELS, find_model
from liverleaf.results.case import (
    RECORDS,
    CaseRecord,
    CaseTask,
    CaseWork,
    analysis_by_model,
    do_case,
    fingerprint_of_case,
    fingerprint_of_study,
    forget_unfinished,
    lost_case,
)
from liverleaf.results.overview import OVERVIEW_FILES, write_overview
from liverleaf.storage.case_folder import CASE_FILE, read_case_record
from liverleaf.study import InputError, Modality
from liverleaf.system.files import SettingsError, check_own_folder, own_folder
from liverleaf.system.progress import Progress, silent

logger = logging.getLogger(__name__)

RESULTS_FILE = "results.json"
"""What the results were made with, so that they are only continued in that way."""

FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MADE_BY = "liverleaf analyze"


@dataclass(frozen=True)
class ResultsSummary:
    """What became of the cases of one run.

    Attributes:
        found: how many there are.
        analysed: how many of them have their folder now.
        kept: how many of those an earlier run had analysed.
        failed: pseudonym and reason of each other.
        with_seg: number of cases in the folder with a DICOM SEG.
        places: the private list of the folder of each study; None where case folders were given.
    """

    found: int
    analysed: int
    kept: int
    failed: dict[str, str] = field(default_factory=dict)
    with_seg: int = 0
    places: Path | None = None


def analyze_cohort(
    source: Path,
    out: Path,
    *,
    model: str | None = None,
    device: str = "auto",
    phases: Path | None = None,
    modality: Modality | None = None,
    keep_maps: bool = False,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: Progress = silent,
) -> ResultsSummary:
    """Let a model find the lesions of every study of a cohort, and put them into tables.

    Args:
        source: a folder of case folders, or a folder of studies as `liverleaf ingest` finds them.
        out: a new or empty folder, or one that this function has begun with the same cohort and
            model; docs/cohort-results.md describes what it holds.
        model: name of a shipped model or folder of a trained one; None for each modality's default.
        device: "auto", "cpu" or "cuda".
        phases: CSV table of the phases of series, as for `liverleaf ingest`; for studies only.
        modality: what the NIfTI files of studies are, which do not tell.
        keep_maps: also write the maps of types, for models that make them.
        jobs: number of processes; each loads a model once.
        scheduler: address of a Dask scheduler whose workers see the same files; used instead of
            processes here.
        progress: called with (what, done, total).

    Raises:
        InputError: there is no such cohort, model, device or scheduler, no case could be analysed,
            or `out` holds other things or the results of another cohort or model.
    """
    _check_places(source, out)
    folders = case_folders(source)
    naming = None if folders else Naming.beside(out)
    settings = _settings(source, naming, _models(model), modality) | {"keep_maps": keep_maps}
    _check(out, settings)
    if scheduler is None:  # Dask's workers have devices of their own
        chosen_device(device)
    with ExitStack() as stack:
        run = stack.enter_context(
            network_workers(
                do_case, lost_case, jobs=jobs, apart=True, device=device, scheduler=scheduler
            )
        )
        work = analysis_by_model(model, device, keep_maps=keep_maps)
        make = _Tasks(out.resolve(), work, modality)
        if naming is None:
            tasks, total = make.of_cases(folders, phases), len(folders)
        else:
            index = stack.enter_context(_index())
            tables = find_studies([source], index, naming, phases=phases, progress=progress)
            note_unused_files(index.ignored_files(), naming.files)
            tasks, total = make.of_studies(index, tables), len(index)
        own_folder(out, settings, file=RESULTS_FILE, contents=_is_ours)
        (out / RECORDS).mkdir(exist_ok=True)
        forget_unfinished(out)
        try:
            summary = _do_all(tasks, total, run, progress)
        finally:
            progress("writing tables and pages", 0, 0)
            flow = write_overview(out, cohort=source, total=total)
    places = naming.places if naming else None
    return _check_any_analysed(replace(summary, with_seg=flow.with_seg, places=places))


@dataclass(frozen=True)
class _Tasks:
    """What all tasks of a run have in common."""

    out: Path
    work: CaseWork
    modality: Modality | None

    def of_cases(self, folders: Sequence[Path], phases: Path | None) -> Iterator[CaseTask]:
        """One task for each case folder; a broken one, or one that cannot be named, is refused.

        Raises:
            InputError: there is a table of phases, which case folders have no use for.
        """
        if phases is not None:
            raise InputError(
                "these are case folders, whose case.json names the phases: correct it there, and"
                " leave --phases out"
            )
        return self._of_cases(folders)

    def _of_cases(self, folders: Sequence[Path]) -> Iterator[CaseTask]:
        known: dict[str, str] = {}
        for folder in folders:
            case, subject, refused = _named(folder, known)
            known[case] = folder.name
            yield CaseTask(
                case,
                subject,
                folder.resolve(),
                self.out,
                self.work,
                fingerprint_of_case(folder),
                modality=self.modality,
                refused=refused,
            )

    def of_studies(self, index: StudyIndex, tables: Tables) -> Iterator[CaseTask]:
        """One task for each study that was found."""
        for study in index:
            rows = tables.get(study.case_id, ())
            yield CaseTask(
                study.case_id,
                study.subject_id,
                study,
                self.out,
                self.work,
                fingerprint_of_study(study, rows),
                rows,
                self.modality,
                study.refused,
            )


def _named(folder: Path, known: Mapping[str, str]) -> tuple[str, str, str]:
    """The names of case and subject of a case folder, and why it cannot be used, or "".

    Args:
        folder: the case folder.
        known: the case folders so far, by the name of their case.
    """
    number = f"case-folder-{len(known) + 1}"
    try:
        record = read_case_record(folder)
    except InputError as error:
        return number, number, str(error).replace(f"{folder}/", "").replace(folder.name, number)
    except OSError:
        return number, number, f"its {CASE_FILE} may not be read"
    case, refused = record.case_id, ""
    if not FOLDER_NAME.fullmatch(case) or case in OVERVIEW_FILES:
        refused = "can be no name of a folder: use letters, digits, dots and hyphens"
    elif case in known:
        refused = f"is that of another case folder too ({case}): give each its own"
    if refused:
        return number, record.subject_id, f"its case_id in {CASE_FILE} {refused}"
    return case, record.subject_id, ""


@contextmanager
def _index() -> Iterator[StudyIndex]:
    """An index of studies on disk for as long as the block lasts."""
    with TemporaryDirectory() as scratch, closing(StudyIndex(Path(scratch) / "index.sqlite")) as it:
        yield it


def _check_places(source: Path, out: Path) -> None:
    if not source.is_dir():
        raise InputError(f"{source} is not a folder: give a cohort or a folder of studies")
    if out.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{out} lies inside {source}: choose another folder for the results")


def _models(model: str | None) -> dict[str, str]:
    """The hash of the weights of each model that may be asked, by its name.

    Raises:
        InputError: there is no such model.
    """
    folders = [find_model(name) for name in ([model] if model else DEFAULT_MODELS.values())]
    return {load_card(folder).name: weights_hash(folder) for folder in folders}


def _settings(
    source: Path, naming: Naming | None, models: Mapping[str, str], modality: Modality | None
) -> dict[str, Any]:
    """What the results depend on, without a path: the cohort is a hash."""
    owner = f"{naming.pseudonyms.check if naming else ''} {source.resolve()}"
    return {
        "made_by": MADE_BY,
        "cohort": hashlib.sha256(owner.encode(errors="surrogatepass")).hexdigest()[:16],
        "models": dict(models),
        "modality": modality,
    }


def _check(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder of other things, or of another cohort's or model's results."""
    try:
        check_own_folder(out, settings, file=RESULTS_FILE, contents=_is_ours)
    except SettingsError as error:
        other = " and ".join(
            {"models": "model", "made_by": "command"}.get(name, name) for name in error.names
        )
        raise InputError(
            f"{out} holds the results of another {other}, and results are not mixed: choose a new"
            " folder"
        ) from error


def _is_ours(name: str) -> bool:
    return name == RECORDS or name in OVERVIEW_FILES or bool(FOLDER_NAME.fullmatch(name))


def _do_all(
    tasks: Iterable[CaseTask],
    total: int,
    run: Callable[[Iterable[CaseTask]], Iterator[CaseRecord]],
    progress: Progress,
) -> ResultsSummary:
    """Do the cases that are not finished."""
    kept, analysed, failed = 0, 0, dict[str, str]()

    def to_do() -> Iterator[CaseTask]:
        nonlocal kept
        for task in tasks:
            if task.finished:
                kept += 1
            else:
                yield task

    progress("analysing cases", 0, total)
    for record in run(to_do()):
        if record.failed_at is None:
            analysed += 1
            logger.info("%s analysed", record.case)
        else:
            failed[record.case] = record.reason
            logger.info("%s failed: %s", record.case, record.reason)
        progress("analysing cases", kept + analysed + len(failed), total)
    logger.info("%d analysed, %d kept from before, %d failed", analysed, kept, len(failed))
    return ResultsSummary(total, kept + analysed, kept, failed)


def _check_any_analysed(summary: ResultsSummary) -> ResultsSummary:
    """The same summary, unless not one case has results now."""
    if summary.analysed:
        return summary
    reasons = Counter(summary.failed.values()).most_common(3)
    told = "; ".join(f"{times} x {reason}" for reason, times in reasons)
    raise InputError(f"no study could be analysed ({told})")
