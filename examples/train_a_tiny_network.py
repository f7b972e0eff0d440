"""Train an MTI-Net for a few steps on small phantoms: too few to be of use, enough to see it run.

python examples/train_a_tiny_network.py tiny --cases 6 --steps 20
"""

import argparse
from pathlib import Path

from liverleaf.cohort.index import Cohort
from liverleaf.models.recipe import load_recipe
from liverleaf.phantom.generator import Phantom, write_cohort
from liverleaf.train.loop import train

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("out", type=Path)
parser.add_argument(
    "--recipe", type=Path, default=Path(__file__).parents[1] / "recipes/liverleaf-net-ct.toml"
)
parser.add_argument("--cases", type=int, default=6)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument(
    "--size", type=int, default=96, help="side of a training slice in pixels, a multiple of 16"
)
wanted = parser.parse_args()

recipe = load_recipe(
    wanted.recipe,
    [f"optimisation.steps={wanted.steps}", f"input.size={wanted.size}", "input.pixel_mm=4.0"],
)
phantom = Phantom(recipe.input.modality, seed=1, shape=(20, 96, 96), spacing_mm=(10.0, 4.0, 4.0))
write_cohort(phantom, wanted.cases, wanted.out / "cohort")
model = train(recipe, Cohort.open(wanted.out / "cohort"), wanted.out / "run", device="cpu")
print(f"the model is in {model}, the loss of every step in {wanted.out / 'run/log.csv'}")
