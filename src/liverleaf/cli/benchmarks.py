"""The benchmarks of the command line: parse, call one function, print. Everything heavy is imported inside the command that needs it."""

# Without `from __future__ import annotations`, as cli.py.
from pathlib import Path
from typing import Annotated, Literal

import typer

from liverleaf.cli.console import Device, progress_bars

benchmarks = typer.Typer(
    name="benchmark",
    help="Measure and write a table with its commit, hardware and seed.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
)

Out = Annotated[Path, typer.Option(help="Folder to write the table into.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes; the result does not depend on it.")]


@benchmarks.command()
def speed(
    out: Out,
    source: Annotated[
        list[Path] | None,
        typer.Option("--input", help="A study to time beside the phantom's; may be repeated."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Seconds and peak memory of each stage of an analysis.

    Example: liverleaf benchmark speed --out docs/results
    """
    from liverleaf.benchmarks.speed import speed as run

    with progress_bars() as progress:
        typer.echo(run(out, tuple(source or ()), device=device, progress=progress), nl=False)


@benchmarks.command("phantom-realism")
def phantom_realism(
    out: Out,
    curves: Annotated[Path, typer.Option(help="Folder with zipped real curves.")],
    osipi: Annotated[
        Path | None, typer.Option(help="Folder with OSIPI's reference numbers.")
    ] = None,
    ct: Annotated[
        list[Path] | None,
        typer.Option(help="A real CT study to compare noise and texture with; may be repeated."),
    ] = None,
) -> None:
    """The phantom beside real curves, images and reference numbers.

    Example: liverleaf benchmark phantom-realism --curves curves --osipi osipi-dce --ct study --out
    docs/results
    """
    from liverleaf.benchmarks.phantom.realism import phantom_realism as run

    with progress_bars() as progress:
        typer.echo(run(curves, out, osipi=osipi, ct=tuple(ct or ()), progress=progress), nl=False)


@benchmarks.command("phantom-gallery")
def phantom_gallery(out: Out) -> None:
    """A page of every lesion type in every phase.

    Example: liverleaf benchmark phantom-gallery --out docs/results
    """
    from liverleaf.benchmarks.phantom.gallery import gallery as run

    with progress_bars() as progress:
        typer.echo(f"page: {run(out, progress=progress)}")


@benchmarks.command("phantom-cost")
def phantom_cost(out: Out) -> None:
    """Seconds and memory of making phantom cases.

    Example: liverleaf benchmark phantom-cost --out docs/results
    """
    from liverleaf.benchmarks.phantom.generation import generation as run

    with progress_bars() as progress:
        typer.echo(run(out, progress=progress), nl=False)


@benchmarks.command()
def phases(
    out: Out,
    cases: Annotated[int, typer.Option(min=1, help="Phantoms per preset and modality.")] = 15,
    fit: Annotated[
        bool,
        typer.Option(
            help="Instead, fit the coefficients by which pixels tell and write them into OUT."
        ),
    ] = False,
) -> None:
    """How well contrast phases are told as headers go missing, with and without pixels.

    Example: liverleaf benchmark phases --out docs/results
    """
    from liverleaf.benchmarks.phases.accuracy import phases as run

    with progress_bars() as progress:
        typer.echo(run(out, fit=fit, cases=cases, progress=progress), nl=False)


@benchmarks.command("ingest-fuzz")
def ingest_fuzz(
    out: Out,
    files: Annotated[int, typer.Option(min=1, help="How many damaged files.")] = 10_000,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed damages them in the same way.")
    ] = 20,
    jobs: Jobs = 1,
) -> None:
    """What becomes of damaged files: read right, told, refused or crashed.

    Example: liverleaf benchmark ingest-fuzz --jobs 2 --out docs/results
    """
    from liverleaf.benchmarks.fuzzing.outcomes import ingest_fuzz as run

    with progress_bars() as progress:
        typer.echo(run(out, files=files, seed=seed, jobs=jobs, progress=progress), nl=False)


@benchmarks.command()
def registration(
    out: Out,
    cases: Annotated[int, typer.Option(min=1, help="Phantoms per preset.")] = 10,
    rival_cases: Annotated[
        int | None,
        typer.Option(
            min=0, help="Of these, how many the slower rivals see as well; all by default."
        ),
    ] = None,
) -> None:
    """Our registration and others' on phantoms whose motion is known.

    Example: liverleaf benchmark registration --out docs/results
    """
    from liverleaf.benchmarks.registration.registration import registration as run

    with progress_bars() as progress:
        typer.echo(run(out, cases=cases, rival_cases=rival_cases, progress=progress), nl=False)


@benchmarks.command()
def training(out: Out, device: Device = "auto") -> None:
    """What the training loop costs beyond its network; run it where the recipes are.

    Example: liverleaf benchmark training --out docs/results
    """
    from liverleaf.benchmarks.training.training import training as run

    with progress_bars() as progress:
        typer.echo(run(out, device=device, progress=progress), nl=False)


def _mti_net(name: str, about: str) -> None:
    """Add the command of one of MTI-Net's tables."""

    def command(
        cohort: Annotated[
            Path, typer.Option(help="Folder of case folders with truth, five subjects or more.")
        ],
        out: Out,
        scale: Annotated[
            Literal["smoke", "cpu", "paper"],
            typer.Option(
                help=(
                    "smoke: minutes, to see that it runs; cpu: hours on a few cores; paper: the"
                    " published budget, for a GPU or many."
                )
            ),
        ] = "cpu",
        runs: Annotated[
            Path | None,
            typer.Option(
                help=(
                    "Folder of the trainings, OUT/runs by default; tables that share it train"
                    " nothing twice."
                )
            ),
        ] = None,
        jobs: Annotated[
            int,
            typer.Option(
                min=1,
                help=(
                    "Processes, spread over the GPUs where there are any. Rounding, which training"
                    " magnifies, depends on it."
                ),
            ),
        ] = 1,
        resume: Annotated[
            bool,
            typer.Option(
                help=(
                    "Go on with the trainings that are there; a table may be stopped at any moment."
                )
            ),
        ] = False,
        device: Device = "auto",
        precision: Annotated[
            Literal["32-true", "bf16-mixed"],
            typer.Option(
                help=(
                    "What every row trains in; bf16-mixed is faster where the machine multiplies"
                    " matrices in bfloat16."
                )
            ),
        ] = "32-true",
    ) -> None:
        from liverleaf.benchmarks.mti_net.tables import mti_net_table
        from liverleaf.cohort.index import Cohort

        with progress_bars() as progress:
            text = mti_net_table(
                name,
                Cohort.open(cohort),
                out,
                scale=scale,
                runs=runs,
                jobs=jobs,
                resume=resume,
                device=device,
                precision=precision,
                progress=progress,
            )
        typer.echo(text, nl=False)

    command.__doc__ = f"""{about}

    Example: liverleaf benchmark {name} --cohort cohorts/mti-net --scale smoke --runs runs/mti-net --out results/{name}
    """
    benchmarks.command(name)(command)


_mti_net("mti-net-table1", "MTI-Net's Table 1: segmentation, beside six rivals.")
_mti_net("mti-net-table2", "MTI-Net's Table 2: the enhancement curve, beside four rivals.")
_mti_net("mti-net-figure4", "MTI-Net's Figure 4: the type, beside four rivals.")
_mti_net("mti-net-table3", "MTI-Net's Table 3: what each of its parts is worth.")
_mti_net("mti-net-table4", "MTI-Net's Table 4: what its tasks are worth to each other.")
_mti_net(
    "liverleaf-net",
    "liverleaf-net, our own MTI-Net, beside MTI-Net and all of its rivals in all three tasks.",
)
_mti_net("liverleaf-net-ablation", "What each change of liverleaf-net is worth.")
