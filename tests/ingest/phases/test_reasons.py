"""Reasons: a sentence for every code, and values in it."""

import string

import pytest

from liverleaf.ingest.phases import reasons
from liverleaf.ingest.phases.reasons import (
    SENTENCES,
    PhaseGuess,
    Reason,
    ReasonCode,
    not_a_phase,
)
from liverleaf.study import Phase


def test_every_code_has_one_sentence_in_one_line() -> None:
    assert SENTENCES.keys() == set(ReasonCode)
    assert all(sentence and len(sentence.splitlines()) == 1 for sentence in SENTENCES.values())


def test_only_two_codes_share_a_sentence_without_values() -> None:
    """A phase and contrast agent are both quoted from the description in the same words."""
    same = [code for code in ReasonCode if list(SENTENCES.values()).count(SENTENCES[code]) > 1]
    assert same == [ReasonCode.PHASE_IN_WORDS, ReasonCode.CONTRAST_IN_WORDS]


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        (Reason.of(ReasonCode.MULTI_ECHO), "a multi-echo measurement of fat or iron"),
        (Reason.of(ReasonCode.LOCALIZER, word="scout"), "a localizer: description says 'scout'"),
        (
            Reason.of(ReasonCode.TIME_AFTER_INJECTION, seconds=34.6),
            "35 s after injection by the headers",
        ),
        (
            Reason.of(
                ReasonCode.MOST_LIKE,
                seen=Reason.of(ReasonCode.MR_PIXELS, ratio=2.04),
                phase=Phase.PORTAL,
            ),
            "its pixels: the brightest 3 % above 2.0 times the liver's side, most like the portal"
            " venous phase",
        ),
        (
            Reason.of(
                ReasonCode.HEADERS_ALONE,
                phase=Phase.PRE,
                evidence=(
                    Reason.of(ReasonCode.TAKEN_FIRST),
                    Reason.of(ReasonCode.AGENT_IN_HEADERS),
                ),
            ),
            "by its headers alone it would be the pre-contrast phase (taken first, before the"
            " others; its headers name a contrast agent)",
        ),
    ],
)
def test_sentences_tell_their_values(reason, sentence) -> None:
    assert reason.sentence == sentence


def test_values_are_named_as_the_sentence_names_them() -> None:
    with pytest.raises(KeyError):
        _ = Reason.of(ReasonCode.LONG_ECHO_TIME, seconds=90).sentence


def test_a_guess_is_decided_by_its_first_code_and_read_by_its_sentences() -> None:
    excluded = not_a_phase(0.97, ReasonCode.LONG_ECHO_TIME, echo_ms=90)
    assert (excluded.phase, excluded.confidence) == (None, 0.97)
    assert excluded.code is ReasonCode.LONG_ECHO_TIME
    assert excluded.evidence == ("echo time 90 ms: not T1-weighted",)
    assert PhaseGuess(None, 0.0, ()).code is None


def test_another_language_changes_sentences_and_no_code(monkeypatch) -> None:
    monkeypatch.setattr(reasons, "SENTENCES", SENTENCES | {ReasonCode.ECHO_PLANAR: "echoplanar"})
    excluded = not_a_phase(0.98, ReasonCode.ECHO_PLANAR)
    assert (excluded.code, excluded.evidence) == (ReasonCode.ECHO_PLANAR, ("echoplanar",))


def test_what_is_quoted_stands_in_quotation_marks() -> None:
    """De-identification looks for words of the description between these marks."""
    for code, sentence in SENTENCES.items():
        fields = [name for _, name, _, _ in string.Formatter().parse(sentence) if name]
        assert ("word" in fields) == ("'{word}'" in sentence), code
