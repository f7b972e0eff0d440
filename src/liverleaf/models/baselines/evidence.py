"""Dempster and Shafer's theory of evidence on masses of {lesion, background, ignorance}.

A mass function spreads a belief of 1 over "lesion", "background" and "one of the two", which is
ignorance. A tensor of masses has them along the dimension that the suffix 3 names, in that order.

Shape suffixes: B slices, S sources, I prototypes, C channels, 2 lesion and background, 3 masses, Y
rows, X columns.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TINY = 1e-7


def combine(masses_BS3YX: Tensor) -> Tensor:
    """Dempster's rule over all sources at once; masses of shape (B, 3, Y, X).

        m(A) ~ sum over A_1, ..., A_S with intersection A of m_1(A_1) ... m_S(A_S),  normalised over
        A that are not empty

    On two classes the sum over what contains "lesion" is a product, prod(m_s(lesion) +
    m_s(ignorance)), of which prod(m_s(ignorance)) is ignorance. Sources in total conflict, on which
    the rule is silent, leave ignorance.

    Reference: Shafer, A mathematical theory of evidence, Princeton University Press, 1976, chapter
    3.
    """
    ignorance_B1YX = masses_BS3YX[:, :, 2:].prod(1)
    either_B2YX = (masses_BS3YX[:, :, :2] + masses_BS3YX[:, :, 2:]).prod(1)
    combined_B3YX = torch.cat(
        [
            (either_B2YX - ignorance_B1YX).clamp_min(0),
            ignorance_B1YX + torch.finfo(ignorance_B1YX.dtype).tiny,
        ],
        dim=1,
    )
    return combined_B3YX / combined_B3YX.sum(1, keepdim=True)


def discount(masses_B3YX: Tensor, reliability_2: Tensor) -> Tensor:
    """Contextual discounting of masses.

    The less reliable a source is when the truth is one class, the less it may say of the other.

        m'(lesion) = beta_background m(lesion),  m'(background) = beta_lesion m(background),  the
        rest goes to ignorance

    which gives each class the plausibility pl'(k) = 1 - beta_k + beta_k pl(k).

    Args:
        masses_B3YX: of one source.
        reliability_2: beta of the lesion and of the background, in [0, 1].

    Reference: Mercier, Quost and Denoeux, Refined modeling of sensor reliability in the belief
    function framework using contextual discounting, Information Fusion 9(2):246-258, 2008.
    """
    certain_B2YX = masses_B3YX[:, :2] * reliability_2.flip(0)[:, None, None]
    return torch.cat([certain_B2YX, 1 - certain_B2YX.sum(1, keepdim=True)], dim=1)


def log_odds(masses_B3YX: Tensor, *, ignorance: float = 0.5) -> Tensor:
    """Log-odds of the lesion, (B, 1, Y, X), when each class is given this share of the ignorance.

    A half makes it the pignistic probability, m(lesion) + m(ignorance) / 2 (Smets and Kennes, The
    transferable belief model, Artificial Intelligence 66(2):191-234, 1994), and one the normalised
    plausibility. The sign is the same: more mass on the lesion than on the background.
    """
    lesion, background, unknown = masses_B3YX.chunk(3, dim=1)
    return torch.log(lesion + ignorance * unknown + TINY) - torch.log(
        background + ignorance * unknown + TINY
    )


def opinion(evidence_B2YX: Tensor) -> Tensor:
    """Non-negative evidence for each of two classes as masses.

        m_k = e_k / (e_1 + e_2 + 2),  m_ignorance = 2 / (e_1 + e_2 + 2)

    These are the beliefs of a Dirichlet distribution with concentrations e_k + 1.

    Reference: Sensoy, Kaplan and Kandemir, Evidential deep learning to quantify classification
    uncertainty, NeurIPS 2018, Eq. 1.
    """
    with_ignorance = torch.cat([evidence_B2YX, torch.full_like(evidence_B2YX[:, :1], 2.0)], dim=1)
    return with_ignorance / with_ignorance.sum(1, keepdim=True)


def evidential_loss(evidence_B2YX: Tensor, mask_B1YX: Tensor, *, caution: float) -> Tensor:
    """Expected cross-entropy under the Dirichlet distribution, plus a penalty on wrong evidence.

    Evidence for the wrong class is held against a uniform distribution.

        L = psi(S) - psi(alpha_y) + caution KL(Dir(alpha~) || Dir(1, 1))

    with alpha = e + 1, S its sum, alpha_y that of the true class, and alpha~ = alpha with 1 for the
    true class.

    Args:
        evidence_B2YX: for lesion and background, not negative.
        mask_B1YX: 0 or 1.
        caution: weight of the second term, in [0, 1], to be raised from 0 during training.

    Returns:
        The mean over the pixels.

    Reference: Sensoy et al., NeurIPS 2018, Eqs. 4 and 5; on two classes the divergence is log(a) -
    (a - 1) / a, with a of the wrong class.
    """
    right_B1YX = torch.where(mask_B1YX > 0.5, evidence_B2YX[:, :1], evidence_B2YX[:, 1:])
    wrong_B1YX = torch.where(mask_B1YX > 0.5, evidence_B2YX[:, 1:], evidence_B2YX[:, :1])
    expected = torch.digamma(right_B1YX + wrong_B1YX + 2) - torch.digamma(right_B1YX + 1)
    divergence = torch.log1p(wrong_B1YX) - wrong_B1YX / (wrong_B1YX + 1)
    return (expected + caution * divergence).mean()


class PrototypeEvidence(nn.Module):
    """The evidential neural network of Denoeux: masses from the distance to prototypes.

    Each prototype is a source of its own.

        s_i = alpha_i exp(-gamma_i |x - p_i|^2),  m_i(k) = u_ik s_i,  m_i(ignorance) = 1 - s_i,
        combined by Dempster's rule

    What is far from every prototype is not known. Prototypes p, memberships u, alpha and gamma are
    learned.

    Args:
        channels: of the features.
        prototypes: how many.

    Reference: Denoeux, A neural network classifier based on Dempster-Shafer theory, IEEE Trans.
    Systems, Man and Cybernetics A 30(2):131-150, 2000.
    """

    def __init__(self, channels: int, prototypes: int) -> None:
        super().__init__()
        self.prototypes_IC = nn.Parameter(torch.randn(prototypes, channels))
        # for the classes in turn
        self.membership_I2 = nn.Parameter(torch.eye(2).repeat(prototypes, 1)[:prototypes] * 2)
        self.alpha_I = nn.Parameter(torch.zeros(prototypes))
        self.gamma_I = nn.Parameter(torch.full((prototypes,), -math.log(2 * channels)))

    def forward(self, features_BCYX: Tensor) -> Tensor:
        """Masses of shape (B, 3, Y, X)."""
        products = torch.einsum("bcyx,ic->biyx", features_BCYX, self.prototypes_IC)
        lengths = (
            features_BCYX.square().sum(1, keepdim=True)
            + self.prototypes_IC.square().sum(1)[:, None, None]
        )
        closeness = torch.exp(
            -self.gamma_I.exp()[:, None, None] * (lengths - 2 * products).clamp_min(0)
        )
        support_BI1YX = (torch.sigmoid(self.alpha_I)[:, None, None] * closeness)[:, :, None]
        certain_BI2YX = F.softmax(self.membership_I2, dim=1)[:, :, None, None] * support_BI1YX
        return combine(torch.cat([certain_BI2YX, 1 - support_BI1YX], dim=2))
