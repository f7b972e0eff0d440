"""A study read from DICOM files in any order, and a report on each of its series."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import counted, number, text
from liverleaf.ingest.dicom.series import Stack
from liverleaf.ingest.dicom.subject import body_part, species
from liverleaf.ingest.dicom.survey import Survey, survey
from liverleaf.ingest.dicom.unused import unused_files
from liverleaf.ingest.dicom.volume import read_volume
from liverleaf.ingest.inspection import Examination, Inspection, SeriesReport
from liverleaf.ingest.phases.descriptions import plain_words
from liverleaf.ingest.phases.identify import DOUBTFUL
from liverleaf.ingest.phases.override import PhaseRow
from liverleaf.ingest.phases.sequences import UNKNOWN_AGENT, agent_of
from liverleaf.study import InputError, Modality, Phase, PhaseImage, SourceIds, Study


def read_dicom(files: Sequence[Path], table: Sequence[PhaseRow] = ()) -> Study:
    """Read the contrast phases of one study.

    Args:
        files: of the study.
        table: what a person says of its series.

    Raises:
        InputError: there is no CT or MR image, more than one patient or study, or no series that
            can be read.
    """
    return examine_dicom(files, table).study_or_refusal()


def examine_dicom(
    files: Sequence[Path], table: Sequence[PhaseRow] = (), modality: Modality | None = None
) -> Examination:
    """Read the contrast phases of one study, and tell of each of its series what became of it.

    Args:
        files: of the study.
        table: what a person says of its series.
        modality: what a person says the images are.

    Raises:
        InputError: there is no CT or MR image, more than one patient or study, another modality, or
            the table does not fit the study.
    """
    with warnings.catch_warnings():
        # pydicom, on values outside the standard: it may quote the patient's name
        warnings.simplefilter("ignore")
        found = survey(files, table, modality)
        read = [_phase(found, *chosen) for chosen in found.candidates.items()]
    images = {one.phase: one.image for one in read if one.image is not None}
    refused = found.refused
    if not images and not refused:
        refused = f"no series could be read: {read[-1].warnings[-1]}"
    general = []
    if len({image.volume.frame_of_reference_uid for image in images.values()}) > 1:
        general.append(
            "the phases have different frames of reference: the patient may have been moved between"
            " them"
        )
    notes = [note for one in read for note in one.warnings]
    study = None if refused else _study(found, images, (*notes, *_others(found), *general))
    inspection = Inspection(_reports(found, read), (*found.notes, *general), refused)
    used = [header for image in images.values() for header in image.headers]
    return Examination(study, inspection, unused_files(found, used))


def _study(found: Survey, images: dict[Phase, PhaseImage], notes: Sequence[str]) -> Study:
    agents = (agent_of(header) for header in found.headers)
    used = [image.headers[0] for image in images.values()]
    return Study(
        found.modality,
        images,
        _case_id(found.headers[0]),
        next((name for name in agents if name not in (None, UNKNOWN_AGENT)), None),
        (*found.warnings, *notes),
        body_part=body_part(used),
        species=species(used),
    )


def _others(found: Survey) -> list[str]:
    """A warning that lists the series that are no phase, with the reason of each."""
    others = [
        f"{stack.name} ({guess.evidence[0]})"
        for stack, guess in zip(found.stacks, found.guesses, strict=True)
        if guess.phase is None
    ]
    return [f"not used as a contrast phase: {', '.join(others)}"] if others else []


@dataclass(frozen=True)
class _ReadPhase:
    """What became of the stacks that were taken for one phase.

    Attributes:
        phase: which one.
        image: of the best stack that can be read, None when there is none.
        used: the index of that stack.
        told: warnings by the index of the stack that they are about.
    """

    phase: Phase
    image: PhaseImage | None
    used: int | None
    told: dict[int, tuple[str, ...]]

    @property
    def warnings(self) -> list[str]:
        """Those about all stacks, in their order of preference."""
        return [note for notes in self.told.values() for note in notes]


def _phase(found: Survey, phase: Phase, candidates: Sequence[int]) -> _ReadPhase:
    """The best of a phase's stacks that can be read, and what is to be told of each."""
    told: dict[int, tuple[str, ...]] = {}
    for rank, index in enumerate(candidates):
        stack, guess = found.stacks[index], found.guesses[index]
        try:
            volume, headers, notes = read_volume(stack)
        except InputError as error:
            told[index] = (str(error),)
            continue
        if guess.confidence < DOUBTFUL:
            notes.append(
                f"{stack.name}: taken for the {phase.title} phase without proof"
                f" ({'; '.join(guess.evidence)})"
            )
        told[index] = tuple(notes)
        for other in candidates[rank + 1 :]:
            name = found.stacks[other].name
            told[other] = (f"{name}: not used, {_preferred(stack, phase)}",)
        image = PhaseImage(
            volume,
            found.times_s[index],
            guess.confidence,
            guess.evidence,
            _description(found.headers[index]),
            headers,
            source=_source_ids(headers),
            frame_numbers=_frame_numbers(stack, headers),
        )
        return _ReadPhase(phase, image, index, told)
    return _ReadPhase(phase, None, None, told)


def _preferred(stack: Stack, phase: Phase) -> str:
    return (
        f"{stack.name} ({counted(len(stack.frames), 'slice')}) was preferred for the {phase.title}"
        " phase"
    )


def _frame_numbers(stack: Stack, headers: Sequence[Dataset]) -> tuple[tuple[int, ...], ...]:
    """Which frames of each multi-frame image are of a stack, counted from 1; () for none at all."""
    if not any("PerFrameFunctionalGroupsSequence" in header for header in headers):
        return ()
    return tuple(
        tuple(sorted(frame.index + 1 for frame in stack.frames if frame.header is header))
        for header in headers
    )


def _source_ids(headers: Sequence[Dataset]) -> SourceIds:
    images = [text(header, "SOPInstanceUID") for header in headers]
    return SourceIds(
        study_instance_uid=text(headers[0], "StudyInstanceUID") or None,
        series_instance_uid=text(headers[0], "SeriesInstanceUID") or None,
        sop_instance_uids=tuple(uid for uid in images if uid),
    )


def _description(header: Dataset) -> str:
    """The series description, "" when a part of the patient's name or a number of his is in it."""
    description = text(header, "SeriesDescription")
    private = " ".join(
        text(header, keyword)
        for keyword in (
            "PatientName",
            "PatientID",
            "OtherPatientIDs",
            "AccessionNumber",
            "PatientBirthDate",
        )
    )
    plain = plain_words(description)
    parts = {part for part in re.split(r"[\W_]+", plain_words(private)) if len(part) > 1}
    identifying = any(
        part in plain if len(part) > 3 else re.search(rf"\b{part}\b", plain) for part in parts
    )
    # looks like a person's name or a number
    identifying |= "^" in description or re.fullmatch(r"\W*\d[\d\W]{5,}", description) is not None
    return "" if identifying else description


def _case_id(header: Dataset) -> str:
    """A pseudonym: the same for the same study, from which nothing can be told."""
    uid = (
        text(header, "StudyInstanceUID")
        or text(header, "SeriesInstanceUID")
        or text(header, "FrameOfReferenceUID")
    )
    return f"case-{hashlib.sha256(uid.encode()).hexdigest()[:8]}" if uid else "case"


def _reports(found: Survey, read: Sequence[_ReadPhase]) -> tuple[SeriesReport, ...]:
    """A report on every stack, in the order of the series' numbers."""
    used = {one.used for one in read}
    told = {index: notes for one in read for index, notes in one.told.items()}
    reports = [
        (stack, _report(found, index, told.get(index, stack.warnings), used=index in used))
        for index, stack in enumerate(found.stacks)
    ]
    reports += [
        (stack, replace(_unused(stack, stack.header), evidence=(stack.left_out,)))
        for stack in found.left_out
    ]
    reports.sort(key=lambda pair: (pair[1].number or 0, pair[0].part or 0))
    return tuple(report for _, report in reports)


def _report(found: Survey, index: int, told: Sequence[str], *, used: bool) -> SeriesReport:
    """The report on a stack that is used, or may be in place of another."""
    guess = found.guesses[index]
    return replace(
        _unused(found.stacks[index], found.headers[index]),
        phase=guess.phase,
        used=used,
        confidence=guess.confidence,
        evidence=guess.evidence,
        time_s=found.times_s[index],
        warnings=tuple(told),
    )


def _unused(stack: Stack, header: Dataset) -> SeriesReport:
    """The report on a stack that is not used, without the reason."""
    series_number = number(header, "SeriesNumber")
    return SeriesReport(
        number=None if series_number is None else int(series_number),
        description=_description(header),
        modality=text(header, "Modality"),
        slices=len(stack.frames),
        shape=(len(stack.frames), *stack.frames[0].shape),
        spacing_mm=(
            float(np.round(stack.step_mm, 4)) if stack.step_mm else None,
            *stack.frames[0].spacing_mm,
        ),
        phase=None,
        used=False,
        confidence=0.0,
        study=text(header, "StudyInstanceUID"),
        series=next(iter(stack.keys), ""),
    )
