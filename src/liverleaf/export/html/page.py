"""The HTML page of one study's findings, which opens offline, and its pictures as files."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from liverleaf.export import wording
from liverleaf.export.html import curves, figures
from liverleaf.export.html.montage import montage
from liverleaf.export.html.templates import data_uri, templates
from liverleaf.findings import (
    CurveRecord,
    Findings,
    LesionRecord,
    PhaseRecord,
    WashIn,
    WashOut,
)
from liverleaf.segmentation import MANUAL_SOURCE, Segmentation
from liverleaf.study import AlignmentReason, Phase, Study
from liverleaf.terminology import SMALLEST_SCORED_MM3, LesionType

FULL_CARDS = 12
"""The most lesions shown in pictures, largest first; the others are in the table only."""

ROUTINE_PHASES = (Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED)
"""Phases whose absence is shown. The hepatobiliary one is missed only where the agent would have
allowed it."""


TITLES = {"abdomen": "Liver study", "chest": "Chest study", None: "Study"}
"""What the page is called, by what was scanned."""


@dataclass(frozen=True)
class ShownPhase:
    """A phase that the page has a place for; `record` is None where it was not acquired."""

    phase: Phase
    record: PhaseRecord | None


@dataclass(frozen=True)
class Card:
    """One lesion as the page shows it.

    Attributes:
        lesion: its findings.
        view: its pictures, None where it is in the table only.
        curve_png: its enhancement as a picture, empty where it is in the table only.
    """

    lesion: LesionRecord
    view: figures.View | None = None
    curve_png: bytes = b""

    @property
    def types(self) -> dict[str, float]:
        """Probability per type as people read it, the most probable first; empty where untyped."""
        return _titled(self.lesion.type_probabilities or {})

    @property
    def type_set(self) -> list[str]:
        """The types of the 90 % set, as people read them."""
        return [LesionType.parse(name).title for name in self.lesion.type_set or ()]

    @property
    def wash_in(self) -> str:
        """Wash-in with its unit."""
        return (
            "not measurable"
            if self.lesion.wash_in is None
            else wording.signed(self.lesion.wash_in.enhancement, self.lesion.wash_in.unit)
        )

    @property
    def wash_out(self) -> str:
        """Whether the lesion washes out as a radiologist means it, and by which phase."""
        return wording.wash_out(self.lesion.wash_out)

    @property
    def contrast(self) -> dict[Phase, str]:
        """Contrast to the liver per phase; empty where it was not measured."""
        return wording.contrast(self.lesion.contrast)

    @property
    def measurements(self) -> dict[str, str]:
        """Name and value of what is listed in the card."""
        lesion = self.lesion
        x, y, z = lesion.centroid_mm
        listed = {
            "Volume": f"{wording.number(lesion.volume_ml, 2)} ml",
            "Long × short axis": (
                f"{wording.number(lesion.long_axis_mm, 1)}"
                f" × {wording.number(lesion.short_axis_mm, 1)} mm"
            ),
            "Centre (L, P, H)": f"{wording.number(x)}, {wording.number(y)}, {wording.number(z)} mm",
        }
        if lesion.score is not None:
            listed["Detection score"] = wording.percent(lesion.score)
        listed |= {"Wash-in": self.wash_in, "Wash-out": self.wash_out}
        if lesion.capsule_distance_mm is not None:
            listed["Distance to capsule"] = f"{wording.number(lesion.capsule_distance_mm, 1)} mm"
        return listed | _against_liver(lesion.wash_in, lesion.wash_out)

    def intensities(self, phase: Phase) -> str:
        """The lesion's and the liver's measured intensity at one phase, in words."""
        parts = [
            f"{name} {wording.number(curve.mean[phase.key])}"
            for name, curve in (("lesion", self.lesion.curve), ("liver", self.lesion.liver_curve))
            if curve is not None and phase.key in curve.mean
        ]
        return f"{', '.join(parts)} {self.lesion.curve.unit}" if parts else "not measured"


def write_report(
    path: Path,
    *,
    study: Study,
    segmentation: Segmentation | None,
    findings: Findings,
    analysed_at: datetime | None = None,
) -> Path:
    """Write the page, and its pictures as PNG files into `figures/` beside it.

    The page is one file that loads nothing and holds nothing that identifies a person beyond what
    `study.case_id` and the texts of warnings and evidence say. Besides the overview, `figures/`
    receives `lesion-N.png` and `curve-N.png` for each lesion shown in pictures.

    Args:
        path: the page to write, for instance `out/report.html`.
        study: all phases on the reference phase's grid.
        segmentation: on the same grid; its outlines are drawn. None where there are none.
        findings: what was measured of them; everything that the page says.
        analysed_at: when, now by default.

    Returns:
        `path`.

    Raises:
        ValueError: phases or masks do not share the reference phase's grid.
    """
    shown = figures.display(study, segmentation)
    pictured = {
        lesion.id
        for lesion in sorted(findings.lesions, key=lambda lesion: -lesion.volume_ml)[:FULL_CARDS]
    }
    cards = [
        _card(lesion, shown, study) if lesion.id in pictured else Card(lesion)
        for lesion in findings.lesions
    ]
    axial, coronal = figures.axial_view(shown), figures.coronal_view(shown, study.reference)
    when = analysed_at or datetime.now().astimezone()
    page = _template().render(_context(study, findings, cards, axial, coronal, shown.window, when))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    _write_figures(path.parent / "figures", cards, axial, coronal)
    return path


def _card(lesion: LesionRecord, shown: figures.Display, study: Study) -> Card:
    curve_png = curves.curve_figure(
        list(study.phases),
        measured=_by_phase(lesion.curve),
        regressed=_by_phase(lesion.predicted_curve),
        liver=_by_phase(lesion.liver_curve),
        times_s={phase: image.time_s for phase, image in study.phases.items()},
        colour=figures.lesion_colour(lesion.id),
        unit=lesion.curve.unit,
    )
    return Card(lesion, figures.lesion_view(shown, lesion.id), curve_png)


def _context(
    study: Study,
    findings: Findings,
    cards: list[Card],
    axial: figures.View,
    coronal: figures.View,
    window: figures.Window,
    analysed_at: datetime,
) -> dict[str, Any]:
    """Everything the template names."""
    records = {Phase.parse(record.phase): record for record in findings.study.phases}
    expected = {
        *ROUTINE_PHASES,
        *records,
        *([Phase.HEPATOBILIARY] if findings.study.agent == "gadoxetate" else []),
    }
    typed = any(card.types for card in cards)
    return {
        "title": TITLES[findings.study.body_part],
        "findings": findings,
        "outlined": _outlined(findings),
        "automatic": bool(findings.segmentation and findings.segmentation.method == "automatic"),
        "typed": typed,
        "regressed": any(lesion.predicted_curve for lesion in findings.lesions),
        "featured": any(lesion.features for lesion in findings.lesions),
        "most": "lesion" if cards else "liver" if _liver_ml(findings) else "",
        "smallest_mm3": SMALLEST_SCORED_MM3,
        "smallest_mm": (6 * SMALLEST_SCORED_MM3 / math.pi) ** (1 / 3),
        "cards": cards,
        "uncarded": sum(card.view is None for card in cards),
        "axial": axial,
        "coronal": coronal,
        "rows": [ShownPhase(phase, records.get(phase)) for phase in sorted(expected)],
        "found": list(records),
        "reference": study.reference,
        "implausible": [doubt.text for doubt in findings.doubts],
        "probabilities_do_not_hold": wording.PROBABILITIES_DO_NOT_HOLD if typed else "",
        "doubted": {doubt.lesion for doubt in findings.doubts},
        "doubts": [
            warning
            for warning in dict.fromkeys((*findings.study.warnings, *findings.warnings))
            if warning not in {doubt.text for doubt in findings.doubts}
        ],
        "summary": _summary(findings),
        "patient_types": _titled(findings.patient.type_probabilities if findings.patient else {}),
        "window": _window_text(window, study.modality.unit),
        "ct": findings.study.modality == "CT",
        "analysed_at": analysed_at.strftime("%Y-%m-%d %H:%M %Z").strip(),
    }


def _template() -> jinja2.Template:
    environment = templates()
    environment.filters |= {
        "descending": _descending,
        "feature": wording.feature,
        "feature_title": wording.feature_title,
        "figures": lambda value: f"{value:.4g}".replace("-", "\u2212"),
        "in_words": lambda named: {_words(name): value for name, value in named.items()},
        "jpeg_uri": lambda image: data_uri("image/jpeg", _encoded(image, "JPEG", quality=88)),
        "lesion_colour": figures.lesion_colour,
        "number": wording.number,
        "percent": wording.percent,
        "reason": lambda code: "" if code is None else AlignmentReason(code).text,
        "png_uri": lambda png: data_uri("image/png", png),
        "words": _words,
    }
    return environment.get_template("page.html")


def _write_figures(
    folder: Path, cards: list[Card], axial: figures.View, coronal: figures.View
) -> None:
    folder.mkdir(exist_ok=True)
    views = {"overview-axial": axial, "overview-coronal": coronal} | {
        f"lesion-{card.lesion.id}": card.view for card in cards if card.view
    }
    for name, view in views.items():
        montage(view).save(folder / f"{name}.png", compress_level=1)
    for card in cards:
        if card.curve_png:
            (folder / f"curve-{card.lesion.id}.png").write_bytes(card.curve_png)


def _outlined(findings: Findings) -> str:
    """Who drew the outlines; "" where nobody did, or the model that is named already."""
    if findings.segmentation is None or findings.segmentation.source == findings.model:
        return ""
    by_hand = findings.segmentation.source == MANUAL_SOURCE
    return "drawn by hand" if by_hand else findings.segmentation.source


def _liver_ml(findings: Findings) -> float:
    return 0.0 if findings.liver is None else findings.liver.volume_ml


def _summary(findings: Findings) -> str:
    if findings.segmentation is None:
        return "Nothing was outlined in this study"
    count = len(findings.lesions)
    found = "found" if findings.segmentation.method == "automatic" else "marked"
    lesions = (
        "1 lesion" if count == 1 else f"{count} lesions" if count else f"No lesions were {found}"
    )
    if findings.liver is not None:
        size = f"in a liver of {wording.number(findings.liver.volume_ml)} ml"
        lesions += f" {size}" if findings.liver.volume_ml else "; no liver was found"
    if findings.patient is None:
        return lesions
    if findings.doubts:
        return f"{lesions}; probabilities do not hold here"
    malignant = wording.percent(findings.patient.malignant_probability)
    return f"{lesions}; probability of a malignant lesion {malignant}"


def _window_text(window: figures.Window, unit: str) -> str:
    return (
        f"Level {wording.number(window.level)}, width {wording.number(window.width)} {unit}, the"
        " same in all phases."
    )


def _against_liver(wash_in: WashIn | None, wash_out: WashOut | None) -> dict[str, str]:
    """The measures that compare with liver, as far as they exist."""
    listed = {}
    if wash_in is not None and wash_in.against_liver is not None:
        listed["Wash-in above liver"] = wording.signed(wash_in.against_liver, wash_in.unit)
    if wash_out is not None:
        if lost := wording.share_lost(wash_out):
            listed["Share of uptake lost"] = lost
        if wash_out.against_liver is not None:
            listed["Loss of contrast to liver"] = wording.signed(
                wash_out.against_liver, wash_out.unit
            )
        if wash_out.liver_to_lesion_percent is not None:
            listed["Liver to lesion"] = f"{wording.number(wash_out.liver_to_lesion_percent)} %"
    return listed


def _by_phase(curve: CurveRecord | None) -> dict[Phase, float]:
    return {} if curve is None else {Phase.parse(name): value for name, value in curve.mean.items()}


def _descending(probabilities: Mapping[Any, float]) -> dict[str, float]:
    return dict(sorted(probabilities.items(), key=lambda item: -item[1]))


def _titled(types: Mapping[Any, float]) -> dict[str, float]:
    """Values per lesion type, the largest first, under the names that people read."""
    return {LesionType.parse(name).title: value for name, value in _descending(types).items()}


def _words(name: str) -> str:
    """A name with underscores as people write it: "fat_fraction" is "Fat fraction"."""
    return name.replace("_", " ").capitalize()


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
