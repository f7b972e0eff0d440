"""Studies as hospitals name, number and time them in, one header per series and the true phase of each out.

A line of a protocol is a code and a description. The code: the true phase (0 pre-contrast, A, V, D, H, or - for none), seconds after the
injection where the protocol fixes them, the kind of image (a key of `KINDS`, "g" unless given), and + for a further time point of the
series above. Series without a time follow 90 s after the one above.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from pydicom import Dataset

from hepatica.study import Phase

LETTERS = {"0": Phase.PRE, "A": Phase.ARTERIAL, "V": Phase.PORTAL, "D": Phase.DELAYED, "H": Phase.HEPATOBILIARY, "-": None}
AXIAL, CORONAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]
KINDS = {  # ScanningSequence, SequenceVariant, 2D or 3D, TR, TE, flip angle, echo train, end of ImageType, orientation, slice thickness
    "g": ("GR", "SP", "3D", 4.0, 1.8, 12, 1, "", AXIAL, 3),
    "c": ("GR", "SP", "3D", 4.1, 1.7, 12, 1, "", CORONAL, 3),
    "s": ("GR", "SP", "3D", 4.1, 1.7, 12, 1, "", SAGITTAL, 3),
    "h": ("GR", "SP", "3D", 4.3, 1.8, 30, 1, "", AXIAL, 3),
    "fl": ("GR", "SP", "2D", 170, 2.4, 70, 1, "", AXIAL, 6),
    "w": ("GR", "SP", "3D", 5.5, 1.7, 12, 1, "WATER", AXIAL, 3),
    "df": ("GR", "SP", "3D", 5.5, 1.7, 12, 1, "FAT", AXIAL, 3),
    "di": ("GR", "SP", "3D", 5.5, 2.4, 12, 1, "IN_PHASE", AXIAL, 3),
    "do": ("GR", "SP", "3D", 5.5, 1.2, 12, 1, "OUT_PHASE", AXIAL, 3),
    "wm": ("GR", "SP", "3D", 5.5, 1.7, 12, 1, "", AXIAL, 3),
    "loc": ("GR", "SS", "2D", 5, 1.8, 40, 1, "", AXIAL, 8),
    "ss": ("SE", "SK", "2D", 1200, 90, 150, 180, "", AXIAL, 6),
    "sc": ("SE", "SK", "2D", 1200, 90, 150, 180, "", CORONAL, 6),
    "tse": ("SE", "SK", "2D", 4000, 82, 140, 16, "", AXIAL, 5),
    "dw": ("EP", "SK", "2D", 5200, 60, 90, 1, "", AXIAL, 6),
    "adc": ("EP", "SK", "2D", 5200, 60, 90, 1, "ADC", AXIAL, 6),
    "ip": ("GR", "SP", "2D", 170, 4.6, 70, 1, "", AXIAL, 6),
    "op": ("GR", "SP", "2D", 170, 2.3, 70, 1, "", AXIAL, 6),
    "mp": ("SE", "SK", "3D", 3500, 700, 140, 200, "", CORONAL, 1.2),
    "bal": ("GR", "SS", "2D", 3.8, 1.6, 55, 1, "", AXIAL, 6),
    "mre": ("EP", "SK", "2D", 1000, 45, 90, 1, "", AXIAL, 8),
    "mrg": ("GR", "SP", "2D", 50, 21, 25, 1, "", AXIAL, 8),
    "sub": ("GR", "SP", "3D", 4.0, 1.8, 12, 1, "SUB", AXIAL, 3),
    "xs": ("GR", "SP", "3D", 4.0, 1.8, 12, 1, "", AXIAL, 3),
    "mip": ("GR", "SP", "3D", 4.0, 1.8, 12, 1, "MIP", CORONAL, 30),
    "mon": ("GR", "SP", "2D", 4.4, 1.2, 30, 1, "", CORONAL, 20),
    "cal": ("GR", "SP", "2D", 20, 1.0, 5, 1, "", AXIAL, 8),
    "t2s": ("GR", "SP", "3D", 12, 1.2, 5, 6, "", AXIAL, 6),
}
AGENTS = {
    "eob": ["EOVIST", "Primovist", "Gd-EOB-DTPA", "gadoxetate"],
    "ecf": ["GADAVIST", "Gadovist", "Dotarem", "ProHance", "MAGNEVIST"],
    "multi": ["MULTIHANCE"],
    "": [""],
}


@dataclass(frozen=True)
class Protocol:
    """A study of one hospital.

    Attributes:
        name: of the protocol.
        vendor: "SIEMENS", "GE", "Philips" or "Canon"; it tells how series are numbered.
        agent: a key of `AGENTS`.
        series: lines as the module describes them.
    """

    name: str
    vendor: str
    agent: str
    series: str


HELD_OUT = [
    Protocol("siemens dixon, eob", "SIEMENS", "eob", """
        -loc localizer
        -sc t2_haste_cor_mbh
        -do t1_vibe_dixon_tra_bh_opp
        -di t1_vibe_dixon_tra_bh_in
        -df t1_vibe_dixon_tra_bh_F
        0w t1_vibe_dixon_tra_bh_W
        A20w t1_vibe_dixon_tra_art_W
        -20df t1_vibe_dixon_tra_art_F
        V70w t1_vibe_dixon_tra_pv_W
        D180w t1_vibe_dixon_tra_3min_W
        -tse t2_tse_fs_tra_trig
        -dw ep2d_diff_b50_400_800_tra
        -adc ep2d_diff_b50_400_800_tra_ADC
        -mp t2_spc_3d_mrcp_cor
        H1200w t1_vibe_dixon_tra_20min_W
        H1290c t1_vibe_fs_cor_20min
    """),
    Protocol("ge lava phases by number", "GE", "ecf", """
        -loc 3-pl T2* FGRE
        -cal Calibration
        -sc COR SSFSE BH
        -ss AX SSFSE FS
        -op Ax T1 Dual Echo
        -dw AX DWI b500
        0 AX LAVA DYN PRE & POST
        A25 Ph1/AX LAVA DYN PRE & POST
        V65 Ph2/AX LAVA DYN PRE & POST
        D160 Ph3/AX LAVA DYN PRE & POST
        D260c COR LAVA POST
        D400 AX LAVA DELAYED 5 MIN
    """),
    Protocol("philips ethrive one word", "Philips", "eob", """
        -loc SURVEY
        -cal Ref_SENSE
        -sc sBTFE BH cor
        -ss T2W_SSh_BH
        -op T1W_FFE_dual
        0 dyn eTHRIVE_BH
        A22+ dyn eTHRIVE_BH
        V68+ dyn eTHRIVE_BH
        D175+ dyn eTHRIVE_BH
        -dw DWI_3b_RT
        H1210h eTHRIVE_BH HB
        H1300c eTHRIVE cor
    """),
    Protocol("duke ax dyn", "GE", "ecf", """
        -loc LOC
        -sc COR SSFSE
        -ip AX IN PHASE
        -op AX OUT PHASE
        -tse AX FSE T2 FS RT
        0 AX 3D DYN
        A24 AX 3D DYN
        V66 AX 3D DYN
        D170 AX 3D DYN
        D330 AX 3D DELAYED
        D420c COR 3D DELAYED
    """),
    Protocol("duke siemens bare", "SIEMENS", "", """
        -loc localizer
        -sc cor haste
        -ss ax haste fs
        0 ax vibe dynamic
        A26 ax vibe dynamic
        V72 ax vibe dynamic
        D185 ax vibe dynamic
        -tse ax t2 fs
        -bal ax trufisp
        D600 ax vibe post
    """),
    Protocol("german caipi", "SIEMENS", "eob", """
        -loc Lokalizer
        -sc t2_haste_cor_p2_mbh
        -ip t1_fl2d_opp-in_tra_p2_mbh
        -op t1_fl2d_opp-in_tra_p2_mbh
        0 t1_vibe_fs_tra_caipi_nativ
        -mon CARE_Bolus_cor
        A21 t1_vibe_fs_tra_caipi_KM
        V63 t1_vibe_fs_tra_caipi_KM
        D150 t1_vibe_fs_tra_caipi_KM
        -xs t1_vibe_fs_tra_caipi_KM_SUB
        -dw ep2d_diff_tra_trig_TRACEW
        -adc ep2d_diff_tra_trig_ADC
        H900 t1_vibe_fs_tra_caipi_spaet
        H960c t1_vibe_fs_cor_caipi_spaet
    """),
    Protocol("french dixon ge", "GE", "ecf", """
        -loc LOCALISATEUR
        -ss AXIAL T2 SSFSE
        -sc COR FIESTA FS
        -tse AX T2 FRFSE FS
        -di InPhase: AX LAVA FLEX SANS INJ
        -do OutPhase: AX LAVA FLEX SANS INJ
        0w WATER: AX LAVA FLEX SANS INJ
        -df FAT: AX LAVA FLEX SANS INJ
        A30w WATER: AX LAVA FLEX ART
        V75w WATER: AX LAVA FLEX PORTAL
        D190w WATER: AX LAVA FLEX TARDIF
        D270w WATER: COR LAVA FLEX GADO
    """),
    Protocol("discs of ge disco, three arterials", "GE", "eob", """
        -loc 3-Plane Loc
        -cal Asset Cal
        0wm WATER: Ph1/AX DISCO MULTI ART
        A22wm WATER: Ph2/AX DISCO MULTI ART
        A27wm WATER: Ph3/AX DISCO MULTI ART
        A32wm WATER: Ph4/AX DISCO MULTI ART
        V70wm WATER: AX LAVA-FLEX PV
        D180wm WATER: AX LAVA-FLEX 3 MIN
        -tse Ax T2 PROPELLER
        -mrg AX MR Touch
        H1100wm WATER: AX LAVA-FLEX HPB 18min
    """),
    Protocol("twist-vibe, seven points then words", "SIEMENS", "ecf", """
        -loc loc
        0 TWIST_VIBE_tra_pre
        A18 TWIST_VIBE_tra_art
        A22+ TWIST_VIBE_tra_art
        A26+ TWIST_VIBE_tra_art
        A30+ TWIST_VIBE_tra_art
        V65 vibe_tra_post_1min
        D180 vibe_tra_post_3min
        D300 vibe_tra_post_5min
        -ss haste_tra
    """),
    Protocol("canon", "Canon", "ecf", """
        -loc Locator
        -sc FASE cor T2
        -tse T2 FatSat ax
        -ip T1 In Phase
        -op T1 Out Phase
        0 Quick3D ax BH
        A25 Quick3D ax BH
        V70 Quick3D ax BH
        D180 Quick3D ax BH
        -dw DWI b800
    """),
    Protocol("spanish", "GE", "ecf", """
        -loc localizador
        -sc COR T2 SSFSE
        -ip AX T1 FASE
        -op AX T1 FUERA DE FASE
        0 AX LAVA SIN CONTRASTE
        A28 AX LAVA ARTERIAL
        V70 AX LAVA PORTAL
        D200 AX LAVA TARDIA
        D280c COR LAVA CON CONTRASTE
        -dw AX DIFUSION
    """),
    Protocol("italian, gadoxetate", "Philips", "eob", """
        -loc survey
        -ss T2 TSE assiale
        -tse T2 SPIR
        0 THRIVE BASALE
        A24 THRIVE ARTERIOSA
        V65 THRIVE PORTALE
        D180 THRIVE TARDIVA
        -dw DWI 4b
        H1200 THRIVE EPATOSPECIFICA
        H1260c THRIVE COR EPATO
    """),
    Protocol("chinese", "GE", "ecf", """
        -loc 定位
        -tse OAx T2 fs RTr
        -dw DWI 800b
        0wm Ax LAVA-Flex+C
        A22wm Ph1/Ax LAVA-Flex+C
        A34wm Ph2/Ax LAVA-Flex+C
        V62wm Ph3/Ax LAVA-Flex+C
        D180wm Ph4/Ax LAVA-Flex+C
        D240c Cor LAVA+C
    """),
    Protocol("failed breath-hold repeated", "SIEMENS", "ecf", """
        -loc localizer
        -ss t2_haste_fs_tra
        0 t1_vibe_q-fs_tra_bh_pre
        0 t1_vibe_q-fs_tra_bh_pre repeat
        A22 t1_vibe_q-fs_tra_bh_post
        V64 t1_vibe_q-fs_tra_bh_post
        V90 t1_vibe_q-fs_tra_bh_post rpt
        D180 t1_vibe_q-fs_tra_bh_post
        D300c t1_vibe_q-fs_cor_bh_post
    """),
    Protocol("no pre", "Philips", "ecf", """
        -ss T2 SSH
        A25 mDIXON-W art
        V65 mDIXON-W ven
        D180 mDIXON-W equi
    """),
    Protocol("plus and minus c", "GE", "eob", """
        -loc 3 PLANE LOC
        -op AX FSPGR IN/OUT
        0 AX LAVA -C
        A20 AX LAVA +C 20 sec
        V60 AX LAVA +C 60 sec
        D180 AX LAVA +C 3 min
        H600 AX LAVA +C 10 min
        H1200 AX LAVA +C 20 min
        -tse AX T2 FS +C
    """),
    Protocol("ecf 10 min", "SIEMENS", "ecf", """
        -loc localizer
        0 T1 VIBE AX PRE
        A20 T1 VIBE AX 20 SEC
        V60 T1 VIBE AX 1 MIN
        D120 T1 VIBE AX 2 MIN
        D600 T1 VIBE AX 10 MIN DELAY
        D660c T1 VIBE COR DELAY
        D720s T1 VIBE SAG
    """),
    Protocol("starvibe post numbers", "SIEMENS", "multi", """
        -loc scout
        -sc haste cor
        0 t1_starvibe_fs_tra_pre
        A25 t1_vibe_fs_tra_post1
        V65 t1_vibe_fs_tra_post2
        D150 t1_vibe_fs_tra_post3
        D240 t1_starvibe_fs_tra_post
        -dw resolve_diff_b50_800
    """),
    Protocol("hbp without words", "GE", "eob", """
        -loc LOC
        -ss Ax SSFSE
        0 Ax LAVA
        A25 Ax LAVA
        V70 Ax LAVA
        D190 Ax LAVA
        -tse Ax T2 FS
        -dw Ax DWI
        H1200h Ax LAVA FA30
        H1270c Cor LAVA FA30
    """),
    Protocol("flash 2d, old", "SIEMENS", "ecf", """
        -loc localizer
        -tse t2_tse_tra
        -ip t1_fl2d_tra_in
        -op t1_fl2d_tra_opp
        0fl t1_fl2d_tra_fs
        A24fl t1_fl2d_tra_fs
        V66fl t1_fl2d_tra_fs
        D200fl t1_fl2d_tra_fs
        D290fl t1_fl2d_cor_fs
    """),
]  # fmt: skip
