"""Cases of HCC-TACE-Seg (TCIA): CT before chemoembolisation with a DICOM Segmentation."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import highdicom as hd
import numpy as np

from liverleaf.ingest.collections.annotation import annotate, between_phases
from liverleaf.ingest.collections.case import Annotated, CollectionCase, case
from liverleaf.ingest.dicom.frames import text
from liverleaf.ingest.dicom.reader import read_dicom
from liverleaf.ingest.dicom.series import Stack
from liverleaf.ingest.dicom.survey import Survey, survey
from liverleaf.study import InputError
from liverleaf.terminology import LesionType, Organ

NAME = "hcc-tace-seg"
LESION = ("mass", "necrosis", "tumor")
ORGANS = {"liver": Organ.LIVER, "portal vein": Organ.PORTAL_VEIN, "abdominal aorta": Organ.AORTA}
OFF_GRID_STEPS = 0.1
DATE = re.compile(r"(\d\d)-(\d\d)-(\d{4})")


def hcc_tace_seg(root: Path) -> Iterator[CollectionCase]:
    """The cases of `HCC_<n>/<study>/<series>/*.dcm`, studies numbered by their date.

    Only those with a segmentation are read.
    """
    for person in sorted(
        path
        for path in root.glob("**/HCC_*")
        if path.is_dir() and re.fullmatch(r"HCC_\d+", path.name)
    ):
        studies = sorted(
            (path for path in person.iterdir() if path.is_dir()),
            key=lambda path: (_date(path.name), path.name),
        )
        for number, study in enumerate(studies, start=1):
            folders = sorted(path for path in study.iterdir() if path.is_dir())
            outlined = [path for path in folders if "segmentation" in path.name.lower()]
            files = [
                file
                for path in folders
                if path not in outlined
                for file in sorted(path.glob("*.dcm"))
            ]
            segmentations = [file for path in outlined for file in sorted(path.glob("*.dcm"))]
            reason = ""
            if len(segmentations) != 1:
                reason = (
                    "it has no segmentation: a study after the treatment"
                    if not segmentations
                    else "it has several segmentations"
                )
            yield case(
                NAME,
                person.name,
                partial(_read, files, segmentations),
                study=str(number),
                refused=reason,
            )


def _date(name: str) -> tuple[str, ...]:
    match = DATE.match(name)
    return (match[3], match[1], match[2]) if match else ("9999",)


def _read(files: Sequence[Path], segmentations: Sequence[Path]) -> Annotated:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom and pydicom, on values outside the standard
        try:
            segmentation = hd.seg.segread(segmentations[0])
            masks = _segments(segmentation)
        except (ValueError, RuntimeError, AttributeError, KeyError) as error:
            raise InputError(
                f"its segmentation cannot be read as a volume ({type(error).__name__})"
            ) from error
        found = survey(files)
    if found.refused:
        raise InputError(found.refused)
    grid = next(iter(masks.values()))
    index, notes = _drawn_on(grid, _referenced(segmentation), found)
    study = read_dicom(_without_other_candidates(files, found, index))
    chosen = _uids(found.stacks[index])
    drawn_on = next(
        (
            p
            for p, image in study.phases.items()
            if chosen & {text(h, "SOPInstanceUID") for h in image.headers}
        ),
        None,
    )
    if drawn_on is None:
        notes.append(
            "the series that was outlined is not among the phases: masks lie where the scanner's"
            " coordinates put them"
        )
    else:
        notes += between_phases(drawn_on, study)
        masks = {name: _whole(mask, study.phases[drawn_on].volume) for name, mask in masks.items()}
    unknown = sorted(set(masks) - {*LESION, *ORGANS})
    if unknown:
        notes.append(f"its segments {', '.join(unknown)} were left out")
    organs = {organ: masks[name] for name, organ in ORGANS.items() if name in masks}
    lesions = [masks[name] for name in LESION if name in masks]
    study = replace(study, agent=study.agent or "iodine")
    return annotate(
        study, lesions=lesions or None, organs=organs, lesion_type=LesionType.HCC, notes=notes
    )


def _segments(segmentation: hd.seg.Segmentation) -> dict[str, hd.Volume]:
    """A mask per segment, by its label in lower case, or its description where that is known."""
    masks = {}
    for number in segmentation.segment_numbers:
        segment = segmentation.get_segment_description(number)
        words = [
            text(segment, keyword).lower() for keyword in ("SegmentLabel", "SegmentDescription")
        ]
        name = next((word for word in words if word in LESION or word in ORGANS), words[0])
        masks[name] = segmentation.get_volume(
            segment_numbers=[number], combine_segments=True, relabel=True, dtype=np.uint8
        )
    return masks


def _whole(mask: hd.Volume, image: hd.Volume) -> hd.Volume:
    """A mask on the grid of its image, of whose slices a segmentation may leave out empty ones."""
    try:
        return mask.match_geometry(image, tol=OFF_GRID_STEPS)
    except (ValueError, RuntimeError):  # another grid after all
        return mask


def _referenced(segmentation: hd.seg.Segmentation) -> set[str]:
    """The images that a segmentation was drawn on, by its series reference and its frames."""
    uids = {
        str(instance.ReferencedSOPInstanceUID)
        for series in segmentation.get("ReferencedSeriesSequence", ())
        for instance in series.get("ReferencedInstanceSequence", ())
    }
    for frame in segmentation.get("PerFrameFunctionalGroupsSequence", ()):
        for derivation in frame.get("DerivationImageSequence", ()):
            uids |= {
                str(source.ReferencedSOPInstanceUID)
                for source in derivation.get("SourceImageSequence", ())
            }
    return uids


def _drawn_on(grid: hd.Volume, referenced: set[str], found: Survey) -> tuple[int, list[str]]:
    """The index of the stack that was outlined, and warnings.

    Of those on whose slices the masks lie, it is the one whose images are named most often.
    """
    fitting = [index for index, stack in enumerate(found.stacks) if _lies_on(grid, stack)]
    named = [len(referenced & _uids(stack)) for stack in found.stacks]
    if not fitting:
        if not any(named):
            raise InputError(
                "its segmentation names none of the images and has the grid of none of the series"
            )
        return int(np.argmax(named)), ["its segmentation has another grid than the series it names"]
    best = max(
        fitting,
        key=lambda index: (
            named[index],
            found.guesses[index].phase is not None,
            found.guesses[index].confidence,
        ),
    )
    if named[best]:
        return best, []
    why = "names images of another grid" if any(named) else "names none of the images"
    doubt = f", as {len(fitting) - 1} other series do" if len(fitting) > 1 else ""
    return best, [
        f"its segmentation {why}: taken for drawn on {found.stacks[best].name}, which has its"
        f" grid{doubt}"
    ]


def _uids(stack: Stack) -> set[str]:
    return {text(frame.header, "SOPInstanceUID") for frame in stack.frames}


def _lies_on(grid: hd.Volume, stack: Stack) -> bool:
    """Whether every voxel of a mask is one of the stack's, by the corners."""
    if stack.step_mm is None:
        return False
    first = stack.frames[0]
    down = first.orientation[3:] * first.spacing_mm[0]
    along = first.orientation[:3] * first.spacing_mm[1]
    to_mm = np.column_stack([stack.normal * stack.step_mm, down, along])
    shape = np.array([len(stack.frames), *first.shape])
    corners = np.array(list(product(*((0, size - 1) for size in grid.spatial_shape))))
    indices = (grid.map_indices_to_reference(corners) - first.position_mm) @ np.linalg.inv(to_mm).T
    whole = np.abs(indices - np.rint(indices)).max() < OFF_GRID_STEPS and np.allclose(
        sorted(grid.spacing), sorted(_spacing(stack)), rtol=0.01
    )
    return bool(whole and (indices > -0.5).all() and (indices < shape - 0.5).all())


def _spacing(stack: Stack) -> tuple[float, float, float]:
    return (float(stack.step_mm or 0.0), *stack.frames[0].spacing_mm)


def _without_other_candidates(files: Sequence[Path], found: Survey, index: int) -> list[Path]:
    """The files without those of the other stacks that were taken for the outlined one's phase."""
    phase = found.guesses[index].phase
    candidates = () if phase is None else found.candidates[phase]
    left_out = {
        frame.path for other in candidates if other != index for frame in found.stacks[other].frames
    }
    return [file for file in files if file not in left_out]
