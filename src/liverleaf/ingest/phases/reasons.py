"""Why a series is taken for a contrast phase or for none: codes to decide by, sentences to read.

Nothing branches on a sentence. `SENTENCES` may be reworded or translated, and every series keeps
its phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

from liverleaf.study import Phase


class ReasonCode(StrEnum):
    """Why a series is taken for a contrast phase, or for none."""

    # words of the description that name what is no contrast phase
    LOCALIZER = auto()
    CALIBRATION = auto()
    BOLUS_TRACKING = auto()
    SUBTRACTION = auto()
    T2_WEIGHTED = auto()
    SPIN_ECHO = auto()
    BALANCED_GRADIENT_ECHO = auto()
    BLOOD_OR_FLOW = auto()
    DIFFUSION_WEIGHTED = auto()
    IN_OR_OPPOSED_PHASE = auto()
    FAT_IMAGE = auto()
    CHOLANGIOGRAPHY = auto()
    ANGIOGRAPHY = auto()
    PARAMETER_MAP = auto()
    PROJECTION_OR_REFORMAT = auto()
    REPORT_OR_SCREEN = auto()
    LUNG_OR_BONE = auto()
    OTHER_BODY_PART = auto()
    MASK_BY_NAME = auto()

    # technical elements of what is no contrast phase
    NOT_CT_OR_MR = auto()
    LOCALIZER_BY_IMAGE_TYPE = auto()
    SUBTRACTION_BY_IMAGE_TYPE = auto()
    PROJECTION_BY_IMAGE_TYPE = auto()
    OTHER_CONTRAST_BY_IMAGE_TYPE = auto()
    LONG_ECHO_TIME = auto()
    ECHO_PLANAR = auto()
    SPIN_ECHO_BY_SEQUENCE = auto()
    OTHER_SEQUENCE_NAME = auto()
    BALANCED_BY_SEQUENCE = auto()
    FAST_2D = auto()
    ONE_THICK_SLICE = auto()
    MULTI_ECHO = auto()

    # what is no contrast phase beside the other series
    ECHO_TIME_PAIR = auto()
    SEVERAL_FLIP_ANGLES = auto()
    SMALL_FLIP_ANGLE = auto()
    TWO_DIMENSIONAL_BESIDE_3D = auto()
    DERIVED = auto()
    WITHOUT_TECHNIQUE = auto()
    TOO_FEW_SLICES = auto()

    # a phase by the series itself
    PHASE_IN_WORDS = auto()
    CONTRAST_IN_WORDS = auto()
    TIME_AFTER_INJECTION = auto()
    OTHER_TIME_AFTER_INJECTION = auto()
    PIXELS_SHOW_CONTRAST = auto()
    PIXELS_SHOW_NO_CONTRAST = auto()
    AGENT_IN_HEADERS = auto()
    USER_TABLE = auto()

    # a phase by the other series
    NO_AGENT_BESIDE_LATER_ONE = auto()
    LAST_AND_2D = auto()
    BEFORE_BOLUS_TRACKING = auto()
    AFTER_BOLUS_TRACKING = auto()
    BEFORE_CONTRAST_IN_WORDS = auto()
    BEFORE_THREE_IN_A_ROW = auto()
    FIRST_OF_THREE_IN_A_ROW = auto()
    FIRST_OF_PRE_AND_POST = auto()
    NUMBERED_BY_OTHERS = auto()
    CONTRAST_IN_NAMES_OF_OTHERS = auto()
    ORDER_OF_SERIES = auto()
    ORDER_OF_ACQUISITION = auto()
    TAKEN_FIRST = auto()

    # a phase by pixels, or against what the headers say
    CT_PIXELS = auto()
    MR_PIXELS = auto()
    MOST_LIKE = auto()
    EARLY_ARTERIAL = auto()
    LATE_ARTERIAL = auto()
    HEADERS_ALONE = auto()

    # a phase without proof
    COMMONEST_PHASE = auto()
    NOTHING_IN_HEADERS = auto()
    UNKNOWN_ORDER = auto()
    MR_OF_UNKNOWN_PHASE = auto()
    CT_OF_UNKNOWN_PHASE = auto()


SENTENCES: Mapping[ReasonCode, str] = {
    ReasonCode.LOCALIZER: "a localizer: description says '{word}'",
    ReasonCode.CALIBRATION: "a calibration: description says '{word}'",
    ReasonCode.BOLUS_TRACKING: "bolus tracking: description says '{word}'",
    ReasonCode.SUBTRACTION: "a subtraction: description says '{word}'",
    ReasonCode.T2_WEIGHTED: "T2-weighted: description says '{word}'",
    ReasonCode.SPIN_ECHO: "a spin echo: description says '{word}'",
    ReasonCode.BALANCED_GRADIENT_ECHO: "a balanced gradient echo: description says '{word}'",
    ReasonCode.BLOOD_OR_FLOW: "an image of blood or flow: description says '{word}'",
    ReasonCode.DIFFUSION_WEIGHTED: "diffusion-weighted: description says '{word}'",
    ReasonCode.IN_OR_OPPOSED_PHASE: "an in- or opposed-phase image: description says '{word}'",
    ReasonCode.FAT_IMAGE: "a fat or fat-fraction image: description says '{word}'",
    ReasonCode.CHOLANGIOGRAPHY: "cholangiography: description says '{word}'",
    ReasonCode.ANGIOGRAPHY: "angiography: description says '{word}'",
    ReasonCode.PARAMETER_MAP: "a parameter map: description says '{word}'",
    ReasonCode.PROJECTION_OR_REFORMAT: "a projection or reformat: description says '{word}'",
    ReasonCode.REPORT_OR_SCREEN: "a report or screen: description says '{word}'",
    ReasonCode.LUNG_OR_BONE: "a lung or bone reconstruction: description says '{word}'",
    ReasonCode.OTHER_BODY_PART: "another body part: description says '{word}'",
    ReasonCode.MASK_BY_NAME: "called like a mask",
    ReasonCode.NOT_CT_OR_MR: "no image of CT or MR",
    ReasonCode.LOCALIZER_BY_IMAGE_TYPE: "a localizer by its image type",
    ReasonCode.SUBTRACTION_BY_IMAGE_TYPE: "a subtraction by its image type",
    ReasonCode.PROJECTION_BY_IMAGE_TYPE: "a projection by its image type",
    ReasonCode.OTHER_CONTRAST_BY_IMAGE_TYPE: "another contrast by its image type",
    ReasonCode.LONG_ECHO_TIME: "echo time {echo_ms:.0f} ms: not T1-weighted",
    ReasonCode.ECHO_PLANAR: "echo-planar imaging",
    ReasonCode.SPIN_ECHO_BY_SEQUENCE: "a spin echo",
    ReasonCode.OTHER_SEQUENCE_NAME: "not a T1-weighted gradient echo by the sequence's name",
    ReasonCode.BALANCED_BY_SEQUENCE: "a balanced gradient echo",
    ReasonCode.FAST_2D: (
        "a fast two-dimensional gradient echo: localizer, bolus tracking, balanced or cine"
    ),
    ReasonCode.ONE_THICK_SLICE: "one thick slice: bolus tracking or a projection",
    ReasonCode.MULTI_ECHO: "a multi-echo measurement of fat or iron",
    ReasonCode.ECHO_TIME_PAIR: "one of a pair of echo times: in- or opposed-phase",
    ReasonCode.SEVERAL_FLIP_ANGLES: "one of several flip angles: a measurement of T1",
    ReasonCode.SMALL_FLIP_ANGLE: "flip angle {degrees:.0f} degrees: not T1-weighted",
    ReasonCode.TWO_DIMENSIONAL_BESIDE_3D: (
        "a two-dimensional gradient echo beside three-dimensional ones"
    ),
    ReasonCode.DERIVED: "made of other series by its image type",
    ReasonCode.WITHOUT_TECHNIQUE: "without the technical elements that the others have",
    ReasonCode.TOO_FEW_SLICES: "too few slices ({count}) beside longer series",
    ReasonCode.PHASE_IN_WORDS: "description says '{word}'",
    ReasonCode.CONTRAST_IN_WORDS: "description says '{word}'",
    ReasonCode.TIME_AFTER_INJECTION: "{seconds:.0f} s after injection by the headers",
    ReasonCode.OTHER_TIME_AFTER_INJECTION: "but {seconds:.0f} s after injection by the headers",
    ReasonCode.PIXELS_SHOW_CONTRAST: "pixels show contrast agent in vessels or organs",
    ReasonCode.PIXELS_SHOW_NO_CONTRAST: "pixels show no contrast agent",
    ReasonCode.AGENT_IN_HEADERS: "its headers name a contrast agent",
    ReasonCode.USER_TABLE: "said by the user's table",
    ReasonCode.NO_AGENT_BESIDE_LATER_ONE: (
        "its headers name no contrast agent, those of later series do"
    ),
    ReasonCode.LAST_AND_2D: "two-dimensional, after the others",
    ReasonCode.BEFORE_BOLUS_TRACKING: "before the bolus was tracked",
    ReasonCode.AFTER_BOLUS_TRACKING: "after the bolus was tracked",
    ReasonCode.BEFORE_CONTRAST_IN_WORDS: "before those that speak of contrast agent",
    ReasonCode.BEFORE_THREE_IN_A_ROW: "before three of one name",
    ReasonCode.FIRST_OF_THREE_IN_A_ROW: "the first of three of one name",
    ReasonCode.FIRST_OF_PRE_AND_POST: "the first of what is called pre and post",
    ReasonCode.NUMBERED_BY_OTHERS: "others bear its name with a number",
    ReasonCode.CONTRAST_IN_NAMES_OF_OTHERS: ("others bear its name with a word for contrast agent"),
    ReasonCode.ORDER_OF_SERIES: "order of series: number {number} of {count} that may be phases",
    ReasonCode.ORDER_OF_ACQUISITION: (
        "order of acquisition: about {seconds:.0f} s after the presumed injection"
    ),
    ReasonCode.TAKEN_FIRST: "taken first, before the others",
    ReasonCode.CT_PIXELS: "its pixels: {organs}",
    ReasonCode.MR_PIXELS: "its pixels: the brightest 3 % above {ratio:.1f} times the liver's side",
    ReasonCode.MOST_LIKE: "{seen}, most like the {phase} phase",
    ReasonCode.EARLY_ARTERIAL: (
        "early arterial: another series shows this phase later, the liver {hu:.0f} HU brighter"
    ),
    ReasonCode.LATE_ARTERIAL: "late arterial: another series shows this phase earlier",
    ReasonCode.HEADERS_ALONE: "by its headers alone it would be the {phase} phase ({evidence})",
    ReasonCode.COMMONEST_PHASE: "portal venous is the commonest single phase",
    ReasonCode.NOTHING_IN_HEADERS: "nothing in its headers tells the phase",
    ReasonCode.UNKNOWN_ORDER: "neither a time nor a number tells its place among the series",
    ReasonCode.MR_OF_UNKNOWN_PHASE: "an MR image of unknown phase",
    ReasonCode.CT_OF_UNKNOWN_PHASE: "a CT image, contrast agent uncertain by its pixels",
}
"""The only place where reasons become English. What stands in quotation marks is of the series'
description, and de-identification looks for it there."""


@dataclass(frozen=True)
class Reason:
    """One reason, with the numbers and words that its sentence tells.

    Attributes:
        code: why.
        values: by the names that the sentence of the code has for them.
    """

    code: ReasonCode
    values: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, code: ReasonCode, **values: Any) -> Reason:
        """A reason with the values of its sentence, which may be phases and other reasons too."""
        return cls(code, tuple(values.items()))

    @property
    def sentence(self) -> str:
        """The reason in plain words.

        >>> Reason.of(ReasonCode.LONG_ECHO_TIME, echo_ms=90).sentence
        'echo time 90 ms: not T1-weighted'
        """
        return SENTENCES[self.code].format(**{name: _plain(value) for name, value in self.values})


def _plain(value: Any) -> Any:
    """A value as sentences have it."""
    if isinstance(value, Phase):
        return value.title
    if isinstance(value, Reason):
        return value.sentence
    if isinstance(value, tuple):
        return "; ".join(reason.sentence for reason in value)
    return value


@dataclass(frozen=True)
class PhaseGuess:
    """What one series was taken for.

    Attributes:
        phase: None for what is no contrast phase (T2, diffusion, localizers, ...) or was not
            understood.
        confidence: of that statement, in [0, 1].
        reasons: for it, the most telling one first.
    """

    phase: Phase | None
    confidence: float
    reasons: tuple[Reason, ...]

    @property
    def evidence(self) -> tuple[str, ...]:
        """The reasons in plain words, which quote nothing but words about phases."""
        return tuple(reason.sentence for reason in self.reasons)

    @property
    def code(self) -> ReasonCode | None:
        """The code of the most telling reason, to decide by; None without reasons."""
        return self.reasons[0].code if self.reasons else None


def not_a_phase(confidence: float, code: ReasonCode, **values: Any) -> PhaseGuess:
    """The guess that a series is no contrast phase, for one reason."""
    return PhaseGuess(None, confidence, (Reason.of(code, **values),))
