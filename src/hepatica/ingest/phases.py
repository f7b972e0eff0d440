"""One DICOM header per series of a study in, the contrast phase of each with confidence and evidence out.

Three witnesses are heard: the words of the series description, the time after injection, and the order in which the series were taken.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from hepatica.ingest.frames import DAY_S, acquired_s, number, seconds_of_day, text, words
from hepatica.study import Modality, Phase

DOUBTFUL = 0.5
"""Below this confidence a phase is a guess that a person should confirm."""

TYPICAL_S = {Phase.ARTERIAL: 30.0, Phase.PORTAL: 72.0, Phase.DELAYED: 220.0, Phase.HEPATOBILIARY: 1200.0}
"""Typical seconds after injection, for liver protocols in CT and MR."""

SPREAD = {Phase.ARTERIAL: 0.35, Phase.PORTAL: 0.25, Phase.DELAYED: 0.45, Phase.HEPATOBILIARY: 0.3}
"""Standard deviation of the logarithm of that time."""

PRE_WINDOW_S = 300.0
"""How long before the injection pre-contrast images may have been taken, for weighing only."""

UNKNOWN_AGENT = "unknown agent"
LIVER_SPECIFIC = {"gadoxetate", "gadobenate"}

AGENTS = {
    "gadoxetate": "gadoxet|primovist|eovist",
    "gadobenate": "gadobena|multihance",
    "gadobutrol": "gadobutrol|gadovist|gadavist",
    "gadoterate": "gadoter|dotarem|clariscan|artirem",
    "gadoteridol": "prohance",
    "gadopiclenol": "gadopiclenol|vueway|elucirem",
    "gadopentetate": "gadopent|magnevist",
    "gadodiamide": "gadodiamid|omniscan",
    "iodine": r"\biod|iohexol|iopro|iopam|iomepr|iover|iobit|omnipa|omnira|ultravist|io?meron|isovue|visipaque|optiray|xenetix|oxilan",
}

NOT_A_PHASE = {
    "a localizer": r"locali[sz]er|\bloc\b|scout|survey|topogra|surview|3.?plane",
    "bolus tracking": r"monitor|bolus.?(track|timing)|care.?bolus|test.?bolus|smart.?prep|tracker",
    "a subtraction": r"\bsub\b|subtract|subtrak|soustrac",
    "T2-weighted": r"\bt2|haste|ssfse|\btse\b|\bfse\b|trufi|fiesta|\bstir\b|blade|propeller|btfe|bffe",
    "diffusion-weighted": r"\bdwi|\bdiff|\badc\b|\bep2d|ivim|\bb\d{2,4}\b.*\bdw|trace",
    "an in- or opposed-phase image": r"\b(in|out|opp?|opposed).?(of.?)?phase|\bin.?opp?\b|\biop\b|dual.?echo|\b(opp|ip|op)\b",
    "a fat or fat-fraction image": r"\bfat\b(?!.?(sat|sup))|\bf$|\bpdff\b|fatfrac|\bff\b|ideal.?iq|r2.?star|t2.?star",
    "cholangiography": r"mrcp|cholang",
    "a parameter map": r"\bmap|elasto|\bmre\b|perfusion|stiffness|\bwash|\bttp\b|molli",
    "a projection": r"\bm(in)?ip\b|\bvrt?\b",
    "a report or screen": r"dose.?(report|info|sheet)|patient.?protocol|screen.?(save|shot|cap)",
    "a lung or bone reconstruction": r"\blung|pulm|\bbone|\bpoumon|\bpluc",
}

WORDS = {
    Phase.HEPATOBILIARY: r"hepato.?bil|\bhbp?\b|hepato.?(spec|cyt)|leber.?spez|\bhepatobil|肝胆|гепатобилиар",
    Phase.PRE: (
        r"\bpre\b|pre.?(contrast|kontrast|gd|gad|inj|kont)|\bnativ|non.?contr|non.?enh|noncon\b|unenh|non.?inject|\bw/?o\b|plain|\bdry\b|przed"
        r"|\b(without|sans|sin|sem|senza|ohne|zonder|bez)\b.?(inj|iv|contr|kontr|pdc|mdc|gad|gd|km|iod|c\b|$)|\bblanco?\b|basale"
        r"|\bsc\b|\bsk\d?\b|\bnc(ct|e)?\b|\bnect\b|\bc-(?![a-z])|平扫|натив|без"
    ),
    Phase.ARTERIAL: r"\bart(?!efa|if)|arter|\bha?p\b|tetnicz|\bar\b|\bc ?\+ ?a\b|артер|动脉|動脈",
    Phase.PORTAL: (
        r"\bpor\b|\bport(?!able)|\bpvp?\b|p\. ?ven|\bven\b|venou|venos|vein|zyln|\bc ?\+ ?v\b"
        r"|портал|веноз|门静脉|门脉|静脉期|門脈"
    ),
    Phase.DELAYED: (
        r"delay|\bdel\b|\bdly\b|\blate\b|tardi|e?qui?libr|equlibr|\beq\b|\bspae?t|retard|opozn"
        r"|excret|transition|intersti|отсроч|延迟|延遲|平衡"
    ),
}

ENHANCED = (
    r"\bc ?\+|\bce\b|\bcc\b|\bck\d?\b|enhanc|contrast|kontrast|\bgd\b|\bgad|\binject"
    r"|\b(with|post|after|avec|apres|con|nach)\b"
)
SEVERAL_TIMES = r"\b\d+[ ,/]+\d+[ ,/]+\d+ ?(s|sec|min)\b"
BOTH = r"\bw/?wo\b|\bwow\b|\bw.{0,5}(and|&|/|\+).{0,5}w/?o\b|\b[23]fas|biphas|bipasi|triphas|multiphas"


ELSEWHERE = r"\bchest|\bthora|\bpelvis|\bneck\b|\bbrain|\bhead"
ABDOMEN = r"abd|\bab\b|adrenal|liver|foie|leber|hepat|body|\bcap\b|\bap\b|brzuch"


@dataclass(frozen=True)
class PhaseGuess:
    """What one series was taken for.

    Attributes:
        phase: None for what is no contrast phase (T2, diffusion, localizers, ...) or was not understood.
        confidence: of that statement, in [0, 1].
        evidence: for it, in plain words that quote nothing but words about phases.
    """

    phase: Phase | None
    confidence: float
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class _Clue:
    """What one header says by itself; `settled` once words or time tell the phase."""

    settled: PhaseGuess | None
    clock_s: float | None
    enhanced: bool | None
    evidence: tuple[str, ...]


def identify(series: Sequence[Dataset], *, enhanced: Sequence[bool | None] | None = None) -> list[PhaseGuess]:
    """Tell the contrast phase of every series of one study.

    Args:
        series: one header per series or per time point of a dynamic series.
        enhanced: per series, whether its pixels show contrast agent; None where nobody looked.

    Returns:
        One guess per series, in order. A CT series of unknown phase with contrast agent is guessed to be portal venous.
    """
    seen = list(enhanced) if enhanced is not None else [None] * len(series)
    hepatobiliary = _may_be_hepatobiliary(series)
    clues = [_clue(header, look, hepatobiliary) for header, look in zip(series, seen, strict=True)]
    clues = _compare_agents(series, clues)
    open_ones = [index for index, clue in enumerate(clues) if clue.settled is None]
    guesses = {index: clue.settled for index, clue in enumerate(clues) if clue.settled is not None}
    anchors = [index for index, guess in guesses.items() if guess.phase is not None]
    if len(open_ones) + len(anchors) > 1:
        guesses |= _by_time(clues, open_ones, hepatobiliary)
    return [guesses[index] if index in guesses else _alone(clues[index], header) for index, header in enumerate(series)]


def phase_in_words(description: str, *, hepatobiliary: bool = True) -> PhaseGuess | None:
    """The phase that a description or a file name speaks of, None when it speaks of none or of several.

    Args:
        description: words in any of several languages and their abbreviations.
        hepatobiliary: whether "20 min" may mean the hepatobiliary phase; otherwise it is delayed.

    >>> phase_in_words("180 sec Delay").phase, phase_in_words("F. TĘTNICZA 5.0 B41s").phase, phase_in_words("AbdPel") is None
    (<Phase.DELAYED: 3>, <Phase.ARTERIAL: 1>, True)
    """
    plain = plain_words(description)
    if (found := re.search(ELSEWHERE, plain)) and not re.search(ABDOMEN, plain):
        return PhaseGuess(None, 0.8, (f"another body part: description says '{found[0]}'",))
    for kind, pattern in NOT_A_PHASE.items():
        if found := re.search(pattern, plain):
            return PhaseGuess(None, 0.9, (f"{kind}: description says '{found[0].strip()}'",))
    if re.search(BOTH, plain):
        return None
    named = {phase: found[0].strip() for phase, pattern in WORDS.items() if (found := re.search(pattern, plain))}
    seconds = seconds_in_words(plain)
    if re.search(SEVERAL_TIMES, plain):
        return None
    if seconds is not None and set(named) <= {Phase.DELAYED}:  # "30 sec delay" is the scan's delay, not the delayed phase
        phase = phase_at(seconds, hepatobiliary=hepatobiliary)
        return PhaseGuess(phase, 0.9, (f"description says '{seconds:.0f} s'",))
    if Phase.DELAYED in named and len(named) > 1 and named[Phase.DELAYED] == "late":  # "late arterial"
        del named[Phase.DELAYED]
    if len(named) == 2 and Phase.HEPATOBILIARY in named:  # "delayed hepatobiliary"
        named = {Phase.HEPATOBILIARY: named[Phase.HEPATOBILIARY]}
    if len(named) != 1:
        return None
    ((phase, word),) = named.items()
    return PhaseGuess(phase, 0.9, (f"description says '{word}'",))


def plain_words(description: str) -> str:
    """Lower case, without accents, with a space where camelCase or an underscore joins words."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", description.replace("ł", "l").replace("Ł", "L"))
    bare = "".join(char for char in unicodedata.normalize("NFKD", spaced) if not unicodedata.combining(char))
    return " ".join(bare.lower().split())


def seconds_in_words(plain: str) -> float | None:
    """The one time after injection that words name ("65s", "5 min"), None when there is none or several."""
    found = re.findall(r"(?<![\d.a-z])(\d{1,4}) ?(s|sec|secs|seconds|sek|m|min|mins|minutes)\b", plain)
    if len(found) != 1 or (found[0][1] == "m" and int(found[0][0]) > 30):
        return None
    return float(found[0][0]) * (60 if found[0][1].startswith("m") else 1)


def phase_at(seconds: float, *, hepatobiliary: bool) -> Phase:
    """The phase at a time after injection; `hepatobiliary` says whether there is that phase with this agent.

    >>> [phase_at(t, hepatobiliary=True).name for t in (-60, 30, 70, 180, 1200)]
    ['PRE', 'ARTERIAL', 'PORTAL', 'DELAYED', 'HEPATOBILIARY']
    """
    for phase, end in ((Phase.PRE, 5.0), (Phase.ARTERIAL, 50.0), (Phase.PORTAL, 115.0), (Phase.DELAYED, 540.0)):
        if seconds < end:
            return phase
    return Phase.HEPATOBILIARY if hepatobiliary else Phase.DELAYED


def seconds_after_injection(header: Dataset) -> float | None:
    """From the start of the contrast bolus to the acquisition, None when the header lacks one or they are over three hours apart."""
    profile = [
        step for item in header.get("ContrastBolusAgentSequence") or () for step in item.get("ContrastAdministrationProfileSequence") or ()
    ]
    starts = [seconds_of_day(text(item, "ContrastBolusStartTime")) for item in (header, *profile)]
    start = next((value for value in starts if value is not None), None)
    taken = acquired_s(header)
    if start is None or taken is None:
        return None
    seconds = (taken - start + DAY_S / 2) % DAY_S - DAY_S / 2
    return seconds if abs(seconds) <= 3 * 3600 else None


def agent_of(header: Dataset) -> str | None:
    """The contrast agent by its generic name, UNKNOWN_AGENT for one that is not in the list, None without one."""
    coded = [text(item, "CodeMeaning") for item in header.get("ContrastBolusAgentSequence") or ()]
    given = plain_words(" ".join([text(header, "ContrastBolusAgent"), *coded]))
    for name, pattern in AGENTS.items():
        if re.search(pattern, f"{given} {plain_words(text(header, 'SeriesDescription'))}"):
            return name
    return None if re.fullmatch(r"|no\b.*|none|n/?a|0|without.*|null|unknown", given) else UNKNOWN_AGENT


def _may_be_hepatobiliary(series: Sequence[Dataset]) -> bool:
    """Whether images after ten minutes are hepatobiliary ones: with a liver-specific agent, or in MR when no agent is named."""
    agents = {agent_of(header) for header in series} - {None, UNKNOWN_AGENT}
    return bool(agents & LIVER_SPECIFIC) or (not agents and any(text(header, "Modality") == Modality.MR for header in series))


def _clue(header: Dataset, enhanced: bool | None, hepatobiliary: bool) -> _Clue:
    description = text(header, "SeriesDescription") or text(header, "ProtocolName")
    excluded = _not_a_phase(header)
    clock_s = acquired_s(header)
    evidence: tuple[str, ...] = ()
    if enhanced is not None:
        evidence = ("pixels show contrast agent in vessels or organs" if enhanced else "pixels show no contrast agent",)
    elif found := re.search(ENHANCED, plain_words(description)):
        enhanced, evidence = True, (f"description says '{found[0].strip()}'",)
    if excluded is not None:
        return _Clue(excluded, clock_s, enhanced, evidence)
    worded = phase_in_words(description, hepatobiliary=hepatobiliary)
    seconds = seconds_after_injection(header)
    if seconds is None or (worded is not None and worded.phase is None):
        return _Clue(worded, clock_s, enhanced, evidence)
    timed = phase_at(seconds, hepatobiliary=hepatobiliary)
    proof = f"{seconds:.0f} s after injection by the headers"
    if worded is None:
        return _Clue(PhaseGuess(timed, 0.85, (proof,)), clock_s, enhanced, evidence)
    if worded.phase is timed:
        return _Clue(replace(worded, confidence=0.97, evidence=(*worded.evidence, proof)), clock_s, enhanced, evidence)
    return _Clue(replace(worded, confidence=0.6, evidence=(*worded.evidence, f"but {proof}")), clock_s, enhanced, evidence)


def _not_a_phase(header: Dataset) -> PhaseGuess | None:
    """A guess of None for images that their technical elements show to be no contrast phase."""
    kind = set(words(header, "ImageType"))
    if kind & {"LOCALIZER", "SCOUT"}:
        return PhaseGuess(None, 1.0, ("a localizer by its image type",))
    if kind & {"SUBTRACT", "SUBTRACTION", "SUB"}:
        return PhaseGuess(None, 0.95, ("a subtraction by its image type",))
    if kind & {"MIP", "MAX_IP", "PROJECTION IMAGE", "MPR_THICK"} or "PROJECTION" in " ".join(kind):
        return PhaseGuess(None, 0.95, ("a projection by its image type",))
    if kind & {"ADC", "DIFFUSION", "TRACEW", "FAT", "FAT_FRACTION", "F", "IN_PHASE", "OUT_PHASE", "OPP_PHASE", "PHASE MAP", "IP", "OP"}:
        return PhaseGuess(None, 0.9, ("another contrast by its image type",))
    if text(header, "Modality") != Modality.MR:
        return None
    echo_ms = number(header, "EchoTime")
    if echo_ms is not None and echo_ms > 12:
        return PhaseGuess(None, 0.95, (f"echo time {echo_ms:.0f} ms: not T1-weighted",))
    return PhaseGuess(None, 0.9, ("echo-planar imaging",)) if "EP" in words(header, "ScanningSequence") else None


def _compare_agents(series: Sequence[Dataset], clues: list[_Clue]) -> list[_Clue]:
    """Where some series name an agent and others do not, the ones without are taken as scanned before it; a lone name is a hint only."""
    candidates = [index for index, clue in enumerate(clues) if clue.settled is None or clue.settled.phase is not None]
    named = {index: agent_of(series[index]) is not None for index in candidates}
    first_named = min((clues[index].clock_s or 0.0 for index in candidates if named[index]), default=0.0)
    out = list(clues)
    for index in candidates:
        clue = clues[index]
        if clue.enhanced is not None or not any(named.values()):
            continue
        if named[index] and (len(candidates) == 1 or not all(named.values())):
            out[index] = replace(clue, enhanced=True, evidence=("its headers name a contrast agent",))
        elif not named[index] and clue.clock_s is not None and clue.clock_s < first_named:
            out[index] = replace(clue, enhanced=False, evidence=("its headers name no contrast agent, those of later series do",))
    return out


def _by_time(clues: Sequence[_Clue], open_ones: Sequence[int], hepatobiliary: bool) -> dict[int, PhaseGuess]:
    """Find the moment of injection that explains all series best, and read the open ones' phases off it.

    Each series costs the negative logarithm of its phase's density in time, log-normal around the typical time after injection and even
    before it. Settled series are held to their phase.
    """
    timed = [
        index
        for index, clue in enumerate(clues)
        if clue.clock_s is not None and (index in open_ones or (clue.settled is not None and clue.settled.phase is not None))
    ]
    clocks = np.array([clues[index].clock_s for index in timed], dtype=np.float64)
    if len(np.unique(clocks)) < 2 or not set(timed) & set(open_ones):
        return {}
    injections = (clocks[:, None] - np.array(list(TYPICAL_S.values()))).ravel()
    costs = np.stack([_costs(clue_s - injections, clues[index], hepatobiliary) for clue_s, index in zip(clocks, timed, strict=True)])
    best = int(costs.min(axis=2).sum(axis=0).argmin())
    anchored = len(timed) > len(set(timed) & set(open_ones))
    found = {}
    for row, index in enumerate(timed):
        if index in open_ones:
            phase = Phase(int(costs[row, best].argmin()))
            seconds = clocks[row] - injections[best]
            confidence = 0.6 if anchored or clues[index].enhanced is not None else 0.45
            order = (
                f"order of acquisition: about {seconds:.0f} s after the presumed injection"
                if seconds > 0
                else "taken first, before the others"
            )
            found[index] = PhaseGuess(phase, confidence, (order, *clues[index].evidence))
    return found


def _costs(seconds: NDArray[np.float64], clue: _Clue, hepatobiliary: bool) -> NDArray[np.float64]:
    """Cost of each phase for one series at each candidate injection, shape (candidates, phases)."""
    costs = np.full((len(seconds), len(Phase)), 50.0)
    after = np.maximum(seconds, 1.0)
    for phase, typical in TYPICAL_S.items():
        if phase is not Phase.HEPATOBILIARY or hepatobiliary:
            density = 0.5 * (np.log(after / typical) / SPREAD[phase]) ** 2 + np.log(after * SPREAD[phase])
            costs[:, phase] = np.where(seconds > 0, np.minimum(density, 40.0), 50.0)
    costs[:, Phase.PRE] = np.where(seconds <= 0, np.log(PRE_WINDOW_S), 50.0)
    if clue.enhanced is not None:
        allowed = np.arange(len(Phase)) > 0 if clue.enhanced else np.arange(len(Phase)) == 0
        costs[:, ~allowed] += 100.0
    if clue.settled is not None and clue.settled.phase is not None:
        costs[:, [phase for phase in Phase if phase is not clue.settled.phase]] += 100.0
    return costs


def _alone(clue: _Clue, header: Dataset) -> PhaseGuess:
    """The guess for a series that neither words nor time nor other series explain."""
    if clue.enhanced is False:
        return PhaseGuess(Phase.PRE, 0.6, clue.evidence)
    if clue.enhanced:
        return PhaseGuess(Phase.PORTAL, 0.4, (*clue.evidence, "portal venous is the commonest single phase"))
    if text(header, "Modality") == Modality.MR:
        return PhaseGuess(Phase.PRE, 0.2, ("nothing in its headers tells the phase",))
    return PhaseGuess(None, 0.0, ("nothing in its headers tells the phase",))
