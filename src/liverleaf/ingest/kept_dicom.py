"""The DICOM that a case folder keeps beside its images, so that a segmentation can refer to it.

A study read from a case folder goes in; the same study with the headers of its images comes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from liverleaf.ingest.dicom.reader import examine_dicom
from liverleaf.study import InputError, PhaseImage, Study, same_grid


def with_kept_headers(study: Study, folder: Path) -> Study:
    """Give each phase the headers of the images with its voxels.

    Args:
        study: as the case folder holds it.
        folder: where the DICOM is, de-identified as a rule.

    Returns:
        The study; with a warning, and without headers, where the reference phase is not among the
        images, or they cannot be read.
    """
    try:
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        read = examine_dicom(files, (), study.modality).study_or_refusal()
    except InputError:
        return _without(study, "cannot be read as one study")
    images = (*read.phases.values(), *read.other.values())
    phases = {phase: _with_headers(image, images) for phase, image in study.phases.items()}
    if not phases[study.reference].headers:
        return _without(study, f"does not show its {study.reference.title} phase")
    return replace(study, phases=phases)


def _with_headers(image: PhaseImage, sources: Iterable[PhaseImage]) -> PhaseImage:
    for source in sources:
        if same_grid(image.volume, source.volume) and np.array_equal(
            image.volume.array, source.volume.array
        ):
            return replace(
                image,
                headers=source.headers,
                source=source.source,
                frame_numbers=source.frame_numbers,
            )
    return image


def _without(study: Study, why: str) -> Study:
    warning = f"the DICOM that the case folder keeps {why}, so no DICOM SEG can refer to it"
    return replace(study, warnings=(*study.warnings, warning))
