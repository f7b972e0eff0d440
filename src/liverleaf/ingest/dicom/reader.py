"""DICOM files of one study in any order in, a Study and a report on each of its series out."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import DICOMDIR, Frame, counted, number, read_frames, text
from liverleaf.ingest.dicom.pixels import sample_pixels
from liverleaf.ingest.dicom.series import Inspection, SeriesReport, Stack, stacks_of
from liverleaf.ingest.dicom.volume import irregularities, read_volume
from liverleaf.ingest.phases.ct_enhancement import shows_contrast
from liverleaf.ingest.phases.descriptions import phase_at
from liverleaf.ingest.phases.identify import (
    DOUBTFUL,
    UNKNOWN_AGENT,
    PhaseGuess,
    agent_of,
    identify,
    phase_probabilities,
    plain_words,
    seconds_after_injection,
    seconds_in_words,
)
from liverleaf.ingest.phases.images import (
    MAX_SERIES,
    coarse_images,
    seen_in,
    soft_tissue,
    with_pixels,
)
from liverleaf.ingest.phases.override import PhaseRow, decided, of_study
from liverleaf.ingest.phases.sequences import unless_shared
from liverleaf.study import InputError, Modality, Phase, PhaseImage, SourceIds, Study

SURE = 0.8
SUREST = 0.95
"""Pixels never make a phase surer than that."""
SUREST_ALONE = 0.45
"""Nor that of a series without others to compare it with."""

SAMPLED_SLICES = 16
LATE = 1.25
"""Factor by which a time may lie beyond the usual bounds of its phase."""

MANY = 8
"""Series that a message lists at most."""

BY_NUMBER = "order of series"
"""How the evidence begins of a phase that neither words nor times tell, only the place among the
series."""


@dataclass(frozen=True)
class Survey:
    """What the headers of a study tell, before pixels are read.

    Attributes:
        modality: CT or MR.
        stacks: every image series, or time point of one.
        headers: one of each.
        guesses: the phase of each.
        times_s: seconds after injection of each, None when unknown.
        rivals: indices of the stacks that were taken for each phase, the best one first.
        left_out: parts of series that are no volume, each with the reason.
        notes: files that were left out.
    """

    modality: Modality
    stacks: tuple[Stack, ...]
    headers: tuple[Dataset, ...]
    guesses: tuple[PhaseGuess, ...]
    times_s: tuple[float | None, ...]
    rivals: dict[Phase, tuple[int, ...]]
    left_out: tuple[Stack, ...]
    notes: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Files and series that were left out."""
        return (*self.notes, *(stack.left_out for stack in self.left_out))


def read_dicom(files: Sequence[Path], table: Sequence[PhaseRow] = ()) -> Study:
    """Read the contrast phases of one study.

    Args:
        files: of the study.
        table: what a person says of its series.

    Raises:
        InputError: there is no CT or MR image, more than one patient or study, or no series that
            can be read.
    """
    with warnings.catch_warnings():
        # pydicom, on values outside the standard: it may quote the patient's name
        warnings.simplefilter("ignore")
        found = survey(files, table)
    notes = list(found.warnings)
    images: dict[Phase, PhaseImage] = {}
    for phase, rivals in found.rivals.items():
        image, more = _phase_image(found, phase, rivals)
        notes += more
        if image is not None:
            images[phase] = image
    if not images:
        raise InputError(f"no series could be read: {notes[-1]}")
    others = [index for index, guess in enumerate(found.guesses) if guess.phase is None]
    if others:
        said = ", ".join(
            f"{found.stacks[index].name} ({found.guesses[index].evidence[0]})" for index in others
        )
        notes.append(f"not used as a contrast phase: {said}")
    if len({image.volume.frame_of_reference_uid for image in images.values()}) > 1:
        notes.append(
            "the phases have different frames of reference: the patient may have been moved between"
            " them"
        )
    agent = next(
        (name for name in map(agent_of, found.headers) if name not in (None, UNKNOWN_AGENT)), None
    )
    return Study(found.modality, images, _case_id(found.headers[0]), agent, tuple(notes))


def inspect_dicom(files: Sequence[Path], table: Sequence[PhaseRow] = ()) -> Inspection:
    """Tell of each series what it is and whether `read_dicom` uses it.

    Args:
        files: as for `read_dicom`.
        table: as for `read_dicom`.

    Raises:
        InputError: as `read_dicom` does before it reads pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in read_dicom
        found = survey(files, table)
    reports = [(stack, _report(found, index)) for index, stack in enumerate(found.stacks)]
    reports += [
        (stack, _of_stack(stack, stack.header, PhaseGuess(None, 0.0, (stack.left_out,))))
        for stack in found.left_out
    ]
    reports.sort(key=lambda pair: (pair[1].number or 0, pair[0].part or 0))
    return Inspection(tuple(report for _, report in reports), found.notes)


def survey(files: Sequence[Path], table: Sequence[PhaseRow] = ()) -> Survey:
    """Read headers, group them, tell the phases, or hear the user's table, and choose one stack for each."""
    frames, notes = _scan(files)
    modality = _one_study(frames)
    stacks, left_out = stacks_of(frames)
    if not stacks:
        raise InputError(f"no series can be read: {left_out[0].left_out}")
    headers = _headers(stacks)
    guesses = _guess(stacks, headers, modality)
    names = [text(header, "StudyInstanceUID") for header in headers]
    unused = [(stack.keys, stack.left_out) for stack in left_out]
    for index, guess in decided(
        of_study(table, names), [stack.keys for stack in stacks], unused
    ).items():
        guesses[index] = guess
    times_s = unless_shared(
        [_time_s(header) for header in headers], [guess.phase for guess in guesses]
    )
    for index, (stack, guess) in enumerate(zip(stacks, guesses, strict=True)):
        doubt = _contradiction(guess.phase, times_s[index])
        if doubt:
            stacks[index] = replace(stack, warnings=(*stack.warnings, f"{stack.name}: {doubt}"))
            times_s[index] = None
    rivals = _rivals(stacks, guesses)
    if not rivals:
        said = "; ".join(sorted({guess.evidence[0] for guess in guesses}))
        raise InputError(
            f"none of the {len(stacks)} series is a contrast phase of the liver ({said})"
        )
    return Survey(
        modality,
        tuple(stacks),
        tuple(headers),
        tuple(guesses),
        tuple(times_s),
        rivals,
        tuple(left_out),
        tuple(notes),
    )


def _scan(files: Sequence[Path]) -> tuple[list[Frame], list[str]]:
    """The frames of all files, and a warning that counts the files without any."""
    reasons: Counter[str] = Counter()

    def frames_or_reason(path: Path) -> list[Frame] | str:
        try:
            return read_frames(path)
        except InputError as error:
            return str(error)

    frames: list[Frame] = []
    with ThreadPoolExecutor(max_workers=8) as pool:
        for result in pool.map(frames_or_reason, files):
            if isinstance(result, str):
                reasons[result] += 1
            else:
                frames += result
    reasons.pop(DICOMDIR, None)  # an index of the other files, nothing is lost
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    if not frames:
        raise InputError(
            f"no CT or MR image found (files: {said or 'none'}); give the folder of one CT or MR"
            " study"
        )
    return frames, [f"left out {reasons.total()} of {len(files)} files: {said}"] if reasons else []


def _one_study(frames: Sequence[Frame]) -> Modality:
    headers = {id(frame.header): frame.header for frame in frames}.values()
    patients = {text(header, "PatientID") or text(header, "PatientName") for header in headers}
    studies = {text(header, "StudyInstanceUID") for header in headers}
    studies = studies - {""} or studies
    if len(patients) > 1 or len(studies) > 1:
        mixed = (
            f"images of {counted(len(patients), 'patient')} and"
            f" {counted(len(studies), 'study', 'studies')} are mixed"
        )
        other_way = (
            ", or give the whole to `liverleaf ingest`, which keeps studies apart"
            if len(studies) > 1
            else ""
        )
        raise InputError(f"{mixed}: {_strangers(frames)} of another; take them out{other_way}")
    modalities = sorted({text(header, "Modality") for header in headers})
    if len(modalities) > 1:
        raise InputError("the study holds CT and MR images; give the series of one modality")
    return Modality(modalities[0])


def _strangers(frames: Sequence[Frame]) -> str:
    """The series that are not of the patient and study of most images, by their numbers."""
    headers = [frame.header for frame in frames]
    names = [
        (text(header, "PatientID") or text(header, "PatientName"), text(header, "StudyInstanceUID"))
        for header in headers
    ]
    usual = Counter(names).most_common(1)[0][0]
    others = Counter(
        number(header, "SeriesNumber")
        for header, name in zip(headers, names, strict=True)
        if name != usual
    )
    told = [
        f"{counted(count, 'image')} of"
        f" {'a series without number' if series is None else f'series {series:.0f}'}"
        for series, count in sorted(others.items(), key=lambda item: item[0] or 0.0)
    ]
    more = (
        [f"images of {counted(len(told) - MANY, 'more series', 'more series')}"]
        if len(told) > MANY
        else []
    )
    return f"{', '.join([*told[:MANY], *more])} {'is' if others.total() == 1 else 'are'}"


def _headers(stacks: Sequence[Stack]) -> list[Dataset]:
    """One header per stack; all get the time of injection that some of them name, since pre-contrast series do not."""
    headers = [stack.header for stack in stacks]
    starts = {text(header, "ContrastBolusStartTime") for header in headers} - {""}
    if len(starts) == 1:
        for header in headers:
            header.ContrastBolusStartTime = next(iter(starts))
    return headers


def _guess(
    stacks: Sequence[Stack], headers: Sequence[Dataset], modality: Modality
) -> list[PhaseGuess]:
    """Identify phases by headers; where these leave doubt, look at a few slices as well."""
    guesses, rows = _by_headers(stacks, headers, None)
    if modality is Modality.CT and any(_doubtful(guess) for guess in guesses):
        looks = [
            (
                shows_contrast(sample_pixels(stack, SAMPLED_SLICES), stack.frames[0].spacing_mm[0])
                if _doubtful(guess)
                else None
            )
            for stack, guess in zip(stacks, guesses, strict=True)
        ]
        guesses, rows = _by_headers(stacks, headers, looks)
    guesses = _by_pixels(stacks, guesses, rows, modality)
    return [
        (
            replace(
                guess,
                phase=None,
                evidence=(f"{counted(len(stack.frames), 'slice')} only, beside longer series",),
            )
            if small
            else guess
        )
        for stack, guess, small in zip(stacks, guesses, _leftovers(stacks), strict=True)
    ]


def _by_headers(
    stacks: Sequence[Stack], headers: Sequence[Dataset], enhanced: Sequence[bool | None] | None
) -> tuple[list[PhaseGuess], NDArray[np.float64]]:
    """The guesses and the probability of each phase and of none, shape (N, P + 1), without what the order of files alone suggests."""
    guesses = identify(headers, enhanced=enhanced)
    rows = phase_probabilities(headers, enhanced=enhanced)
    if any(stack.time_point is not None for stack in stacks):
        return guesses, rows
    for turn in range(1, len(headers)):
        order = np.roll(np.arange(len(headers)), turn).tolist()
        turned = phase_probabilities(
            [headers[index] for index in order],
            enhanced=None if enhanced is None else [enhanced[index] for index in order],
        )
        if turn == 1 and np.allclose(turned, rows[order]):
            return guesses, rows
        rows[order] += turned
    rows /= len(headers)
    for index, (guess, row) in enumerate(zip(guesses, rows, strict=True)):
        best = int(row.argmax())
        if row[best] < guess.confidence - 0.01:
            phase = None if best == len(Phase) else Phase(best)
            guesses[index] = PhaseGuess(
                phase,
                float(row[best]),
                ("neither a time nor a number tells its place among the series",),
            )
    return guesses, rows


def _by_pixels(
    stacks: Sequence[Stack],
    guesses: Sequence[PhaseGuess],
    rows: NDArray[np.float64],
    modality: Modality,
) -> list[PhaseGuess]:
    """The guesses, the doubtful ones among them decided by what pixels add to the headers' probabilities."""
    members = [
        index for index, guess in enumerate(guesses) if guess.phase is not None or _doubtful(guess)
    ]
    doubtful = [
        index
        for index in members
        if _doubtful(guesses[index]) or guesses[index].evidence[0].startswith(BY_NUMBER)
    ]
    if not doubtful or len(members) > MAX_SERIES:
        return list(guesses)
    images = coarse_images([stacks[index] for index in members])
    tissue = None if images is None else soft_tissue(images, modality)
    if tissue is None:
        return list(guesses)
    out = list(guesses)
    joined = with_pixels(rows[members], *tissue, modality)
    for index, row, said in zip(members, joined, seen_in(*tissue, modality), strict=True):
        if index in doubtful:
            out[index] = _reconsidered(guesses[index], row, said, alone=len(members) == 1)
    return out


def _reconsidered(
    guess: PhaseGuess, row: NDArray[np.float64], said: str, *, alone: bool
) -> PhaseGuess:
    phase = Phase(int(row[:-1].argmax()))
    seen = f"{said}, most like the {phase.title} phase"
    headers = guess.evidence
    if guess.phase not in (None, phase):
        headers = (
            (
                f"by its headers alone it would be the {guess.phase.title} phase"
                f" ({'; '.join(guess.evidence)})"
            ),
        )
    surest = (
        max(SUREST_ALONE, guess.confidence if guess.phase is phase else 0.0) if alone else SUREST
    )
    return PhaseGuess(phase, min(surest, float(row[phase])), (seen, *headers))


def _doubtful(guess: PhaseGuess) -> bool:
    return guess.confidence < SURE and (guess.phase is not None or guess.confidence == 0)


def _leftovers(stacks: Sequence[Stack]) -> list[bool]:
    """Which stacks are mere bits: fewer than a tenth of the slices of the longest one, and fewer than five."""
    longest = max(len(stack.frames) for stack in stacks)
    return [len(stack.frames) < min(5, 0.1 * longest) for stack in stacks]


def _rivals(stacks: Sequence[Stack], guesses: Sequence[PhaseGuess]) -> dict[Phase, tuple[int, ...]]:
    """The stacks of each phase: the surer phase first, then axial ones, then the one with more slices."""

    def merit(index: int) -> tuple[float, bool, int]:
        return (
            round(guesses[index].confidence, 1),
            abs(stacks[index].normal[2]) > 0.7,
            len(stacks[index].frames),
        )

    by_phase = {
        phase: [index for index, guess in enumerate(guesses) if guess.phase is phase]
        for phase in Phase
    }
    return {
        phase: tuple(sorted(indices, key=merit, reverse=True))
        for phase, indices in by_phase.items()
        if indices
    }


def _phase_image(
    found: Survey, phase: Phase, rivals: Sequence[int]
) -> tuple[PhaseImage | None, list[str]]:
    """The best of a phase's stacks that can be read, None when there is none, and warnings."""
    notes: list[str] = []
    for position, index in enumerate(rivals):
        stack, guess = found.stacks[index], found.guesses[index]
        try:
            volume, headers, more = read_volume(stack)
        except InputError as error:
            notes.append(str(error))
            continue
        notes += more
        if guess.confidence < DOUBTFUL:
            notes.append(
                f"{stack.name}: taken for the {phase.title} phase without proof"
                f" ({'; '.join(guess.evidence)})"
            )
        notes += [
            f"{found.stacks[other].name}: not used, {_preferred(stack, phase)}"
            for other in rivals[position + 1 :]
        ]
        header = found.headers[index]
        return (
            PhaseImage(
                volume,
                found.times_s[index],
                guess.confidence,
                guess.evidence,
                _description(header),
                headers,
                source=_source_ids(headers),
                frame_numbers=_frame_numbers(stack, headers),
            ),
            notes,
        )
    return None, notes


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


def _time_s(header: Dataset) -> float | None:
    """Seconds after injection: by the clock, else as the description says."""
    seconds = seconds_after_injection(header)
    return (
        seconds_in_words(plain_words(text(header, "SeriesDescription")))
        if seconds is None
        else seconds
    )


def _contradiction(phase: Phase | None, seconds: float | None) -> str:
    """Why a time cannot be that of a phase, "" when it may be: where a header lacks the time of the scan, another one stands in for it."""
    if phase is None or seconds is None:
        return ""
    if any(
        phase is phase_at(seconds * factor, hepatobiliary=phase is Phase.HEPATOBILIARY)
        for factor in (1 / LATE, 1.0, LATE)
    ):
        return ""
    when = f"{abs(seconds):.0f} s {'after' if seconds >= 0 else 'before'} injection"
    return (
        f"its headers put it {when}, which contradicts the {phase.title} phase; its time is taken"
        " as unknown"
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
    said = plain_words(description)
    parts = {part for part in re.split(r"[\W_]+", plain_words(private)) if len(part) > 1}
    found = any(
        part in said if len(part) > 3 else re.search(rf"\b{part}\b", said) for part in parts
    )
    # looks like a person's name or a number
    found |= "^" in description or re.fullmatch(r"\W*\d[\d\W]{5,}", description) is not None
    return "" if found else description


def _case_id(header: Dataset) -> str:
    """A pseudonym: the same for the same study, from which nothing can be told."""
    uid = (
        text(header, "StudyInstanceUID")
        or text(header, "SeriesInstanceUID")
        or text(header, "FrameOfReferenceUID")
    )
    return f"case-{hashlib.sha256(uid.encode()).hexdigest()[:8]}" if uid else "case"


def _report(found: Survey, index: int) -> SeriesReport:
    stack, header, guess = found.stacks[index], found.headers[index], found.guesses[index]
    best = None if guess.phase is None else found.rivals[guess.phase][0]
    passed_over = []
    if guess.phase is not None and best is not None and best != index:
        passed_over.append(f"not used: {_preferred(found.stacks[best], guess.phase)}")
    gaps = irregularities(stack) if guess.phase is not None else []
    report = _of_stack(stack, header, guess)
    return replace(
        report,
        used=best == index,
        time_s=found.times_s[index],
        warnings=(*stack.warnings, *gaps, *passed_over),
    )


def _of_stack(stack: Stack, header: Dataset, guess: PhaseGuess) -> SeriesReport:
    """What its headers tell of a stack that is not used."""
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
        phase=guess.phase,
        used=False,
        confidence=guess.confidence,
        evidence=guess.evidence,
        study=text(header, "StudyInstanceUID"),
        series=next(iter(stack.keys), ""),
    )
