"""The commands that train, evaluate and compare models: parse, call one function, print.

Everything heavy is imported inside the command.
"""

# Without `from __future__ import annotations`, as app.py.
from pathlib import Path
from typing import Annotated

import typer

from liverleaf.cli.console import (
    AsJson,
    Device,
    add_row,
    new_table,
    print_json,
    print_table,
    print_warnings,
    progress_bars,
)
from liverleaf.terminology import PhaseName

model_commands = typer.Typer(rich_markup_mode=None, add_completion=False)


@model_commands.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="TOML file, see recipes/.")],
    cohort: Annotated[Path, typer.Option(help="Folder of case folders with truth.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    fold: Annotated[
        int | None,
        typer.Option(
            min=0, max=4, help="Train on all but this one of five folds by subject (0 to 4)."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a field, as optimisation.steps=100."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
    device: Device = "auto",
) -> None:
    """Train a network by a recipe.

    Example: liverleaf train recipes/liverleaf-net-ct.toml --cohort cohorts/ct --out runs/ct
    """
    from liverleaf.cohort.index import Cohort
    from liverleaf.models.recipe import load_recipe
    from liverleaf.train.loop import train as run

    loaded = load_recipe(recipe, set_ or ())
    with progress_bars() as progress:
        folder = run(
            loaded,
            Cohort.open(cohort),
            out,
            fold=fold,
            resume=resume,
            device=device,
            warn=lambda warning: print_warnings([warning], err=True),
            progress=progress,
        )
    typer.echo(f"the model is in {folder}")


@model_commands.command()
def ensemble(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of training runs or models that differ by their seed only."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new model.")],
) -> None:
    """Make one model that is the mean of several.

    Example: liverleaf ensemble runs/ct-0 runs/ct-1 runs/ct-2 --out runs/ct
    """
    from liverleaf.models.ensemble import combine

    typer.echo(
        f"the model is in {combine(runs, out)}; calibrate it before it is used (liverleaf evaluate"
        " --calibrate)"
    )


@model_commands.command()
def evaluate(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of a training run or of a model, or the name of a shipped model."
        ),
    ],
    cohort: Annotated[
        Path, typer.Option(help="Folder of case folders with truth, none of them trained on.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    calibrate: Annotated[
        bool,
        typer.Option(
            help=(
                "Instead, fit the model's type probabilities and 90 % sets on this cohort and keep"
                " them in the model."
            )
        ),
    ] = False,
    card: Annotated[bool, typer.Option(help="Also keep the figures in the model's card.")] = False,
    phase: Annotated[
        PhaseName | None, typer.Option(help="Pretend that only this phase was scanned.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure a model on a cohort with truth: every figure with its interval.

    Example: liverleaf evaluate runs/ct --cohort cohorts/ct-test --out results/ct
    """
    from liverleaf.cohort.index import Cohort
    from liverleaf.evaluate.evaluate import evaluate as measure
    from liverleaf.evaluate.fit_calibration import calibrate as fit
    from liverleaf.study import Phase

    with progress_bars() as progress:
        if calibrate:
            typer.echo(fit(str(run), Cohort.open(cohort), device=device, progress=progress))
            return
        kept = (Phase.parse(phase),) if phase else ()
        result = measure(
            str(run),
            Cohort.open(cohort),
            out,
            phases=kept,
            device=device,
            card=card,
            progress=progress,
        )
    if as_json:
        print_json(result)
        return
    table = new_table("measure", "mean", "95 % interval", "n")
    for name, figure in result["figures"].items():
        add_row(
            table,
            name.replace("_", " "),
            f"{figure['mean']:.3f}",
            f"{figure['low']:.3f} to {figure['high']:.3f}",
            str(figure["n"]),
        )
    print_table(table)
    typer.echo(f"tables and every case in {out}")


@model_commands.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Folder that `liverleaf evaluate` wrote.")],
    second: Annotated[Path, typer.Argument(help="Another one, of the same cohort.")],
    as_json: AsJson = False,
) -> None:
    """Compare two evaluations of the same cases: every difference with its paired interval.

    Example: liverleaf compare results/ct results/ct-other
    """
    from dataclasses import asdict

    from liverleaf.evaluate.compare import Evaluation, differences

    one, other = Evaluation.read(first), Evaluation.read(second)
    found = differences(one, other)
    if as_json:
        print_json({name: asdict(difference) for name, difference in found.items()})
        return
    table = new_table("measure", str(first), str(second), "difference", "95 % interval", "subjects")
    for name, row in found.items():
        values = (f"{row.first:.3f}", f"{row.second:.3f}", f"{row.difference.mean:+.3f}")
        interval = f"{row.difference.low:+.3f} to {row.difference.high:+.3f}"
        add_row(table, name.replace("_", " "), *values, interval, str(row.difference.n))
    print_table(table)
    typer.echo(
        "types and curves of the lesions that both detected; intervals of the differences, paired,"
        " by subject"
    )


@model_commands.command()
def models(as_json: AsJson = False) -> None:
    """List the models that come with liverleaf: licence, training data and measured figures.

    Example: liverleaf models
    """
    from liverleaf.models.checkpoint import load_card
    from liverleaf.models.shipped import SHIPPED, shipped_models

    cards = [load_card(SHIPPED / name) for name in shipped_models()]
    if as_json:
        print_json(
            [
                {
                    "name": card.name,
                    "licence": "Apache-2.0",
                    "training": card.training,
                    "figures": card.figures,
                }
                for card in cards
            ]
        )
        return
    table = new_table(
        "model",
        "made for",
        "channels",
        "trained on",
        "liver Dice",
        "lesion Dice",
        "sensitivity",
        "precision",
        "type accuracy",
        "licence",
    )
    for card in cards:
        figures = card.figures.get("all phases", {}).get("figures", {})
        shown = [
            f"{figures[name]['mean']:.2f}" if name in figures else "not measured"
            for name in (
                "liver_dice",
                "lesion_dice",
                "lesion_sensitivity",
                "lesion_precision",
                "type_accuracy",
            )
        ]
        made_for = card.input_config
        add_row(
            table,
            card.name,
            f"{made_for.modality} of the {made_for.species} {made_for.body_part}",
            ", ".join(made_for.channels),
            f"{card.training['cases']} phantom cases",
            *shown,
            "Apache-2.0",
        )
    print_table(table)
    typer.echo(
        "All figures were measured on phantoms the models had not seen, not on patients. Research"
        " use only."
    )
