"""The paragraph of a paper that says how a cohort was analysed, filled in from its findings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from liverleaf.findings import RESEARCH_USE_ONLY
from liverleaf.ingest.dicom.frames import counted
from liverleaf.results.columns import CaseResult
from liverleaf.results.flow import Flow
from liverleaf.segmentation import MANUAL_SOURCE
from liverleaf.study import Phase


class Program(NamedTuple):
    """What analysed a study."""

    liverleaf: str
    commit: str
    python: str
    torch: str

    def __str__(self) -> str:
        commit = f"commit {self.commit}, " if self.commit else ""
        return f"liverleaf {self.liverleaf} ({commit}Python {self.python}, PyTorch {self.torch})"


class Masks(NamedTuple):
    """Who outlined a study, and with which weights."""

    source: str
    weights: str

    def __str__(self) -> str:
        if self.source == MANUAL_SOURCE:
            return "by hand"
        weights = f" (SHA-256 of the weights {self.weights})" if self.weights else ""
        return f"by {self.source}{weights}"


@dataclass
class Methods:
    """What the findings of a cohort say of how they came about.

    Attributes:
        programs: studies by what analysed them.
        masks: studies by who outlined them.
        subjects: the pseudonyms of the patients.
        scanned: studies by contrast phase.
        measured: the same, where the phase could be measured.
        agents: studies by contrast agent.
    """

    programs: Counter[Program] = field(default_factory=Counter)
    masks: Counter[Masks] = field(default_factory=Counter)
    subjects: set[str] = field(default_factory=set)
    scanned: Counter[str] = field(default_factory=Counter)
    measured: Counter[str] = field(default_factory=Counter)
    agents: Counter[str] = field(default_factory=Counter)

    def add(self, result: CaseResult) -> None:
        """Take note of a study."""
        findings, origin = result.findings, result.findings.provenance
        self.subjects.add(result.subject)
        if origin is not None:
            known = origin.versions
            named = (known.get(name, "unknown") for name in ("liverleaf", "python", "torch"))
            liverleaf, python, torch = named
            self.programs[Program(liverleaf, origin.commit or "", python, torch)] += 1
        if findings.segmentation is not None:
            weights = (origin.weights_sha256 if origin else None) or ""
            self.masks[Masks(findings.segmentation.source, weights)] += 1
        if findings.study.agent:
            self.agents[findings.study.agent] += 1
        for phase in findings.study.phases:
            self.scanned[phase.phase] += 1
            self.measured[phase.phase] += phase.alignment is None or phase.alignment.trusted

    def text(self, flow: Flow) -> str:
        """The paragraph as Markdown, with what else a paper should say."""
        kinds = " and ".join(f"{n} {kind}" for kind, n in flow.by_modality.most_common())
        sentences = [
            f"Of {counted(flow.found, 'study', 'studies')} found, {flow.read} could be read and"
            f" {flow.analysed} were analysed ({kinds or 'none'}; {len(self.subjects)} patients).",
            f"They were analysed with {_listed(self.programs)}.",
            "Contrast phases were identified from image headers and, where these left doubt, from"
            " pixels, and registered onto the reference phase (the portal venous one, else the"
            " delayed, arterial, hepatobiliary or unenhanced one) by a rigid and then a smooth"
            " motion, each kept only where image gradients matched better after it.",
            "A phase that did not match the reference phase inside the liver was not measured.",
            f"The phases scanned and measured were: {self._phases()}.",
        ]
        if self.masks:
            sentences.append(f"Liver and lesions were outlined {_listed(self.masks)}.")
        sentences.append(
            "Lesion intensity is the mean over the lesion in each phase, liver intensity the median"
            " over the parenchyma away from lesions; contrast is their difference (HU, CT) or that"
            " difference over the liver's intensity (MR)."
        )
        if self.agents:
            agents = ", ".join(f"{name} ({n})" for name, n in self.agents.most_common())
            sentences.append(f"Contrast agents, where known: {agents}.")
        sentences.append("The software is for research only and no medical device.")
        mixed = (
            ""
            if len(self.programs) < 2
            else "\nThe studies were analysed by several versions of the program, as listed.\n"
        )
        return f"# Methods\n\n{RESEARCH_USE_ONLY}\n\n{' '.join(sentences)}\n{mixed}"

    def _phases(self) -> str:
        return (
            "; ".join(
                f"{phase.title}, {self.scanned[phase.key]} and {self.measured[phase.key]}"
                for phase in Phase
                if self.scanned[phase.key]
            )
            or "none"
        )


def _listed(counts: Counter[Program] | Counter[Masks]) -> str:
    """The only thing, or each with the number of its studies."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    named = [f"{what}, {counted(n, 'study', 'studies')}" for what, n in counts.most_common()]
    return "; ".join(named) or "an unknown version"
