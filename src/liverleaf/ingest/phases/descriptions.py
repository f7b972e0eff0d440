"""Words of series descriptions: patterns for phases, for other images, for agents and for times.

The patterns search text that `searchable` made: lower case, without accents, a space wherever words
or scripts join.
"""

from __future__ import annotations

import re
import unicodedata

from liverleaf.ingest.phases.reasons import PhaseGuess, Reason, ReasonCode, not_a_phase
from liverleaf.study import Modality, Phase

AGENTS = {
    "gadoxetate": r"gadoxet|primovist|eovist|\beob\b|普美显",
    "gadobenate": "gadobena|multi ?hance",
    "gadobutrol": "gadobutrol|gadovist|gadavist",
    "gadoterate": "gadoter|dotarem|clariscan|artirem",
    "gadoteridol": "gadoterid|pro ?hance",
    "gadopiclenol": "gadopiclenol|vueway|elucirem",
    "gadopentetate": "gadopent|magnevist",
    "gadodiamide": "gadodiamid|omniscan",
    "iodine": (
        r"\biod|iohexol|iopro|iopam|iomepr|iover|iobit|omnipa|omnira|ultravist|io?meron|isovue|"
        "visipaque|optiray|xenetix|oxilan"
    ),
}
"""Contrast agents by their generic names."""

NOT_A_PHASE: dict[ReasonCode, str] = {
    ReasonCode.LOCALIZER: (
        r"lo[ck]ali[sz]|\blocator|\bloc\b|scout|survey|topogra|surview|\bscano|3.?pl(ane)?\b|"
        "reperage|ubersicht|uebersicht|pilot|定位"
    ),
    ReasonCode.CALIBRATION: (
        r"calib|kalib|\bcal\b|^asset$|sense.?ref|ref.?sense|ref.?scan|shim|b1.?map|prescan"
    ),
    ReasonCode.BOLUS_TRACKING: (
        "monitor|bolus.?(trac?k|timing)|care.?bolus|test.?(bolus|dos)|^bolus$|timing|smart.?prep|"
        "^real.?time|tracker|fluoro"
    ),
    ReasonCode.SUBTRACTION: (
        r"\b(s ?){0,2}subs?\d?\b|s?subtra|soustra|\bs?sous\b(?! (gad|inj|iv))|su[bs]?stra[ck]|"
        r"\bresta\b|sottraz|\bminus\b|\) ?[-+] ?\(|(art\w*|ven\w*|por\w*|del\w*|post|late|ph ?\d|"
        r"\d ?s(ec)?)( contrast)? ?[-–] ?(t1w? ?)?(pre|mask|nativ|ph ?1)\b|减影"
    ),
    ReasonCode.T2_WEIGHTED: (
        r"\bt2|haste|ss.?fse|\b(fr?.?)?fse\b|frfse|\bss ?(t?se|ax|cor|te)\b|\bs(ingle)?.?shot|"
        r"\bfase.?(2d|cor|ax|t2)|\bt?tse\b|\bssh\b|\bstir\b|\btirm\b|blade|propeller|multivane"
    ),
    ReasonCode.SPIN_ECHO: (
        r"\bt1 (ax |tra |cor |sag )?t?se\b|\bt1 .*\bt?se\b(?!.*(vibe|lava|thrive))"
    ),
    ReasonCode.BALANCED_GRADIENT_ECHO: (
        r"tru.?fi|fisp\b|\btfi ?2d|fiesta|btfe|b.?ffe\b|balanced|\bcine|\bssfp|steady.?state|"
        r"\bgrass\b"
    ),
    ReasonCode.BLOOD_OR_FLOW: r"(white|bright|black|dark).?blood|flow.?sensit|\bdouble.?ir\b",
    ReasonCode.DIFFUSION_WEIGHTED: (
        r"\bdwi|\bdw\b|diff(?!er)|\bdifu[sz]|\bdif\b|\b[ed]?adc\b|apparent.?diff|\bep2d|epi\b|"
        r"ivim|\bb ?=? ?\d{2,4}\b.*\bdw|^(s?s b[ -]?\d{1,4}|(s )?b([ -]\d{2}|[ -]?(0|\d{3,4}|"
        r"zero)))$|\bb.?val|trace|resolve|\bzoomit|弥散|扩散|拡散|확산|диффуз"
    ),
    ReasonCode.IN_OR_OPPOSED_PHASE: (
        r"\b(in|out|opp?|opposed).?(of.?)?ph(as|\b)|\bin.?(and.?)?(opp?|out)\b|\bopp?.?in\b|"
        r"\biop\b|dual.?(echo|ffe|fgre|gre)|ffe.?dual|\b(opp|ip|op|oop)\b|\bin$|\bout$|"
        r"\bt1\b.{0,12}\b(in|out)\b|\bfu(era|ori)\b|\bfora de|\b(en|em|in|hors|gegen) ?(phase|"
        r"fase)\b(?! ?(art|port|ve|tard|equi|hep|de ))|fase opuesta|^(ax|axial|tra|cor) fase$|同相|"
        "反相|同位相|逆位相"
    ),
    ReasonCode.FAT_IMAGE: (
        r"\bfat\b(?!.?(sat|sup|sh))|\bf$|(dixon|flex|dix)[ -]?f\b|^f[: ]|\bpdff\b|fat.?frac|"
        r"\bff\b|ideal.?iq|[rt]2.?star|\b[rt]2\*|liver.?lab|\be6\b|dixon.?quant|\bq.?dixon|"
        r"\br2s\b|\biron\b"
    ),
    ReasonCode.CHOLANGIOGRAPHY: r"mrcp|chola?ng|colang|\bcprm\b|(thick|thin).?slab|^radials?$",
    ReasonCode.ANGIOGRAPHY: (
        r"angio(?!m|\w* ?(phase|fase))|\bmra\b|\bcemra|\btof\b|\bmru\b|\buro(gra|mr)"
    ),
    ReasonCode.PARAMETER_MAP: (
        r"\bmap|maps?\b|elasto|\bmre\b|gremre|mr.?touch|perfusi|stiffness|\bwash|\bttp\b|molli|"
        r"look.?lock|wave\b"
    ),
    ReasonCode.PROJECTION_OR_REFORMAT: (
        r"\bm(in)?ip(\b|series)|\bvrt?\b|\bmpr\b|reformat|intensity projection|^pjn\b|"
        r"\brot(ate)?$|^spin$"
    ),
    ReasonCode.REPORT_OR_SCREEN: (
        r"dose.?(report|info|sheet)|patient.?protocol|screen.?(save|shot|cap)|\breport\b|^k(os?|"
        "in?|on)$|key.?(obj|ima)|processed|^sc:|presentation.?state|^pos ?disp|summary.?series"
    ),
    ReasonCode.LUNG_OR_BONE: r"\blung|pulm|\bbone|\bpoumon|\bpluc",
}
"""Words for what is no contrast phase of the liver."""

OF_MR = {
    ReasonCode.T2_WEIGHTED: None,
    ReasonCode.SPIN_ECHO: None,
    ReasonCode.BALANCED_GRADIENT_ECHO: None,
    ReasonCode.BLOOD_OR_FLOW: None,
    ReasonCode.DIFFUSION_WEIGHTED: None,
    ReasonCode.IN_OR_OPPOSED_PHASE: None,
    ReasonCode.FAT_IMAGE: None,
    ReasonCode.CALIBRATION: r"calib|kalib|\bcal\b",
    ReasonCode.CHOLANGIOGRAPHY: r"chola?ng|colang|(thick|thin).?slab",
    ReasonCode.ANGIOGRAPHY: r"angio(?!m|\w* ?(phase|fase))|\buro(gra)",
    ReasonCode.PARAMETER_MAP: r"\bmap|maps?\b|perfusi|\bwash|\bttp\b",
}
"""What CT is searched for in place of words that only MR can mean; None for nothing."""

OF_CT = {
    ReasonCode.LOCALIZER: (
        r"lo[ck]ali[sz]|\blocator|\bloc\b|scout|survey|3.?pl(ane)?\b|reperage|ubersicht|"
        "uebersicht|pilot|定位"
    ),
    ReasonCode.LUNG_OR_BONE: None,
}
"""What MR is searched for in place of words that only CT can mean; None for nothing."""

WORDS = {
    Phase.HEPATOBILIARY: (
        r"h?epato.?bil|\bhbp?\b|\bhpb\b|h?epato.?(spec|spez|cyt|zell)|\bepato\b|\bhepato\b|"
        r"leber.?spez|肝胆|肝細胞|肝细胞|肝特异|간담도|гепатобилиар|\bgan mat\b"
    ),
    Phase.PRE: (
        r"\bpre\b|pre.?(contrast|kontrast|gd|gad|inj|kont)|\bnativ|non.?contr|non.?enh|noncon\b|"
        r"unenh|non.?inject|\bw/?o\b|plain|\bdry\b|przed|\b(without|sans|sin|sem|senza|ohne|"
        r"zonder|bez)\b.?(inj|iv|contr|kontr|pdc|mdc|gad|gd|km|iod|c\b|$)|\bblanco?\b|basale|"
        r"\bss ?(iv|inj|gad)|\bavant\b|\bsimple\b|kontrastsiz|\bsc\b|\bsk\d?\b|\bnc(ct|e)?\b|"
        r"\bnect\b|\bc-(?![a-z])|(?<= )-c\b|\buten\b|\butan\b|\bmas[kq]|baseline|"
        r"造影前|增强前|蒙片|平扫|平掃|単純|조영전|натив|без|до контр|\btruoc\b"
    ),
    Phase.ARTERIAL: (
        r"\bart(?!efa|if)|arter|angio\w* ?(phase|fase)|\b(ha?|ea|la)p\b|tetnicz|\bar\b|\bimmed|"
        r"\bc ?\+ ?a\b|артер|动脉|動脈|早期相|동맥|\bdong mach\b"
    ),
    Phase.PORTAL: (
        r"\bpor\b|\b(art)?port(?!able)|\bpv\d?\b|\bpvp?\b|p\. ?ven|\bven\b|venou|venos|vein|zyln|"
        r"wrotn|\bc ?\+ ?v\b|портал|веноз|门静脉|门脉|静脉期|門脈|문맥|\btinh mach\b"
    ),
    Phase.DELAYED: (
        r"delay|\bdel\b|\bdly\b|\blate\b|tard|e?qui?libr|\bequil|\blaat\b|\bsen ?fas|equlibr|"
        r"\bequ?\b|\bspae?t|retard|opozn|\bgec\b|excret|transition|intersti|отсроч|延迟|延遲|遅延|平衡|移行|"
        r"後期|지연|평형|\bcan bang\b|pozdn"
    ),
}
"""Words for each phase."""

ENHANCED = (
    r"\bc ?\+|\bce\b|\bcc\b|\bck\d?\b|enhanc|contrast|kontrast|\bgd\b|\bgad|\binj|\bkm\b|"
    r"\+ ?[ck]\b|\bmdc\b|(?<!\d )\bcm\b|\bpg\b|\b(with|after|avec|apres|con|nach)\b|"
    r"\bpos[t ]? ?\d*\b|\bpo\b|\binfusion|造影後|增强后"
)
"""Words for images with contrast agent, of whatever phase."""

SEVERAL_TIMES = r"\b\d+[ ,/&]+\d+[ ,/&]+\d+ ?(s|sec|min)\b"
PRE_AND_POST = r"pre\b.{0,8}(post|\d ?(dyn|ph))"
SEVERAL_PHASES = PRE_AND_POST + (
    r"|\bw/?wo\b|\bwow\b|\bw.{0,5}(and|&|/|\+).{0,5}w/?o\b|\b[23]fas|biphas|bipasi|triphas|"
    "multiphas"
)
"""Words for several phases in one series."""

NOT_WAITED = r"\bno (\d+ ?\w+ )?del\w*"
"""Words for a delay that was left out."""

RAPID = r"twist|disco|tricks|grasp|multi.?art|freeze.?it|keyhole|4d.?thrive"
"""Words for time-resolved acquisitions, whose time points are seconds apart."""

NUMBERED = r"\b(?:ph(?:ase)?|pass|post|dyn) ?(\d+)\b|\b(\d)(?:st|nd|rd|th)\b"
"""Numbers of the phases of a dynamic series."""

UNITS = (
    "s|secs?|seconds|sek|seg|m|mn|mins?|minutes?|minutos|minuti|minuten|phut|'|分钟?|秒|h|hrs?|"
    "hours?|std"
)

REPEATED = r"\brpt\b|repeat|\bwdh|wiederh|\bredo\b|\brep\b|repet"
"""Words for a series that replaces the one before it, for instance after a failed breath-hold."""

LATE = r"delay|\blate\b|tard|\bspae?t|retard|\blaat\b|延迟|延遲|遅延"
"""Words that say no more than that a series is not among the first: "late arterial", "late venous",
a late hepatobiliary phase."""

OTHER_BODY_PART = (
    r"\bchest|\bthora|\bpelvis|\bneck\b|\bbrain|\bhead|spine|lumb|prostat|cardiac|\bbreast"
)
LUNG = r"|\blung|pulm"
"""What names the body part in MR; in CT it may name a reconstruction."""

ABDOMEN = r"abd|\bab\b|adrenal|liver|foie|leber|hepat|body|\bcap\b|\bap\b|brzuch"

EAST_ASIAN = "\u3040-\u9fff\uac00-\ud7af"

HOUR_S = 3600.0
SHORTEST_DELAY_S = 13.0
"""Shorter times in words are those of a breath-hold."""


def words_for_no_phase(modality: Modality | None) -> dict[ReasonCode, str]:
    """`NOT_A_PHASE` without the words that only the other modality can mean.

    >>> ReasonCode.T2_WEIGHTED in words_for_no_phase(Modality.CT)
    False
    """
    other: dict[ReasonCode, str | None] = {}
    if modality is not None:
        other = OF_MR if modality is Modality.CT else OF_CT
    return {
        code: pattern
        for code, usual in NOT_A_PHASE.items()
        if (pattern := other.get(code, usual)) is not None
    }


def phase_in_words(
    description: str,
    *,
    hepatobiliary: bool | None = True,
    modality: Modality | None = None,
) -> PhaseGuess | None:
    """The phase that a description or a file name tells.

    Args:
        description: words in any of several languages and their abbreviations.
        hepatobiliary: whether "20 min" may mean the hepatobiliary phase; otherwise it is delayed.
            None where the agent is not known.
        modality: of the image, whose words alone count; None where it is not known.

    Returns:
        The phase, or that it is none; None when no phase is named or several are left open.

    >>> phase_in_words("180 sec Delay").phase, phase_in_words("F. TĘTNICZA 5.0 B41s").phase
    (<Phase.DELAYED: 3>, <Phase.ARTERIAL: 1>)
    >>> phase_in_words("AbdPel") is None
    True
    """
    plain = searchable(description)
    elsewhere = OTHER_BODY_PART + (LUNG if modality is Modality.MR else "")
    if (found := re.search(elsewhere, plain)) and not re.search(ABDOMEN, plain):
        return not_a_phase(0.8, ReasonCode.OTHER_BODY_PART, word=found[0])
    for code, pattern in words_for_no_phase(modality).items():
        if found := re.search(pattern, plain):
            return not_a_phase(0.98, code, word=found[0].strip())
    named = phases_named(plain, hepatobiliary=hepatobiliary, modality=modality)
    if len(named) != 1:
        return None
    ((phase, word),) = named.items()
    return PhaseGuess(phase, 0.97, (Reason.of(ReasonCode.PHASE_IN_WORDS, word=word),))


def phases_named(
    plain: str, *, hepatobiliary: bool | None, modality: Modality | None = None
) -> dict[Phase, str]:
    """The phases that words leave open, each with its word.

    One where the words decide it, none where they name no phase.

    >>> sorted(phases_named("t1 vibe late venous", hepatobiliary=True))
    [<Phase.PORTAL: 2>, <Phase.DELAYED: 3>]
    """
    # the first time point of several arterial ones is pre-contrast
    if re.search(SEVERAL_PHASES, plain) or re.search(r"multi.?art", plain):
        return {}
    if re.search(SEVERAL_TIMES, plain):
        return {}
    plain = re.sub(NOT_WAITED, " ", plain)
    named = {
        phase: found[0].strip()
        for phase, pattern in WORDS.items()
        if (found := re.search(pattern, plain))
    }
    if modality is Modality.CT:
        named.pop(Phase.HEPATOBILIARY, None)  # the organs that the examination is about
    times = times_in_words(plain)
    # "art, 70 s, 2 min"
    if (
        len(times) > 1
        and len({phase_at(time, hepatobiliary=False) for time in times} | named.keys()) > 2
    ):
        return {}
    seconds = seconds_in_words(plain)
    # "30 sec delay" is the scan's delay, not the delayed phase
    if seconds is not None and set(named) <= {Phase.DELAYED}:
        may = (False, True) if hepatobiliary is None else (hepatobiliary,)
        return {phase_at(seconds, hepatobiliary=one): f"{seconds:.0f} s" for one in may}
    if len(named) == 2 and Phase.HEPATOBILIARY in named:  # "delayed hepatobiliary"
        return {Phase.HEPATOBILIARY: named[Phase.HEPATOBILIARY]}
    other = named.get(Phase.ARTERIAL) or re.match("por|pv", named.get(Phase.PORTAL, ""))
    # "late arterial"
    if len(named) == 2 and other and re.match(LATE, named.get(Phase.DELAYED, "")):
        del named[Phase.DELAYED]
    return named


def plain_words(description: str) -> str:
    """Lower case, without accents, with a space where camelCase or an underscore joins words."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", description.replace("ł", "l").replace("Ł", "L"))
    bare = "".join(
        char for char in unicodedata.normalize("NFKD", spaced) if not unicodedata.combining(char)
    )
    return " ".join(bare.lower().split())


def searchable(description: str) -> str:
    """`plain_words` for the patterns of this module, with East Asian characters kept whole.

    These stand apart from Latin letters and digits, for no word boundary lies between them.
    """
    plain = unicodedata.normalize("NFC", plain_words(description))
    return re.sub(rf"(?<=[a-z0-9])(?=[{EAST_ASIAN}])|(?<=[{EAST_ASIAN}])(?=[a-z0-9])", " ", plain)


def seconds_in_words(plain: str) -> float | None:
    """The time after injection in words ("65s", "2h"), None without one or with several."""
    times = times_in_words(plain)
    return times[0] if len(times) == 1 else None


def times_in_words(plain: str) -> list[float]:
    """All times that words name, in seconds.

    >>> times_in_words("c art 70s 2min bh")
    [70.0, 120.0]
    """
    plain = re.sub(NOT_WAITED, " ", plain)
    spaced = re.sub(r"\b(post|delay|dyn|ax|cor|sag|c)(?=\d)", r"\1 ", plain)
    found = re.findall(rf"(?<![\d.a-z])(\d{{1,4}})[ -]?({UNITS})(?![a-z0-9])", spaced)
    times = [_seconds(float(amount), unit) for amount, unit in found]
    return [time for time in times if time is not None and not 0 < time < SHORTEST_DELAY_S]


def _seconds(amount: float, unit: str) -> float | None:
    if unit.startswith(("h", "std")):
        return amount * HOUR_S if amount <= 24 else None
    if unit == "m" and amount > 30:
        return None
    return amount * (60 if unit.startswith(("m", "p", "'", "分")) else 1)


def phase_at(seconds: float, *, hepatobiliary: bool) -> Phase:
    """The phase at a time after injection.

    Args:
        seconds: after the injection, negative before it.
        hepatobiliary: whether the agent has a hepatobiliary phase. One is assumed from an hour on,
            for nobody waits so long without an agent that hepatocytes take up.

    >>> [phase_at(t, hepatobiliary=True).name for t in (-60, 30, 70, 180, 1200)]
    ['PRE', 'ARTERIAL', 'PORTAL', 'DELAYED', 'HEPATOBILIARY']
    """
    for phase, end in (
        (Phase.PRE, 5.0),
        (Phase.ARTERIAL, 50.0),
        (Phase.PORTAL, 115.0),
        (Phase.DELAYED, 540.0),
    ):
        if seconds < end:
            return phase
    return Phase.HEPATOBILIARY if hepatobiliary or seconds >= HOUR_S else Phase.DELAYED
