"""The page holds all that was found and doubted, loads nothing, and stands any text and number."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from PIL import Image

from liverleaf.export import wording
from liverleaf.export.html import page
from liverleaf.export.html.page import write_report
from liverleaf.findings import DoubtRecord, Findings
from liverleaf.measure.findings import measure
from liverleaf.prediction import CaseClass, CaseScore, Prediction
from liverleaf.segmentation import Method, Segmentation
from liverleaf.study import Modality, Phase
from liverleaf.terminology import Organ

WHEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
VOID = {"meta", "input", "img", "br", "hr"}


class _Balance(HTMLParser):
    """Collects what tags leave open and what a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.loaded += [
            value or ""
            for name, value in attrs
            if name in {"src", "href", "xlink:href", "srcset", "data"}
        ]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _write(path: Path, case: tuple) -> str:
    study, segmentation, findings = case
    written = write_report(
        path / "report.html",
        study=study,
        segmentation=segmentation,
        findings=findings,
        analysed_at=WHEN,
    )
    return written.read_text(encoding="utf-8")


def _check(html: str) -> None:
    """Well formed, one document, self-contained."""
    parser = _Balance()
    parser.feed(html)
    assert not parser.open
    assert len(parser.ids) == len(set(parser.ids))
    for target in parser.loaded:
        assert (
            re.match(r"data:image/(png|jpeg);base64,[\w+/]+=*$", target) or target[1:] in parser.ids
        ), target[:80]
    assert not re.search(r"https?:|@import|url\(|<script|<link", html)
    # on the screen and, in the style, on paper
    assert html.count("Research use only. Not for diagnosis.") >= 2


def _text(html: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def _warnings(findings: Findings) -> list[str]:
    return [
        *findings.study.warnings,
        *findings.warnings,
        *(warning for lesion in findings.lesions for warning in lesion.warnings),
    ]


def test_the_page_holds_every_lesion_and_every_doubt(tmp_path: Path, make_case) -> None:
    case = make_case(3)
    html = _write(tmp_path, case)
    _check(html)
    text = _text(html)
    for lesion in case[2].lesions:
        assert f"Lesion {lesion.id}: hepatocellular carcinoma, 65 %" in text
        assert f"{lesion.volume_ml:.2f} ml" in text
    assert len(_warnings(case[2])) >= 6
    for phrase in (
        *_warnings(case[2]),
        "case-7",
        "tiny-net",
        "2026-01-02 03:04 UTC",
        "f" * 64,
        "abc123",
        "aorta & veins",
        "network 1.5 s",
    ):
        assert phrase in text, phrase
    assert "Level 80, width 300 HU" in text
    assert "no: could not be aligned with the reference phase (alignment)" in text
    assert "3 lesions in a liver of" in text


def test_figures_lie_beside_the_page(tmp_path: Path, make_case) -> None:
    _write(tmp_path, make_case(2))
    expected = {
        "overview-axial.png",
        "overview-coronal.png",
        "lesion-1.png",
        "lesion-2.png",
        "curve-1.png",
        "curve-2.png",
    }
    assert {path.name for path in (tmp_path / "figures").iterdir()} == expected
    for name in expected:
        with Image.open(tmp_path / "figures" / name) as picture:
            picture.verify()


def test_the_same_study_gives_the_same_page(tmp_path: Path, make_case) -> None:
    assert _write(tmp_path / "a", make_case(1)) == _write(tmp_path / "b", make_case(1))


def test_text_cannot_become_markup(tmp_path: Path, make_case) -> None:
    html = _write(
        tmp_path,
        make_case(
            1,
            case_id='<script>alert("1")</script>',
            warning="<img src=x onerror=alert(1)>",
            agent="<b>",
        ),
    )
    _check(html)
    assert "&lt;script&gt;" in html and "&lt;img src=x" in html and "<b></dd>" not in html


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("phase", [Phase.PORTAL, Phase.PRE, Phase.HEPATOBILIARY])
def test_one_phase_is_enough(tmp_path: Path, make_case, phase: Phase, modality: Modality) -> None:
    case = make_case(1, phases=(phase,), modality=modality)
    html = _write(tmp_path, case)
    _check(html)
    missing = 3 if phase in page.ROUTINE_PHASES else 4
    assert html.count('<div class="absent"') == 2 * missing  # overview and the lesion
    assert "not measurable" in html


@pytest.mark.parametrize(("agent", "missed"), [("gadoxetate", 1), ("gadobutrol", 0)])
def test_the_hepatobiliary_phase_is_missed_only_with_its_agent(
    tmp_path: Path, make_case, agent: str, missed: int
) -> None:
    html = _write(tmp_path, make_case(0, modality=Modality.MR, agent=agent))
    assert html.count('<div class="absent"') == missed


def test_no_lesion_is_said_plainly_and_the_liver_shown(tmp_path: Path, make_case) -> None:
    html = _write(tmp_path, make_case(0))
    _check(html)
    assert "No lesions were found" in _text(html)
    assert 'class="liver"' in html and 'class="card"' not in html


def test_no_liver_is_said_plainly(tmp_path: Path, make_case) -> None:
    study, segmentation, findings = make_case(0)
    grid = study.grid
    nothing = {Organ.LIVER: grid.with_array(np.zeros(grid.spatial_shape, bool))}
    findings = findings.model_copy(
        update={"liver": findings.liver.model_copy(update={"volume_ml": 0.0}), "provenance": None}
    )
    html = _write(tmp_path, (study, replace(segmentation, organs=nothing), findings))
    _check(html)
    assert "No lesions were found; no liver was found" in _text(html)


def test_of_many_lesions_the_largest_are_shown_and_all_are_listed(
    tmp_path: Path, make_case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "FULL_CARDS", 3)
    case = make_case(30)
    html = _write(tmp_path, case)
    _check(html)
    assert html.count('class="card"') == 3
    assert html.count('<th scope="row"><span class="swatch"') == 30
    assert "the other 27 are in this table only" in _text(html)
    for warning in _warnings(case[2]):
        assert warning in _text(html)
    assert 'id="lesion-1"' in html  # the largest


def test_an_oblique_grid(tmp_path: Path, make_case) -> None:
    cos, sin = np.cos(0.3), np.sin(0.3)
    tilt = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ np.array(
        [[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]]
    )
    affine = tilt @ np.array([[0, 0, 3.0, -80], [0, 3.0, 0, -70], [-5.0, 0, 0, 10], [0, 0, 0, 1]])
    _check(_write(tmp_path, make_case(2, volume=lambda array: hd.Volume(array, affine, "PATIENT"))))


# Without a model, or with one that says little


def _absent(html: str, *words: str) -> None:
    text = _text(html)
    assert [word for word in ("None", *words) if word in text] == []
    assert not re.search(r'<dl class="bars">\s*</dl>|<dd></dd>|<dt></dt>', html)


@pytest.mark.parametrize("with_liver", [True, False], ids=["liver", "no liver"])
def test_masks_by_hand_claim_nothing_of_a_model(
    tmp_path: Path, make_case, with_liver: bool
) -> None:
    study, segmentation, _ = make_case(2)
    drawn = Segmentation(segmentation.lesions, segmentation.organs if with_liver else {})
    html = _write(tmp_path, (study, drawn, measure(study, drawn)))
    _check(html)
    _absent(html, "Model", "model", "90 % set", "Probabilities", "Detection score", "dashed", "113")
    text = _text(html)
    assert "Outlines drawn by hand" in text and "2 lesions" in text
    assert re.search(r"Lesion 1 \d+ × \d+ mm", text)
    assert ("Thin teal line" in text) is with_liver


def test_no_lesion_drawn_is_not_no_lesion_found(tmp_path: Path, make_case) -> None:
    study, segmentation, _ = make_case(0)
    drawn = Segmentation(segmentation.lesions, segmentation.organs)
    text = _text(_write(tmp_path, (study, drawn, measure(study, drawn))))
    assert "No lesions were marked in a liver of" in text and "model" not in text


def test_masks_of_another_program_name_it(tmp_path: Path, make_case) -> None:
    study, segmentation, _ = make_case(1)
    drawn = Segmentation(segmentation.lesions, source="ITK-SNAP", method=Method.SEMIAUTOMATIC)
    assert "Outlines ITK-SNAP" in _text(_write(tmp_path, (study, drawn, measure(study, drawn))))


def test_a_model_that_gives_masks_alone_has_no_types(tmp_path: Path, make_case) -> None:
    study, segmentation, _ = make_case(1)
    html = _write(
        tmp_path, (study, segmentation, measure(study, segmentation, Prediction("masks-only")))
    )
    _check(html)
    _absent(html, "Most probable type", "90 % set", "Detection score")
    assert "Model masks-only" in _text(html)
    assert "Lesions under 113 mm³ (6 mm across)" in _text(html)


def test_a_model_that_scores_the_study_alone_is_shown(tmp_path: Path, make_case) -> None:
    study, _, _ = make_case(1)
    said = Prediction(
        "fat-net",
        case_scores=(CaseScore("fat_fraction", 12.3456, "%"),),
        case_classes=(CaseClass("steatosis_grade", {"mild": 0.25, "severe": 0.75}),),
    )
    html = _write(tmp_path, (study, None, measure(study, None, said)))
    _check(html)
    _absent(html, "lesion", "teal")
    text = _text(html)
    assert "Nothing was outlined in this study" in text
    assert "Fat fraction 12.35 %" in text
    assert "Steatosis grade Severe 75 % Mild 25 %" in text


# Doubts, wash-out and features


def test_doubts_stand_at_the_top_and_take_the_sureness_down(tmp_path: Path, make_case) -> None:
    study, segmentation, findings = make_case(2)
    texts = ("The voxels are larger than trained on.", "Lesion 1 may be the gallbladder.")
    doubts = (
        DoubtRecord(code="voxels_outside_training", text=texts[0]),
        DoubtRecord(code="may_be_gallbladder", lesion=1, text=texts[1]),
    )
    update = {"doubts": doubts, "warnings": (*texts, *findings.warnings)}
    html = _write(tmp_path, (study, segmentation, findings.model_copy(update=update)))
    _check(html)
    text = _text(html)
    assert "do not trust types or probabilities here" in text
    assert [text.count(sentence) for sentence in texts] == [1, 1]
    assert text.index(texts[1]) < text.index("Read first") < text.index("Phases: how")
    assert "65 % (does not hold)" in text
    assert "probability of a malignant lesion" not in text
    assert wording.PROBABILITIES_DO_NOT_HOLD in text


def test_without_a_doubt_there_is_no_such_box(tmp_path: Path, make_case) -> None:
    html = _write(tmp_path, make_case(2))
    assert 'id="implausible"' not in html and "does not hold" not in html


def test_wash_out_contrast_and_conditions_are_shown_in_words(tmp_path: Path, make_case) -> None:
    text = _text(_write(tmp_path, make_case(1)))
    assert "wash-out (portal venous)" in text
    assert re.search(
        r"Contrast of the lesion to the liver pre-contrast arterial portal venous", text
    )
    assert "% lost" not in text and "still rising" not in text
    assert re.search(r"absent: .*\(threshold \+10 HU\), passes, but its rim is not clearly", text)
