"""The main job: the path of one study in, a finished folder of findings, masks, DICOM and a page out."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hepatica import checkpoint
from hepatica.cohort import PARTIAL, new_directory
from hepatica.dicomout.seg import write_seg
from hepatica.findings import Findings, Provenance
from hepatica.ingest import read_phase_table, read_study
from hepatica.measurement import measure
from hepatica.memory import forget_peak, resident_mb
from hepatica.predict import Predictor
from hepatica.registration import register_phases
from hepatica.registration.quality import judged
from hepatica.report import write_report
from hepatica.study import InputError, Prediction, Study
from hepatica.volume_files import save_volume

Progress = Callable[[str, int, int], None]
SEG_FILE = "seg.dcm"
WRITTEN = frozenset({"findings.json", "lesions.nii.gz", "liver.nii.gz", SEG_FILE, "report.html", "figures"})
"""All that a finished folder may hold."""


@dataclass
class Stages:
    """Seconds and peak memory per stage of a run, filled in as it goes.

    Attributes:
        progress: told of each stage as it begins.
        seconds: wall-clock per finished stage.
        memory_mb: largest resident memory within each finished stage; empty where the system cannot tell.
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
        peak = max(self.memory_mb.values(), default=None) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"seconds": dict(self.seconds), "memory_mb": dict(self.memory_mb), "peak_memory_mb": peak}


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
        model: name of a shipped model or folder of a trained one; None for the modality's default.
        device: "auto", "cpu" or "cuda".
        overwrite: replace a folder that an earlier analysis wrote.
        phases: CSV table in which a person says which series is which phase, see `hepatica.ingest.read_phase_table`.
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
        predictor = Predictor(checkpoint.find_model(model, study.modality), device=device)
    with stages.stage("registering"):
        registration = register_phases(study)
        study = registration.study
    with stages.stage("predicting"):
        prediction = predictor(study, progress=progress)
    stages.seconds["network"] = predictor.network_s
    stages.seconds["predicting"] -= predictor.network_s
    with stages.stage("measuring"):
        study = judged(registration, prediction.liver)
        findings = measure(study, prediction)
    with _replacement(out) if replacing else new_directory(out) as folder:
        with stages.stage("writing masks"):
            labels = prediction.lesions.array
            labels = labels.astype(np.uint8 if labels.max() < 256 else np.uint16)
            save_volume(folder / "lesions.nii.gz", prediction.lesions.with_array(labels))
            save_volume(folder / "liver.nii.gz", prediction.liver.with_array(prediction.liver.array.astype(np.uint8)))
            if study.phases[study.reference].headers:
                findings = _write_dicom(folder, study, prediction, findings)
        origin = _origin(predictor)
        with stages.stage("writing the report"):
            findings = findings.model_copy(update={"provenance": Provenance(**origin, **stages.so_far())})
            write_report(folder / "report.html", study=study, prediction=prediction, findings=findings)
        findings = findings.model_copy(update={"provenance": Provenance(**origin, **stages.so_far())})
        (folder / "findings.json").write_text(findings.to_json(), encoding="utf-8")
    return findings


def _check_place(out: Path, *, overwrite: bool) -> bool:
    """Whether an earlier analysis is to be replaced; raises before the work begins where nothing can be written."""
    if not out.exists():
        parent = next(folder for folder in out.absolute().parents if folder.exists())
        if not (parent.is_dir() and os.access(parent, os.W_OK)):
            raise InputError(f"{out} cannot be written, because {parent} is no folder or write-protected: choose another folder")
        return False
    if not overwrite:
        raise InputError(f"{out} exists already: remove it, choose another folder, or add --overwrite")
    if not (out / "findings.json").is_file():
        raise InputError(f"{out} was not written by hepatica (it has no findings.json) and is left alone: choose another folder")
    foreign = sorted(path.name for path in out.iterdir() if path.name not in WRITTEN)
    if foreign:
        raise InputError(f"{out} also holds things that hepatica did not write ({', '.join(foreign[:3])}): move them away first")
    return True


@contextmanager
def _replacement(out: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `out` when the block ends, and vanishes when it fails."""
    out = out.resolve()
    with TemporaryDirectory(prefix=PARTIAL, dir=out.parent) as scratch:
        old, new = Path(scratch) / "old", Path(scratch) / "new"
        with new_directory(new) as folder:
            yield folder
        out.rename(old)
        new.rename(out)


def _write_dicom(folder: Path, study: Study, prediction: Prediction, findings: Findings) -> Findings:
    """Write the DICOM SEG; where the input's headers do not allow one, say so in the findings instead of failing the rest."""
    try:
        write_seg(folder / SEG_FILE, study=study, liver=prediction.liver, lesions=prediction.lesions, model=prediction.model)
    except InputError as error:
        return findings.model_copy(update={"warnings": (*findings.warnings, f"no DICOM SEG was written: {error}")})
    return findings


def _origin(predictor: Predictor) -> dict[str, Any]:
    """What `Provenance` says of the code and the weights."""
    return {
        "versions": checkpoint.versions(),
        "commit": checkpoint.commit(),
        "weights_sha256": checkpoint.weights_hash(predictor.directory),
    }
