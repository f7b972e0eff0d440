"""The main job: a study is read, outlined, measured, and written as one folder.

The outlines are a model's (`analyze`) or anybody's (`measure_masks`); all else is the same.
"""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import highdicom as hd
import numpy as np

from liverleaf.export.dicom_seg import seg_warnings, write_seg
from liverleaf.export.html.page import write_report
from liverleaf.findings import Findings, Provenance
from liverleaf.given_masks import GivenMasks, LaidMasks, LiverFrom, checked, lay, read_given
from liverleaf.ingest.masks.reader import DrawnStudy, Instances
from liverleaf.ingest.reader import read_phase_table, read_study
from liverleaf.measure.findings import measure
from liverleaf.measure.plausibility import TrainedOn, trained_on
from liverleaf.prediction import Prediction
from liverleaf.registration.align import Registration, register_phases
from liverleaf.registration.quality import assess_alignment, fit_phases
from liverleaf.registration.travel import places
from liverleaf.segmentation import MANUAL_SOURCE, Segmentation
from liverleaf.storage.volumes import save_volume
from liverleaf.study import InputError, Modality, Phase, Study
from liverleaf.system import provenance
from liverleaf.system.files import check_writable, new_directory, replaced_directory
from liverleaf.system.memory import forget_peak, resident_mb
from liverleaf.system.progress import Progress, silent
from liverleaf.terminology import LesionType

if TYPE_CHECKING:
    from liverleaf.models.predictor import Predictor

FINDINGS_FILE, REPORT_FILE, SEG_FILE = "findings.json", "report.html", "seg.dcm"
LESIONS_FILE, LIVER_FILE = "lesions.nii.gz", "liver.nii.gz"
FIGURES_FOLDER, MAPS_FOLDER = "figures", "maps"
OUTPUT_NAMES = frozenset(
    {FINDINGS_FILE, REPORT_FILE, SEG_FILE, LESIONS_FILE, LIVER_FILE, FIGURES_FOLDER, MAPS_FOLDER}
)
"""All that a finished folder may hold."""

logger = logging.getLogger(__name__)


@dataclass
class Stages:
    """Seconds and peak memory per stage of a run, filled in as it goes.

    A stage that runs twice counts once, with the seconds of both.

    Attributes:
        progress: told of each stage as it begins.
        seconds: wall-clock per finished stage.
        memory_mb: largest resident memory within each finished stage; empty where the system cannot
            tell.
    """

    progress: Progress = silent
    seconds: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a block."""
        self.progress(name, 0, 0)
        measurable = forget_peak()
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        logger.info("%s took %.1f s", name, seconds)
        if measurable:
            self.memory_mb[name] = max(resident_mb("VmHWM"), self.memory_mb.get(name, 0.0))

    def so_far(self) -> dict[str, Any]:
        """What `Provenance` says of a run's cost, up to now."""
        peak = (
            max(self.memory_mb.values(), default=None)
            or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        )
        return {
            "seconds": dict(self.seconds),
            "memory_mb": dict(self.memory_mb),
            "peak_memory_mb": peak,
        }


def analyze(
    source: Path,
    out: Path,
    *,
    masks: GivenMasks | None = None,
    model: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    phases: Path | None = None,
    modality: Modality | None = None,
    keep_maps: bool = False,
    progress: Progress = silent,
) -> Findings:
    """Let a model find the lesions of one study, or type those that are given, and measure them.

    Args:
        source: DICOM folder or zip, NIfTI folder or file, or case folder.
        out: the folder to write, as docs/findings.md describes it; it appears whole or not at all.
        masks: lesions that somebody drew, for the model to type; None for those that it finds.
        model: name of a shipped model or folder of a trained one; None for the modality's default.
        device: "auto", "cpu" or "cuda".
        overwrite: replace a folder that an earlier analysis wrote.
        phases: CSV table in which a person says which series is which phase, see
            `liverleaf.ingest.reader.read_phase_table`.
        modality: what NIfTI files are, which do not tell; None to go by their intensities.
        keep_maps: also write `maps/TYPE.nii.gz`, the probability of each type at each voxel.
        progress: called with (what, done, total); a total of 0 means that nobody knows.

    Raises:
        InputError: the input cannot be read, the folder exists, or the model has no maps to keep.
    """
    table = read_phase_table(phases) if phases else ()
    return analyze_study(
        lambda: read_study(source, table=table, modality=modality),
        out,
        masks=masks,
        model=model,
        device=device,
        overwrite=overwrite,
        keep_maps=keep_maps,
        progress=progress,
    )


def analyze_study(
    read: Callable[[], Study],
    out: Path,
    *,
    masks: GivenMasks | None = None,
    model: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    keep_maps: bool = False,
    load: Callable[[Path, str], Predictor] | None = None,
    progress: Progress = silent,
) -> Findings:
    """As `analyze`, of a study from anywhere.

    Args:
        read: reads it.
        out: as in `analyze`.
        masks: as in `analyze`.
        model: as in `analyze`.
        device: as in `analyze`.
        overwrite: as in `analyze`.
        keep_maps: as in `analyze`.
        load: gives the ready model of a folder on a device, for instance one that it keeps for the
            next study; it is loaded anew by default.
        progress: as in `analyze`.

    Raises:
        InputError: as `analyze`.
    """
    # here, because measuring masks needs no torch, which takes a second to import
    from liverleaf.models.checkpoint import weights_hash
    from liverleaf.models.family import Output
    from liverleaf.models.predictor import load_predictor, predict_from_fit_phases
    from liverleaf.models.shipped import default_model, find_model

    replacing = _check_out(out, overwrite=overwrite)
    stages = Stages(progress)
    with stages.stage("reading"):
        study = read()
    with stages.stage("loading the model"):
        folder = find_model(model or default_model(study))
        predictor = load(folder, device) if load else load_predictor(folder, device=device)
        if keep_maps and (masks or Output.TYPE_MAP not in predictor.card.outputs):
            raise InputError(
                f"the model {predictor.card.name} makes no maps of types"
                f"{' of given lesions' if masks else ''}: leave out --keep-maps, or choose another"
                " model"
            )
    drawn = None if masks is None else _read_masks(study, masks, stages)
    with stages.stage("registering"):
        registration = register_phases(study)
    weights = weights_hash(predictor.directory)
    trained = trained_on(predictor.card.name, predictor.card.training)
    if drawn is not None and masks is not None:
        laid = _lay(drawn, masks, registration, stages, predictor)
        seen, unfit = fit_phases(laid.study, predictor.card.input_config.phases)
        with stages.stage("predicting"):
            said = predictor.of_given(seen, laid.segmentation, progress=progress)
        measured = _measure(
            registration, laid.study, laid.segmentation, said, stages, frozenset(unfit), trained
        )
        return _write(out, measured, stages, weights_sha256=weights, replacing=replacing)

    def assess(liver: hd.Volume | None) -> Study:
        with stages.stage("checking the alignment"):
            return assess_alignment(registration, within=liver)

    prediction, left_out, assessed = predict_from_fit_phases(
        predictor,
        registration,
        ask=lambda study: _ask(predictor, study, stages),
        assess=assess,
    )
    segmentation = prediction.segmentation
    if assessed is None:
        assessed = assess(None if segmentation is None else segmentation.liver)
    measured = _measure(registration, assessed, segmentation, prediction, stages, left_out, trained)
    maps = prediction.type_maps if keep_maps else None
    return _write(
        out, measured, stages, weights_sha256=weights, type_maps=maps, replacing=replacing
    )


def measure_masks(
    source: Path,
    out: Path,
    *,
    lesions: Path | None = None,
    liver: Path | None = None,
    drawn_by: str = MANUAL_SOURCE,
    drawn_on: Phase | None = None,
    instances: Instances | None = None,
    liver_from: LiverFrom = "network",
    lesions_from: Literal["totalsegmentator"] | None = None,
    overwrite: bool = False,
    phases: Path | None = None,
    modality: Modality | None = None,
    progress: Progress = silent,
) -> Findings:
    """Measure masks of one study that a person or another program drew.

    Args:
        source: DICOM folder or zip, NIfTI folder or file, or case folder.
        out: the folder to write, the same as that of `analyze`.
        lesions: as all that follow up to `lesions_from`, see `GivenMasks`.
        liver: of the liver. Where there is none and no model fits, lesions are not compared with
            the liver, and a warning says so.
        drawn_by: who drew the masks.
        drawn_on: the phase that they were drawn on.
        instances: whether labels are lesions, or connected parts are.
        liver_from: who outlines a liver that is not given.
        lesions_from: the program that finds lesions that are not given.
        overwrite: replace a folder that an earlier analysis wrote.
        phases: as in `analyze`.
        modality: as in `analyze`.
        progress: called with (what, done, total); a total of 0 means that nobody knows.

    Raises:
        InputError: the input or a mask cannot be read, nothing tells on which phase it was drawn,
            or the folder exists.
    """
    masks = GivenMasks(lesions, liver, drawn_by, drawn_on, instances, liver_from, lesions_from)
    replacing = _check_out(out, overwrite=overwrite)
    stages = Stages(progress)
    study = _read(source, phases, modality, stages)
    drawn = _read_masks(study, masks, stages)
    with stages.stage("registering"):
        registration = register_phases(study)
    laid = _lay(drawn, masks, registration, stages)
    measured = _measure(registration, laid.study, laid.segmentation, None, stages)
    return _write(out, measured, stages, replacing=replacing)


def _read_masks(study: Study, masks: GivenMasks, stages: Stages) -> DrawnStudy:
    with stages.stage("reading masks"):
        return read_given(study, masks)


def _lay(
    drawn: DrawnStudy,
    masks: GivenMasks,
    registration: Registration,
    stages: Stages,
    predictor: Predictor | None = None,
) -> LaidMasks:
    """Masks on the reference grid, and the study whose alignment was checked inside the liver."""
    with stages.stage("laying masks"):
        laid = lay(drawn, masks, registration, predictor)
    with stages.stage("checking the alignment"):
        return checked(drawn, laid, registration)


def _check_out(out: Path, *, overwrite: bool) -> bool:
    """Whether an earlier analysis is to be replaced.

    Raises:
        InputError: nothing can be written there; said before the work begins.
    """
    if not out.exists():
        check_writable(out)
        return False
    if not overwrite:
        raise InputError(
            f"{out} exists already: remove it, choose another folder, or add --overwrite"
        )
    if not (out / FINDINGS_FILE).is_file():
        raise InputError(
            f"{out} was not written by liverleaf (it has no {FINDINGS_FILE}) and is left alone:"
            " choose another folder"
        )
    foreign = sorted(path.name for path in out.iterdir() if path.name not in OUTPUT_NAMES)
    if foreign:
        raise InputError(
            f"{out} also holds things that liverleaf did not write ({', '.join(foreign[:3])}): move"
            " them away first"
        )
    return True


def _read(source: Path, phases: Path | None, modality: Modality | None, stages: Stages) -> Study:
    table = read_phase_table(phases) if phases else ()
    with stages.stage("reading"):
        return read_study(source, table=table, modality=modality)


def _ask(predictor: Predictor, study: Study, stages: Stages) -> Prediction:
    """What the model says of a study; the network's own seconds are counted apart."""
    with stages.stage("predicting"):
        prediction = predictor(study, progress=stages.progress)
    stages.seconds["predicting"] -= predictor.network_seconds
    stages.seconds["network"] = stages.seconds.get("network", 0.0) + predictor.network_seconds
    return prediction


@dataclass(frozen=True)
class _Measured:
    """A study on one grid, the masks in it, and what was found under them."""

    study: Study
    segmentation: Segmentation | None
    findings: Findings


def _measure(
    registration: Registration,
    study: Study,
    segmentation: Segmentation | None,
    prediction: Prediction | None,
    stages: Stages,
    left_out: frozenset[Phase] = frozenset(),
    trained: TrainedOn | None = None,
) -> _Measured:
    """What is measured under masks, once the alignment was assessed inside their liver."""
    with stages.stage("measuring"):
        lies = {} if segmentation is None else places(registration, study, segmentation.lesions)
        findings = measure(
            study, segmentation, prediction, left_out=left_out, trained_on=trained, places=lies
        )
    return _Measured(study, segmentation, findings)


def _write(
    out: Path,
    measured: _Measured,
    stages: Stages,
    *,
    weights_sha256: str | None = None,
    type_maps: Mapping[LesionType, hd.Volume] | None = None,
    replacing: bool,
) -> Findings:
    """Write the folder, whole or not at all, and return the findings as they stand in it."""
    study, segmentation, findings = measured.study, measured.segmentation, measured.findings
    origin = {
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "weights_sha256": weights_sha256,
    }
    with replaced_directory(out) if replacing else new_directory(out) as folder:
        with stages.stage("writing masks"):
            if segmentation is not None:
                _write_masks(folder, study, segmentation)
                findings = _write_dicom(folder, study, segmentation, findings, weights_sha256)
            if type_maps is not None:
                _write_maps(folder / MAPS_FOLDER, study, type_maps)
        with stages.stage("writing the report"):
            findings = _with_provenance(findings, origin, stages)  # the page shows it
            write_report(
                folder / REPORT_FILE, study=study, segmentation=segmentation, findings=findings
            )
        findings = _with_provenance(findings, origin, stages)  # and now with the report's own cost
        (folder / FINDINGS_FILE).write_text(findings.to_json(), encoding="utf-8")
    return findings


def _with_provenance(findings: Findings, origin: dict[str, Any], stages: Stages) -> Findings:
    return findings.model_copy(update={"provenance": Provenance(**origin, **stages.so_far())})


def _write_masks(folder: Path, study: Study, segmentation: Segmentation) -> None:
    """Write the masks index by index as the input's own file, where that was NIfTI."""
    file_grid = study.phases[study.reference].file_grid
    labels = segmentation.lesions.array
    labels = labels.astype(np.uint8 if labels.max() < 256 else np.uint16)
    lesions = segmentation.lesions.with_array(labels)
    save_volume(folder / LESIONS_FILE, lesions, file_grid=file_grid)
    if segmentation.liver is not None:
        liver = segmentation.liver.with_array(segmentation.liver.array.astype(np.uint8))
        save_volume(folder / LIVER_FILE, liver, file_grid=file_grid)


def _write_maps(folder: Path, study: Study, type_maps: Mapping[LesionType, hd.Volume]) -> None:
    """Write a map per type, index by index as the masks; to a thousandth, which compresses well."""
    folder.mkdir()
    file_grid = study.phases[study.reference].file_grid
    for lesion_type, volume in type_maps.items():
        rounded = volume.with_array(np.round(volume.array, 3).astype(np.float32))
        save_volume(folder / f"{lesion_type.key}.nii.gz", rounded, file_grid=file_grid)


def _write_dicom(
    folder: Path,
    study: Study,
    segmentation: Segmentation,
    findings: Findings,
    weights_sha256: str | None,
) -> Findings:
    """Write the DICOM SEG; where the input's headers allow none, or less, the findings say so."""
    if not study.phases[study.reference].headers:  # the input was no DICOM
        return findings
    try:
        write_seg(
            folder / SEG_FILE,
            study=study,
            segmentation=segmentation,
            weights_sha256=weights_sha256,
        )
        told = seg_warnings(study)
    except InputError as error:
        told = (f"No DICOM SEG was written: {error}",)
    return findings.model_copy(update={"warnings": (*findings.warnings, *told)})
