"""One DICOM header per series of a study in, the contrast phase of each with confidence and evidence out.

Four witnesses are heard: the words of the series description, the time after injection, the technical elements, and the order in which
the series were taken.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from hepatica.ingest.frames import DAY_S, acquired_s, number, seconds_of_day, text
from hepatica.ingest.phase_order import Step, phases_by_order
from hepatica.ingest.technique import axial, odd_ones_out, place, rapid_runs, ruled_out, slow_sequence
from hepatica.study import Modality, Phase

DOUBTFUL = 0.5
"""Below this confidence a phase is a guess that a person should confirm."""

RAPID_S = 8.0
"""No breath-hold follows another so soon."""

IMPOSSIBLE = -50.0
OFTEN_DELAYED = {Phase.DELAYED: 6.0, Phase.HEPATOBILIARY: 6.0}
"""Logarithms of what "late" means with a liver-specific agent."""

UNKNOWN_AGENT = "unknown agent"

AGENTS = {
    "gadoxetate": "gadoxet|primovist|eovist",
    "gadobenate": "gadobena|multi ?hance",
    "gadobutrol": "gadobutrol|gadovist|gadavist",
    "gadoterate": "gadoter|dotarem|clariscan|artirem",
    "gadoteridol": "gadoterid|pro ?hance",
    "gadopiclenol": "gadopiclenol|vueway|elucirem",
    "gadopentetate": "gadopent|magnevist",
    "gadodiamide": "gadodiamid|omniscan",
    "iodine": r"\biod|iohexol|iopro|iopam|iomepr|iover|iobit|omnipa|omnira|ultravist|io?meron|isovue|visipaque|optiray|xenetix|oxilan",
}

NOT_A_PHASE = {
    "a localizer": r"lo[ck]ali[sz]|\blocator|\bloc\b|scout|survey|topogra|surview|3.?pl(ane)?\b|reperage|ubersicht|uebersicht|pilot|定位",
    "a calibration": r"calib|kalib|\bcal\b|\basset\b|sense.?ref|ref.?sense|ref.?scan|shim|b1.?map|prescan",
    "bolus tracking": r"monitor|bolus.?(track|timing)|care.?bolus|test.?bolus|timing|smart.?prep|tracker|fluoro",
    "a subtraction": r"\bsub\d?\b|subtra|soustrac|sustrac|sottraz",
    "T2-weighted": r"\bt2|haste|ss.?fse|\bfr?.?fse\b|\bfase.?(cor|ax|t2)|\bt?tse\b|\bssh\b|\bstir\b|\btirm\b|blade|propeller|multivane",
    "a balanced gradient echo": r"tru.?fi|true.?fisp|fiesta|btfe|b.?ffe\b|balanced|\bcine|\bssfp",
    "diffusion-weighted": r"\bdwi|\bdw\b|\bdiff?u|\bdiff\b|\badc\b|\bep2d|ivim|\bb\d{2,4}\b.*\bdw|trace|resolve|\bzoomit|弥散",
    "an in- or opposed-phase image": (
        r"\b(in|out|opp?|opposed).?(of.?)?phase|\bin.?(and.?)?(opp?|out)\b|\bopp?.?in\b|\biop\b|dual.?(echo|ffe|fgre|gre)|ffe.?dual|\b(opp|ip|op|oop)\b"
        r"|\bin$|\bout$|fuera de|\b(en|hors|gegen) ?(phase|fase)\b(?! ?(art|port|ve|tard|equi|hep|de ))|fase opuesta|同相|反相"
    ),
    "a fat or fat-fraction image": (
        r"\bfat\b(?!.?(sat|sup|sh))|\bf$|(dixon|flex|dix)[ -]?f\b|^f[: ]|\bpdff\b|fat.?frac|\bff\b|ideal.?iq|[rt]2.?star|\b[rt]2\*"
        r"|liver.?lab|\be6\b"
    ),
    "cholangiography": r"mrcp|chola?ng|colang|\bcprm\b",
    "a parameter map": r"\bmap|maps?\b|elasto|\bmre\b|gremre|mr.?touch|perfusi|stiffness|\bwash|\bttp\b|molli|look.?lock|wave\b",
    "a projection": r"\bm(in)?ip\b|\bvrt?\b",
    "a report or screen": r"dose.?(report|info|sheet)|patient.?protocol|screen.?(save|shot|cap)|\breport\b",
    "a lung or bone reconstruction": r"\blung|pulm|\bbone|\bpoumon|\bpluc",
}

WORDS = {
    Phase.HEPATOBILIARY: (
        r"hepato.?bil|\bhbp?\b|\bhpb\b|h?epato.?(spec|spez|cyt|zell)|\bepato\b|\bhepato\b|leber.?spez"
        r"|肝胆|肝細胞|肝细胞|肝特异|гепатобилиар"
    ),
    Phase.PRE: (
        r"\bpre\b|pre.?(contrast|kontrast|gd|gad|inj|kont)|\bnativ|non.?contr|non.?enh|noncon\b|unenh|non.?inject|\bw/?o\b|plain|\bdry\b|przed"
        r"|\b(without|sans|sin|sem|senza|ohne|zonder|bez)\b.?(inj|iv|contr|kontr|pdc|mdc|gad|gd|km|iod|c\b|$)|\bblanco?\b|basale"
        r"|\bsc\b|\bsk\d?\b|\bnc(ct|e)?\b|\bnect\b|\bc-(?![a-z])|(?<= )-c\b|\buten\b|\butan\b|\bmask\b|baseline"
        r"|造影前|增强前|蒙片|平扫|натив|без"
    ),
    Phase.ARTERIAL: r"\bart(?!efa|if)|arter|\b(ha?|ea|la)p\b|tetnicz|\bar\b|\bimmed|\bc ?\+ ?a\b|артер|动脉|動脈",
    Phase.PORTAL: (
        r"\bpor\b|\bport(?!able)|\bpv\d?\b|\bpvp?\b|p\. ?ven|\bven\b|venou|venos|vein|zyln|wrotn|\bc ?\+ ?v\b"
        r"|портал|веноз|门静脉|门脉|静脉期|門脈"
    ),
    Phase.DELAYED: (
        r"delay|\bdel\b|\bdly\b|\blate\b|tardi|e?qui?libr|\bequil|\blaat\b|\bsen fas|equlibr|\bequ?\b|\bspae?t|retard|opozn"
        r"|excret|transition|intersti|отсроч|延迟|延遲|平衡"
    ),
}

ENHANCED = (
    r"\bc ?\+|\bce\b|\bcc\b|\bck\d?\b|enhanc|contrast|kontrast|\bgd\b|\bgad|\binj|\bkm\b|\+ ?[ck]\b"
    r"|\b(with|after|avec|apres|con|nach)\b|\bpost ?\d*\b|\bpo\b"
)
SEVERAL_TIMES = r"\b\d+[ ,/]+\d+[ ,/]+\d+ ?(s|sec|min)\b"
BOTH = r"\bpre ?[&/+,-]? ?(and )?post|\bw/?wo\b|\bwow\b|\bw.{0,5}(and|&|/|\+).{0,5}w/?o\b|\b[23]fas|biphas|bipasi|triphas|multiphas"


RAPID = r"twist|disco|tricks|grasp|multi.?art|freeze.?it|keyhole|4d.?thrive"
"""Words for time-resolved acquisitions, whose time points are seconds apart."""

NUMBERED = r"\b(?:ph(?:ase)?|pass|post|dyn) ?(\d+)\b|\b(\d)(?:st|nd|rd|th)\b"
"""Numbers of the phases of a dynamic series."""

UNITS = "s|secs?|seconds|sek|seg|m|mn|mins?|minutes|minutos|minuti|minuten|'|分钟?|秒"

REPEATED = r"\brpt\b|repeat|\bwdh|wiederh|\bredo\b|\brep\b|repet"
"""Words for a series that replaces the one before it, for instance after a failed breath-hold."""

LATE = r"delay|\blate\b|tardi|\bspae?t|retard|延迟|延遲"
"""Words that may mean the hepatobiliary phase as well where there is one."""

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
    """What one header says by itself.

    Attributes:
        settled: the phase, or that there is none, once words or time tell it.
        clock_s: when it was taken, None when unknown.
        enhanced: whether it shows contrast agent, None when nothing tells.
        evidence: for being enhanced or not.
        looked: whether pixels told so.
        leaning: logarithms that speak for a phase without settling it.
    """

    settled: PhaseGuess | None
    clock_s: float | None
    enhanced: bool | None
    evidence: tuple[str, ...]
    looked: bool = False
    leaning: Mapping[Phase, float] = field(default_factory=dict)


def identify(series: Sequence[Dataset], *, enhanced: Sequence[bool | None] | None = None) -> list[PhaseGuess]:
    """Tell the contrast phase of every series of one study.

    Args:
        series: one header per series or per time point of a dynamic series.
        enhanced: per series, whether its pixels show contrast agent; None where nobody looked.

    Returns:
        One guess per series, in order. A CT series of unknown phase with contrast agent is guessed to be portal venous.
    """
    seen = list(enhanced) if enhanced is not None else [None] * len(series)
    late = _hepatobiliary_weight(series)
    several = len({text(header, "ProtocolName") for header in series}) > 1  # one name for all is that of the whole examination
    clues = [_clue(header, look, late, several) for header, look in zip(series, seen, strict=True)]
    clues = _compare_agents(series, _numbered(series, _masks(series, clues)))
    for index, (reason, confidence) in odd_ones_out(series).items():
        if clues[index].settled is None and clues[index].enhanced is not True:
            clues[index] = replace(clues[index], settled=PhaseGuess(None, confidence, (reason,)))
    guesses = {index: clue.settled for index, clue in enumerate(clues) if clue.settled is not None}
    if sum(clue.settled is None or clue.settled.phase is not None for clue in clues) > 1:
        guesses = _by_order(series, clues, late) | guesses
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
    if re.search(BOTH, plain) or re.search(r"multi.?art", plain):  # the first time point of several arterial ones is pre-contrast
        return None
    named = {phase: found[0].strip() for phase, pattern in WORDS.items() if (found := re.search(pattern, plain))}
    seconds = seconds_in_words(plain)
    if re.search(SEVERAL_TIMES, plain):
        return None
    if seconds is not None and set(named) <= {Phase.DELAYED}:  # "30 sec delay" is the scan's delay, not the delayed phase
        phase = phase_at(seconds, hepatobiliary=hepatobiliary)
        return PhaseGuess(phase, 0.9, (f"description says '{seconds:.0f} s'",))
    if len(named) > 1 and re.match("late|tardi|spa", named.get(Phase.DELAYED, "")):  # "late arterial"
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
    spaced = re.sub(r"\b(post|delay|dyn)(?=\d)", r"\1 ", plain)
    found = re.findall(rf"(?<![\d.a-z])(\d{{1,4}})[ -]?({UNITS})(?![a-z0-9])", spaced)
    if len(found) != 1 or (found[0][1] == "m" and int(found[0][0]) > 30):
        return None
    return float(found[0][0]) * (60 if found[0][1].startswith(("m", "'", "分")) else 1)


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


def _hepatobiliary_weight(series: Sequence[Dataset]) -> float:
    """How much speaks against images after ten minutes being hepatobiliary ones: 0 with an agent or words for them, IMPOSSIBLE in CT."""
    agents = {agent_of(header) for header in series} - {None, UNKNOWN_AGENT}
    if agents:
        return 0.0 if "gadoxetate" in agents else IMPOSSIBLE
    if not any(text(header, "Modality") == Modality.MR for header in series):
        return IMPOSSIBLE
    said = [plain_words(text(header, "SeriesDescription")) for header in series]
    named = any(re.search(WORDS[Phase.HEPATOBILIARY], plain) or (seconds_in_words(plain) or 0) >= 900 for plain in said)
    return 0.0 if named else -1.0


def _clue(header: Dataset, enhanced: bool | None, late: float, several: bool) -> _Clue:
    description = text(header, "SeriesDescription") or text(header, "ProtocolName")
    evidence: tuple[str, ...] = ()
    looked = enhanced is not None
    if looked:
        evidence = ("pixels show contrast agent in vessels or organs" if enhanced else "pixels show no contrast agent",)
    elif found := re.search(ENHANCED, plain_words(description)):
        enhanced, evidence = True, (f"description says '{found[0].strip()}'",)
    clue = _Clue(None, acquired_s(header), enhanced, evidence, looked)
    excluded = ruled_out(header)
    if excluded is not None:
        return replace(clue, settled=PhaseGuess(None, excluded[1], (excluded[0],)))
    worded = phase_in_words(description, hepatobiliary=late > IMPOSSIBLE)
    if worded is None and several:
        worded = phase_in_words(text(header, "ProtocolName"), hepatobiliary=late > IMPOSSIBLE)
    seconds = seconds_after_injection(header)
    if seconds is None or (worded is not None and worded.phase is None):
        if late == 0 and worded is not None and worded.phase is Phase.DELAYED and re.search(LATE, plain_words(description)):
            return replace(clue, evidence=worded.evidence, leaning=OFTEN_DELAYED)
        return replace(clue, settled=worded)
    timed = phase_at(seconds, hepatobiliary=late > IMPOSSIBLE)
    proof = f"{seconds:.0f} s after injection by the headers"
    if worded is None:
        return replace(clue, settled=PhaseGuess(timed, 0.85, (proof,)))
    agreed = worded.phase is timed
    both = (*worded.evidence, proof if agreed else f"but {proof}")
    return replace(clue, settled=replace(worded, confidence=0.97 if agreed else 0.6, evidence=both))


def _numbered(series: Sequence[Dataset], clues: list[_Clue]) -> list[_Clue]:
    """Let numbers of phases lean: the first after the injection is arterial, where something before it can be the pre-contrast phase."""
    said = [plain_words(text(header, "SeriesDescription")) for header in series]
    numbers = [int(found[found.lastindex or 0]) if (found := re.search(NUMBERED, plain)) else None for plain in said]
    out = list(clues)
    for index, count in enumerate(numbers):
        after = clues[index].enhanced is True or any(clue.leaning.get(Phase.PRE) for clue in clues)
        if count == 1 and clues[index].settled is None and after:
            out[index] = replace(clues[index], leaning={Phase.ARTERIAL: 2.0, Phase.PRE: -2.0})
    return out


def _masks(series: Sequence[Dataset], clues: list[_Clue]) -> list[_Clue]:
    """Take a series whose name others bear with a number before it ("Ph1/...", "Ph2/...") for the one before the injection."""
    stem = re.compile(r"\bph ?(\d+) ?/ ?")
    said = [plain_words(text(header, "SeriesDescription")) for header in series]
    numbered = {stem.sub("", plain) for plain in said if stem.search(plain)}
    return [
        replace(clue, enhanced=None, leaning={Phase.PRE: 4.0}, evidence=("others bear its name with a number",))
        if clue.settled is None and plain and plain in numbered
        else clue
        for plain, clue in zip(said, clues, strict=True)
    ]


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


def _by_order(series: Sequence[Dataset], clues: Sequence[_Clue], late: float) -> dict[int, PhaseGuess]:
    """The phases of open series by their order among all that may be phases, and by the times between them where these are known."""
    members = [index for index, clue in enumerate(clues) if clue.settled is None or clue.settled.phase is not None]
    mr = all(text(series[index], "Modality") == Modality.MR for index in members)
    clocked = _clocked(members, clues, mr=mr)
    if not clocked and not mr:
        return {}
    if clocked:
        members = [index for index in members if clues[index].clock_s is not None]
    members, steps = _in_order(series, clues, members, clocked=clocked)
    weights = _weights([series[index] for index in members], [clues[index] for index in members], late)
    clocks = np.array([clues[index].clock_s for index in members], dtype=np.float64) if clocked else None
    probabilities, injection_s = phases_by_order(weights, steps, clocks)
    anchored = any(clues[index].settled is not None for index in members)
    breath_holds = 1 + sum(not step.rapid for step in steps)
    found = {}
    for n, index in enumerate(members):
        confidence = min(0.95, float(probabilities[n].max()))
        if not anchored and breath_holds < 3:  # too few to tell which of the phases these are
            confidence = min(confidence, 0.45)
        if not mr:
            confidence = 0.6 if anchored or clues[index].enhanced is not None else 0.45
        said = f"order of series: number {n + 1} of {len(members)} that may be phases"
        if injection_s is not None and clocks is not None:
            seconds = clocks[n] - injection_s
            after = f"order of acquisition: about {seconds:.0f} s after the presumed injection"
            said = after if seconds > 0 else "taken first, before the others"
        found[index] = PhaseGuess(Phase(int(probabilities[n].argmax())), confidence, (said, *clues[index].evidence))
    return found


def _clocked(members: Sequence[int], clues: Sequence[_Clue], *, mr: bool) -> bool:
    """Whether times tell the order: some scanners give all time points of a series one time."""
    clocks = [clues[index].clock_s for index in members]
    moments = len(set(clocks) - {None})
    return moments > 1 and (not mr or (None not in clocks and moments >= 0.75 * len(members)))


def _in_order(series: Sequence[Dataset], clues: Sequence[_Clue], members: Sequence[int], *, clocked: bool) -> tuple[list[int], list[Step]]:
    """Members in order of acquisition, and the steps between them."""
    small = sum((number(header, "SeriesNumber") or 0) < 100 for header in series) > 1
    keys = [
        (clue.clock_s or 0.0 if clocked else 0.0, place(header, small_numbers=small)) for header, clue in zip(series, clues, strict=True)
    ]
    slow = [
        key
        for key, header, clue in zip(keys, series, clues, strict=True)
        if clue.settled is not None and clue.settled.phase is None and _slow(header, clue.settled)
    ]
    ordered = sorted(members, key=lambda index: keys[index])
    runs = rapid_runs([series[index] for index in ordered])
    steps = [
        Step(
            pause=any(keys[one] < key < keys[two] for key in slow),
            rapid=n in runs or _rapid(series[one], series[two]),
            again=bool(re.search(REPEATED, plain_words(text(series[two], "SeriesDescription")))),
            turn=axial(series[one]) is not axial(series[two]),
        )
        for n, (one, two) in enumerate(pairwise(ordered))
    ]
    return ordered, steps


def _slow(header: Dataset, guess: PhaseGuess) -> bool:
    """Whether a series that is no phase takes minutes."""
    return slow_sequence(header) or guess.evidence[0].startswith(("T2-", "diffusion", "cholang"))


def _rapid(one: Dataset, two: Dataset) -> bool:
    """Whether two series are time points of one time-resolved acquisition."""
    clocks = [acquired_s(header) for header in (one, two)]
    if None not in clocks and 0 < abs(clocks[0] - clocks[1]) < RAPID_S:  # type: ignore[operator]
        return True
    names = [plain_words(text(header, "SeriesDescription")) for header in (one, two)]
    return all(re.search(RAPID, name) for name in names)


def _weights(series: Sequence[Dataset], clues: Sequence[_Clue], late: float) -> NDArray[np.float64]:
    """How well each phase fits each series by itself, as logarithms, shape (series, phases)."""
    weights = np.zeros((len(series), len(Phase)))
    weights[:, Phase.HEPATOBILIARY] += late
    flips = [number(header, "FlipAngle") for header in series]
    usual = np.median([flip for flip in flips if flip is not None] or [0.0])
    for row, header, clue, flip in zip(weights, series, clues, flips, strict=True):
        strong = 12.0 if clue.looked or text(header, "Modality") == Modality.CT else 4.0
        if clue.enhanced is not None:
            row[[phase for phase in Phase if (phase is Phase.PRE) == clue.enhanced]] -= strong
        for phase, weight in clue.leaning.items():
            row[phase] += weight
        if axial(header) is False:
            row[[Phase.ARTERIAL, Phase.PORTAL]] -= 2.5
        if flip is not None and flip >= 18 and flip >= 1.5 * usual:
            row[Phase.HEPATOBILIARY] += 3.0
        if clue.settled is not None and clue.settled.phase is not None:
            row[[phase for phase in Phase if phase is not clue.settled.phase]] -= 12.0
            row[clue.settled.phase] = max(row[clue.settled.phase], 0.0)
    return weights


def _alone(clue: _Clue, header: Dataset) -> PhaseGuess:
    """The guess for a series that neither words nor time nor other series explain."""
    if clue.enhanced is False:
        return PhaseGuess(Phase.PRE, 0.6, clue.evidence)
    if clue.enhanced:
        return PhaseGuess(Phase.PORTAL, 0.4, (*clue.evidence, "portal venous is the commonest single phase"))
    if text(header, "Modality") == Modality.MR:
        return PhaseGuess(Phase.PRE, 0.2, ("nothing in its headers tells the phase",))
    return PhaseGuess(None, 0.0, ("nothing in its headers tells the phase",))
