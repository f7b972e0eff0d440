"""How the weights of a network are stepped."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Optimisation:
    """Settings of Adam and of the run; a family may add its own.

    Attributes:
        steps: training steps, at least 1; None for `epochs` passes over the cases (written as 0 in
            a recipe).
        epochs: passes over the cases where `steps` is None, at least 1.
        learning_rate: of Adam, above 0.
        head_rate: learning rate of the parameters whose names begin with "heads."; None for
            `learning_rate` (written as 0 in a recipe).
        cosine: whether the rate falls to zero as a cosine; otherwise it stays.
        warmup: steps over which it rises linearly before that, 0 for none.
        precision: "32-true", "bf16-mixed", or "auto": bf16 where the machine multiplies matrices in
            it.
        save_every: steps between checkpoints, at least 1.
    """

    steps: int | None = None
    epochs: int = 100
    learning_rate: float = 1e-4
    head_rate: float | None = None
    cosine: bool = False
    warmup: int = 0
    precision: str = "auto"
    save_every: int = 200

    def __post_init__(self) -> None:
        if (self.steps is not None and self.steps < 1) or self.epochs < 1 or self.save_every < 1:
            raise ValueError(
                f"steps, epochs and save_every are at least 1, got {self.steps}, {self.epochs} and"
                f" {self.save_every}"
            )

    @property
    def rate_of_heads(self) -> float:
        """The learning rate of the heads, whether it is their own or everybody's."""
        return self.learning_rate if self.head_rate is None else self.head_rate
