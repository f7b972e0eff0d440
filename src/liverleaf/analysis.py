"""The main job: the path of one study in, a finished folder of findings, masks, DICOM and a page out."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from liverleaf.export.dicom_seg import write_seg
from liverleaf.export.html.page import write_report
from liverleaf.findings import Findings, Provenance
from liverleaf.ingest.reader import read_phase_table, read_study
from liverleaf.measure.findings import measure
from liverleaf.models import checkpoint
from liverleaf.models.predictor import Predictor, load_predictor
from liverleaf.models.shipped import default_model, find_model
from liverleaf.registration.align import register_phases
from liverleaf.registration.quality import judged
from liverleaf.segmentation import Segmentation
from liverleaf.storage.volumes import save_volume
from liverleaf.study import InputError, Study
from liverleaf.system import provenance
from liverleaf.system.files import check_writable, new_directory, replaced_directory
from liverleaf.system.memory import forget_peak, resident_mb
from liverleaf.system.progress import silent

Progress = Callable[[str, int, int], None]
SEG_FILE = "seg.dcm"
WRITTEN = frozenset(
    {"findings.json", "lesions.nii.gz", "liver.nii.gz", SEG_FILE, "report.html", "figures"}
)
"""All that a finished folder may hold."""


@dataclass
class Stages:
    """Seconds and peak memory per stage of a run, filled in as it goes.

    Attributes:
        progress: told of each stage as it begins.
        seconds: wall-clock per finished stage.
        memory_mb: largest resident memory within each finished stage; empty where the system cannot
            tell.
    """

    progress: Progress | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a block."""
        if self.progress:
            self.progress(name, 0, 0)
        measurable = forget_peak()
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        if measurable:
            self.memory_mb[name] = resident_mb("VmHWM")

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
    model: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    phases: Path | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Read a study, find and measure its lesions, and write the folder that `docs/findings.md` describes.

    Args:
        source: DICOM folder or zip, NIfTI folder or file, or case folder.
        out: the folder to write; it appears whole or not at all.
        model: name of a shipped model or folder of a trained one; None for the one that ships for
            studies of this species, body part and modality.
        device: "auto", "cpu" or "cuda".
        overwrite: replace a folder that an earlier analysis wrote.
        phases: CSV table in which a person says which series is which phase, see
            `liverleaf.ingest.reader.read_phase_table`.
        progress: called with (what, done, total); a total of 0 means that nobody knows.

    Raises:
        InputError: the input cannot be read, or the folder exists.
    """
    replacing = _check_place(out, overwrite=overwrite)
    table = read_phase_table(phases) if phases else ()
    stages = Stages(progress)
    with stages.stage("reading"):
        study = read_study(source, table=table)
    with stages.stage("loading the model"):
        predictor = load_predictor(find_model(model or default_model(study)), device=device)
    with stages.stage("registering"):
        registration = register_phases(study)
        study = registration.study
    with stages.stage("predicting"):
        prediction = predictor(study, progress=progress or silent)
    segmentation = prediction.segmentation
    stages.seconds["network"] = predictor.network_seconds
    stages.seconds["predicting"] -= predictor.network_seconds
    with stages.stage("measuring"):
        if segmentation is not None and segmentation.liver is not None:
            study = judged(registration, segmentation.liver)
        findings = measure(study, segmentation, prediction)
    with replaced_directory(out) if replacing else new_directory(out) as folder:
        with stages.stage("writing masks"):
            if segmentation is not None:
                _write_masks(folder, segmentation)
                if study.phases[study.reference].headers:
                    findings = _write_dicom(folder, study, segmentation, findings)
        origin = _origin(predictor)
        with stages.stage("writing the report"):
            findings = findings.model_copy(
                update={"provenance": Provenance(**origin, **stages.so_far())}
            )
            write_report(
                folder / "report.html", study=study, segmentation=segmentation, findings=findings
            )
        findings = findings.model_copy(
            update={"provenance": Provenance(**origin, **stages.so_far())}
        )
        (folder / "findings.json").write_text(findings.to_json(), encoding="utf-8")
    return findings


def _check_place(out: Path, *, overwrite: bool) -> bool:
    """Whether an earlier analysis is to be replaced; raises before the work begins where nothing can be written."""
    if not out.exists():
        check_writable(out)
        return False
    if not overwrite:
        raise InputError(
            f"{out} exists already: remove it, choose another folder, or add --overwrite"
        )
    if not (out / "findings.json").is_file():
        raise InputError(
            f"{out} was not written by liverleaf (it has no findings.json) and is left alone:"
            " choose another folder"
        )
    foreign = sorted(path.name for path in out.iterdir() if path.name not in WRITTEN)
    if foreign:
        raise InputError(
            f"{out} also holds things that liverleaf did not write ({', '.join(foreign[:3])}): move"
            " them away first"
        )
    return True


def _write_masks(folder: Path, segmentation: Segmentation) -> None:
    labels = segmentation.lesions.array
    labels = labels.astype(np.uint8 if labels.max() < 256 else np.uint16)
    save_volume(folder / "lesions.nii.gz", segmentation.lesions.with_array(labels))
    if segmentation.liver is not None:
        liver = segmentation.liver.array.astype(np.uint8)
        save_volume(folder / "liver.nii.gz", segmentation.liver.with_array(liver))


def _write_dicom(
    folder: Path, study: Study, segmentation: Segmentation, findings: Findings
) -> Findings:
    """Write the DICOM SEG; where the input's headers allow none, say so instead of failing."""
    try:
        write_seg(folder / SEG_FILE, study=study, segmentation=segmentation)
    except InputError as error:
        return findings.model_copy(
            update={"warnings": (*findings.warnings, f"no DICOM SEG was written: {error}")}
        )
    return findings


def _origin(predictor: Predictor) -> dict[str, Any]:
    """What `Provenance` says of the code and the weights."""
    return {
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "weights_sha256": checkpoint.weights_hash(predictor.directory),
    }
