"""What the headers of a DICOM study tell before its pixels are read: stacks, phases and times."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset

from liverleaf.ingest.dicom.frames import (
    DicomdirError,
    Frame,
    counted,
    counts_in_words,
    number,
    read_frames,
    text,
)
from liverleaf.ingest.dicom.scaling import on_one_scale
from liverleaf.ingest.dicom.series import Stack, stacks_of
from liverleaf.ingest.dicom.torn import (
    SharedKey,
    joined,
    joined_series,
    rename,
    shared_keys,
    torn_series_warning,
    torn_warning,
)
from liverleaf.ingest.phases.descriptions import phase_at, plain_words, seconds_in_words
from liverleaf.ingest.phases.of_stacks import phases_of_stacks
from liverleaf.ingest.phases.override import PhaseRow, decisions, rows_of_study
from liverleaf.ingest.phases.reasons import PhaseGuess, ReasonCode
from liverleaf.ingest.phases.sequences import drop_shared_times, seconds_after_injection
from liverleaf.study import InputError, Modality, Phase

TIME_TOLERANCE = 1.25
"""Factor by which a time may lie beyond the usual bounds of its phase."""

MAX_LISTED_SERIES = 8
"""Series that a message lists at most."""

COPY = "a copy of another image of the study"


@dataclass(frozen=True)
class Survey:
    """What the headers of a study tell, before pixels are read.

    Attributes:
        modality: CT or MR.
        stacks: every image series, or time point of one.
        headers: one of each.
        guesses: the phase of each.
        times_s: seconds after injection of each, None when unknown.
        candidates: indices of the stacks that were taken for each phase, the best one first.
        left_out: parts of series that are no volume, each with the reason.
        notes: files that were left out.
        lost: the reason for each file that is in no stack: it holds no image, or a copy of another.
        refused: why no study can be made of the stacks, "" where one can.
    """

    modality: Modality
    stacks: tuple[Stack, ...]
    headers: tuple[Dataset, ...]
    guesses: tuple[PhaseGuess, ...]
    times_s: tuple[float | None, ...]
    candidates: dict[Phase, tuple[int, ...]]
    left_out: tuple[Stack, ...]
    notes: tuple[str, ...]
    lost: Mapping[Path, str]
    refused: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Files and series that were left out."""
        return (*self.notes, *(stack.left_out for stack in self.left_out))


def survey(
    files: Sequence[Path], table: Sequence[PhaseRow] = (), modality: Modality | None = None
) -> Survey:
    """Group the images of one study into stacks, tell their phases, and rank the stacks of each.

    Args:
        files: of the study.
        table: what a person says of its series, which counts for more than headers and pixels.
        modality: what a person says the images are, which must be what their headers say.

    Raises:
        InputError: there is no CT or MR image, more than one patient or study, another modality, or
            the table does not fit the study.
    """
    frames, lost = _frames_of(files)
    notes = _counts(lost, len(files))
    names = [text(frame.header, "StudyInstanceUID") for frame in frames]
    notes += _put_together(frames)
    found = _check_one_study(frames)
    check_modality(found, modality)
    stacks, left_out = stacks_of(frames)
    stacks = [_scaled(stack) for stack in stacks]
    headers = _headers(stacks)
    guesses = phases_of_stacks(stacks, headers, found) if stacks else []
    rows = rows_of_study(table, names)
    unusable = [(stack.keys, stack.left_out) for stack in left_out]
    for index, guess in decisions(rows, [stack.keys for stack in stacks], unusable).items():
        guesses[index] = guess
    stacks, times_s = _times(stacks, headers, guesses)
    candidates = _candidates(stacks, guesses)
    refused = ""
    if not stacks:
        refused = f"no series can be read: {left_out[0].left_out}"
    elif not candidates:
        reasons = "; ".join(sorted({guess.evidence[0] for guess in guesses}))
        refused = f"none of the {len(stacks)} series is a contrast phase of the liver ({reasons})"
    return Survey(
        found,
        tuple(stacks),
        tuple(headers),
        tuple(guesses),
        tuple(times_s),
        candidates,
        tuple(left_out),
        tuple(notes),
        lost | _copies(frames, (*stacks, *left_out)),
        refused,
    )


def check_modality(found: Modality, said: Modality | None) -> None:
    """Refuse what a person says of the modality where the files say otherwise.

    Raises:
        InputError: they do.
    """
    if said not in (None, found):
        raise InputError(
            f"the study is {found} by its own files and not {said}: leave --modality out, it is for"
            " NIfTI files, which do not tell"
        )


def _scaled(stack: Stack) -> Stack:
    """The stack on one scale, or as it is where there is none: reading it will say why."""
    try:
        return on_one_scale(stack)
    except InputError:
        return stack


def _frames_of(files: Sequence[Path]) -> tuple[list[Frame], dict[Path, str]]:
    """The frames of all files, and the reason for each file without any."""
    lost: dict[Path, str] = {}

    def frames_or_reason(path: Path) -> list[Frame] | str:
        try:
            if not path.is_file():  # a link that leads nowhere; a pipe would never end
                return "no regular file"
            return read_frames(path)
        except DicomdirError:
            return []  # an index of the other files, nothing is lost
        except InputError as error:
            return str(error)

    frames: list[Frame] = []
    with ThreadPoolExecutor(max_workers=8) as pool:
        for path, result in zip(files, pool.map(frames_or_reason, files), strict=True):
            if isinstance(result, str):
                lost[path] = result
            else:
                frames += result
    if not frames:
        raise InputError(
            f"no CT or MR image found (files: {_listed(lost)}); give the folder of one CT or MR"
            " study"
        )
    return frames, lost


def _listed(lost: Mapping[Path, str]) -> str:
    """How many files were left out for each reason."""
    return counts_in_words(Counter(lost.values()))


def _counts(lost: Mapping[Path, str], files: int) -> list[str]:
    """A warning that counts the files without an image."""
    return [f"left out {len(lost)} of {files} files: {_listed(lost)}"] if lost else []


def _copies(frames: Sequence[Frame], stacks: Sequence[Stack]) -> dict[Path, str]:
    """The files whose images repeat others, and are in no stack therefore."""
    placed = {frame.path for stack in stacks for frame in stack.frames}
    return {frame.path: COPY for frame in frames if frame.path not in placed}


def _put_together(frames: Sequence[Frame]) -> list[str]:
    """Give the images of a study or series that wrong UIDs tore one UID; warnings say so."""
    headers = list({id(frame.header): frame.header for frame in frames}.values())
    shared: list[SharedKey] = []
    series: dict[str, set[str]] = defaultdict(set)
    for header in headers:
        study = text(header, "StudyInstanceUID")
        patient = text(header, "PatientID") or text(header, "PatientName")
        if study:
            shared += shared_keys(header, study, patient)
            series[study].add(text(header, "SeriesInstanceUID"))
    whole = joined(shared, {study: len(uids) for study, uids in series.items()})
    for header in headers:
        study = text(header, "StudyInstanceUID")
        if study in whole:
            rename(header, StudyInstanceUID=whole[study])
    of_series = joined_series(headers)
    for header in headers:
        own = text(header, "SeriesInstanceUID")
        rename(header, SeriesInstanceUID=of_series.get(own, own))
    told = [torn_warning(len({*whole, *whole.values()}))] if whole else []
    if of_series:
        told.append(torn_series_warning(len({*of_series, *of_series.values()})))
    return told


def _check_one_study(frames: Sequence[Frame]) -> Modality:
    """The modality of all images, which must be of one patient and study."""
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
        raise InputError(
            f"{mixed}: {_images_of_others(frames)} of another; take them out{other_way}"
        )
    modalities = sorted({text(header, "Modality") for header in headers})
    if len(modalities) > 1:
        raise InputError("the study holds CT and MR images; give the series of one modality")
    return Modality(modalities[0])


def _images_of_others(frames: Sequence[Frame]) -> str:
    """The images that are not of the patient and study of most, by their series' numbers."""
    headers = [frame.header for frame in frames]
    owners = [
        (text(header, "PatientID") or text(header, "PatientName"), text(header, "StudyInstanceUID"))
        for header in headers
    ]
    usual = Counter(owners).most_common(1)[0][0]
    others = Counter(
        number(header, "SeriesNumber")
        for header, owner in zip(headers, owners, strict=True)
        if owner != usual
    )
    listed = [
        f"{counted(count, 'image')} of"
        f" {'a series without number' if series is None else f'series {series:.0f}'}"
        for series, count in sorted(others.items(), key=lambda item: item[0] or 0.0)
    ]
    more = len(listed) - MAX_LISTED_SERIES
    if more > 0:
        listed = listed[:MAX_LISTED_SERIES]
        listed.append(f"images of {counted(more, 'more series', 'more series')}")
    return f"{', '.join(listed)} {'is' if others.total() == 1 else 'are'}"


def _headers(stacks: Sequence[Stack]) -> list[Dataset]:
    """One header per stack, all with the time of injection that some of them name.

    Pre-contrast series do not name it.
    """
    headers = [stack.header for stack in stacks]
    starts = {text(header, "ContrastBolusStartTime") for header in headers} - {""}
    if len(starts) == 1:
        for header in headers:
            header.ContrastBolusStartTime = next(iter(starts))
    return headers


def _times(
    stacks: Sequence[Stack], headers: Sequence[Dataset], guesses: Sequence[PhaseGuess]
) -> tuple[list[Stack], list[float | None]]:
    """Seconds after injection of each stack; one that contradicts its phase becomes a warning."""
    times_s = drop_shared_times(
        [_time_s(header) for header in headers], [guess.phase for guess in guesses]
    )
    out = list(stacks)
    for index, (stack, guess) in enumerate(zip(stacks, guesses, strict=True)):
        if warning := _contradiction(guess.phase, times_s[index]):
            out[index] = replace(stack, warnings=(*stack.warnings, f"{stack.name}: {warning}"))
            times_s[index] = None
    return out, times_s


def _time_s(header: Dataset) -> float | None:
    """Seconds after injection: by the clock, else as the description says."""
    seconds = seconds_after_injection(header)
    if seconds is not None:
        return seconds
    return seconds_in_words(plain_words(text(header, "SeriesDescription")))


def _contradiction(phase: Phase | None, seconds: float | None) -> str:
    """Why a time cannot be that of a phase, "" when it may be.

    Where a header lacks the time of the scan, another one stands in for it.
    """
    if phase is None or seconds is None:
        return ""
    if any(
        phase is phase_at(seconds * factor, hepatobiliary=phase is Phase.HEPATOBILIARY)
        for factor in (1 / TIME_TOLERANCE, 1.0, TIME_TOLERANCE)
    ):
        return ""
    when = f"{abs(seconds):.0f} s {'after' if seconds >= 0 else 'before'} injection"
    return (
        f"its headers put it {when}, which contradicts the {phase.title} phase; its time is taken"
        " as unknown"
    )


def _candidates(
    stacks: Sequence[Stack], guesses: Sequence[PhaseGuess]
) -> dict[Phase, tuple[int, ...]]:
    """The stacks of each phase, the best first: surer, then axial, then with more slices.

    Of two arterial phases the late one shows lesions best and comes before the early one.
    """

    def rank(index: int) -> tuple[bool, float, bool, int]:
        return (
            all(one.code is not ReasonCode.EARLY_ARTERIAL for one in guesses[index].reasons),
            round(guesses[index].confidence, 1),
            abs(stacks[index].normal[2]) > 0.7,
            len(stacks[index].frames),
        )

    by_phase = {
        phase: [index for index, guess in enumerate(guesses) if guess.phase is phase]
        for phase in Phase
    }
    return {
        phase: tuple(sorted(indices, key=rank, reverse=True))
        for phase, indices in by_phase.items()
        if indices
    }
