"""Words of series descriptions in many languages, and the phases they name."""

import pytest

from liverleaf.ingest.phases.descriptions import (
    phase_in_words,
    phases_named,
    plain_words,
    seconds_in_words,
)
from liverleaf.ingest.phases.reasons import ReasonCode
from liverleaf.study import Modality, Phase

WORDS = {
    Phase.PRE: [
        "DRY LIVER",
        "WITHOUT CONTRAST",
        "AXIAL SC",
        "SC 2.5mm",
        "Przed kontrastem",
        "nativ",
        "LIVER WO  5.0  B40f",
        "TRI LIVER C-",
        "Non-contrast",
        "UPPER ABD PLAIN STND 2.5MM",
        "t1_vibe_fs_tra_bh_pre",
        "Abdomen sans IV",
        "ohne KM",
        "UNENHANCED",
        "平扫",
        "C-pre",
        "NC",
        "AX LAVA AVANT INJECTION",
        "T1 VIBE KONTRASTSIZ",
        "Quick3D 単純",
        "vibe 조영전",
        "AX LAVA SIMPLE",
    ],
    Phase.ARTERIAL: [
        "Late art. phase  3.0  B40f",
        "ARTERIAL LIVER",
        "F. TĘTNICZA  5.0  B41s",
        "AR 1.25mm",
        "ArterialPhase",
        "Artérielle",
        "30 sec delay",
        "HAP",
        "动脉期",
        "C+A",
        "t1_vibe_dyn_art_W",
        "AXIAL_VIBE_POST_25_sec_Angio_Phase",
    ],
    Phase.PORTAL: [
        "P.Venous pha  3.0  B40f",
        "65s Portal",
        "VENOUS PHASE 55 SECS",
        "F.ŻYLNA 5.0 B41s",
        "AbdPel Portalvenous",
        "ABD 80 SEC",
        "PV Abd",
        "temps portal",
        "Veineux",
        "门静脉期",
        "C+V",
    ],
    Phase.DELAYED: [
        "180 sec Delay  3.0  B40f",
        "3 min Delay",
        "EQUILIBRIO",
        "EQULIBRIO",
        "tardif",
        "Leber spät 3.0",
        "LIVER DELAY",
        "C+Delay",
        "延迟期",
    ],
    Phase.HEPATOBILIARY: [
        "HBP",
        "肝細胞相",
        "epatobiliare",
        "t1_vibe_20min",
        "hepatobiliary phase",
        "delayed hepatobiliary",
        "肝胆期",
    ],
}
NO_PHASE = [
    "ARTERIAL - PRE",
    "PORTAL minus PRE",
    "(33030/100/1)-(33030/101/1)",
    "T1 FUORI FASE",
    "轴位T2脂肪抑制",
    "mDIXON-Quant_BH",
    "KOS",
    "t2_haste_tra",
    "ep2d_diff_b50_400_800",
    "ADC",
    "T1 in/opp phase",
    "InPhase: LAVA-Flex",
    "MRCP",
    "localizer",
    "Topogram",
    "SUB art-pre",
    "MIP axial",
    "LUNG 5.0mm",
    "Monitoring  9.6  B31s",
    "Dose Report",
    "T1 map",
    "Chest  5.0  B40f",
    "FAT: LAVA-Flex",
    "t1_vibe_dixon_F",
    "(T1W Post contrast - T1W Pre-contrast)",
    "realtime",
    "2D_BOLUSTRAK",
    "sB600",
    "TOF PORTAL VEIN",
    "MRU",
    "ax FSE",
    "THICK SLAB",
]
UNDECIDED = [
    "",
    "AbdPelvis  5.0  B30f",
    "ArtVen Phase",
    "FOIE BIPASIQUE",
    "30 70 120 SEC DELAY",
    "CT ABD WWO",
    "Abdomen K3  5.0  B30f",
    "C-A-P",
    "LAVA- Flex Art, 70sec, 2min",
    "LAVA FS +C @ Art,1,2 & 3 MIN",
    "15_SEC_DUAL_ARTPORT",
    "AxLAVA DYNAMIC(1xpre 3x POST)",
    "C_Ax_MPh_LAVA_BH_Asset",
]


@pytest.mark.parametrize(
    ("phase", "words"), [(phase, words) for phase, several in WORDS.items() for words in several]
)
def test_words_for_a_phase(phase, words) -> None:
    guess = phase_in_words(words)
    assert guess is not None
    assert guess.phase is phase


@pytest.mark.parametrize("words", NO_PHASE)
def test_words_for_what_is_no_phase(words) -> None:
    guess = phase_in_words(words)
    assert guess is not None
    assert guess.phase is None


@pytest.mark.parametrize("words", UNDECIDED)
def test_words_that_do_not_tell(words) -> None:
    assert phase_in_words(words) is None


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("65s Portal", 65),
        ("5 min", 300),
        ("POST20sec", 20),
        ("tardif 2h", 7200),
        ("20 PHUT", 1200),
        ("TTC=3.5s", None),
        ("T1 AX30 SEC.", 30),
        ("5 MINUTE", 300),
        ("AX_VIBE_11S_POST", None),
        ("AX 3D NO 5 MIN DEL", None),
        ("30 70 s", 70),
        ("", None),
    ],
)
def test_seconds(words, seconds) -> None:
    assert seconds_in_words(plain_words(words)) == seconds


@pytest.mark.parametrize(
    ("words", "agent", "phases"),
    [
        ("late arterial", None, {Phase.ARTERIAL}),
        ("late venous", None, {Phase.PORTAL, Phase.DELAYED}),
        ("late portal", None, {Phase.PORTAL}),
        ("art-port", None, {Phase.ARTERIAL, Phase.PORTAL}),
        ("10 min", None, {Phase.DELAYED, Phase.HEPATOBILIARY}),
        ("10 min", True, {Phase.HEPATOBILIARY}),
        ("10 min", False, {Phase.DELAYED}),
        ("pre/post", None, set()),
        ("t1 vibe", None, set()),
    ],
)
def test_phases_that_words_leave_open(words, agent, phases) -> None:
    assert phases_named(words, hepatobiliary=agent).keys() == phases


ONLY_MR = (
    "T2SPIR",
    "t2_haste",
    "DWI b800",
    "ADC",
    "InPhase: LAVA-Flex",
    "ax FSE",
    "MRCP",
    "TRUFISP",
)
ONLY_CT = ("Topogram", "BONE 2.0 B70f", "LUNG 5.0mm")


@pytest.mark.parametrize("words", ONLY_MR)
def test_words_of_mr_do_not_exclude_ct(words) -> None:
    assert phase_in_words(words, modality=Modality.CT) is None
    guess = phase_in_words(f"portal {words}", modality=Modality.CT)
    assert guess is not None
    assert guess.phase is Phase.PORTAL
    for modality in (Modality.MR, None):
        excluded = phase_in_words(words, modality=modality)
        assert excluded is not None
        assert excluded.phase is None


@pytest.mark.parametrize("words", ONLY_CT)
def test_words_of_ct_name_no_reconstruction_of_mr(words) -> None:
    for modality in (Modality.CT, None):
        excluded = phase_in_words(words, modality=modality)
        assert excluded is not None
        assert excluded.phase is None
    guess = phase_in_words(words, modality=Modality.MR)
    assert guess is None or guess.code is ReasonCode.OTHER_BODY_PART


def test_dual_energy_excludes_neither() -> None:
    for modality in Modality:
        guess = phase_in_words("portal dual energy", modality=modality)
        assert guess is not None
        assert guess.phase is Phase.PORTAL


def test_the_hepatobiliary_system_is_no_phase_of_ct() -> None:
    assert phase_in_words("CT HEPATOBILIARY", modality=Modality.CT) is None
    guess = phase_in_words("CT HEPATOBILIARY portal", modality=Modality.CT)
    assert guess is not None
    assert guess.phase is Phase.PORTAL


@pytest.mark.parametrize("words", ["minus", "SUB art-pre", "MIP axial", "Dose Report", "localizer"])
def test_words_of_both_exclude_both(words) -> None:
    for modality in Modality:
        guess = phase_in_words(words, modality=modality)
        assert guess is not None
        assert guess.phase is None
