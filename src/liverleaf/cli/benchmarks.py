"""The benchmarks of the command line, in one list; each is imported when it is asked for."""

# Without `from __future__ import annotations`, as in app.py.
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, Literal

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
Run = Callable[..., Any]
"""A benchmark with its options: given `progress`, it returns a `Result`."""


def speed(
    out: Out,
    source: Annotated[
        list[Path] | None,
        typer.Option("--input", help="A study to time beside the phantom's; may be repeated."),
    ] = None,
    device: Device = "auto",
) -> Run:
    """Seconds and peak memory of each stage of an analysis."""
    from liverleaf.benchmarks.speed import run

    return partial(run, tuple(source or ()), device=device)


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
) -> Run:
    """The phantom beside real curves, images and reference numbers."""
    from liverleaf.benchmarks.phantom.realism import run

    return partial(run, curves, osipi_folder=osipi, ct=tuple(ct or ()))


def phantom_gallery(out: Out) -> Run:
    """A page of every lesion type in every phase."""
    from liverleaf.benchmarks.phantom.gallery import run

    return run


def phantom_cost(out: Out) -> Run:
    """Seconds and memory of making phantom cases."""
    from liverleaf.benchmarks.phantom.generation import run

    return run


def phases(
    out: Out,
    cases: Annotated[int, typer.Option(min=1, help="Phantoms per preset and modality.")] = 15,
    fit: Annotated[
        bool,
        typer.Option(
            help="Instead, fit the coefficients by which pixels tell and write them into OUT."
        ),
    ] = False,
) -> Run:
    """How well contrast phases are told as headers go missing, with and without pixels."""
    from liverleaf.benchmarks.phases.accuracy import run, run_fit

    return run_fit if fit else partial(run, cases=cases)


def ingest_fuzz(
    out: Out,
    files: Annotated[int, typer.Option(min=1, help="How many damaged files.")] = 10_000,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed damages them in the same way.")
    ] = 20,
    jobs: Annotated[
        int, typer.Option(min=1, help="Processes; the result does not depend on it.")
    ] = 1,
) -> Run:
    """What becomes of damaged files: read right, told, refused or crashed."""
    from liverleaf.benchmarks.fuzzing.outcomes import run

    return partial(run, files=files, seed=seed, jobs=jobs)


def registration(
    out: Out,
    cases: Annotated[int, typer.Option(min=1, help="Phantoms per preset.")] = 10,
    baseline_cases: Annotated[
        int | None,
        typer.Option(
            min=0, help="Of these, how many the slower baselines see as well; all by default."
        ),
    ] = None,
) -> Run:
    """Our registration and others' on phantoms whose motion is known."""
    from liverleaf.benchmarks.registration.accuracy import run

    return partial(run, cases=cases, baseline_cases=baseline_cases)


def intervals(
    out: Out,
    cases: Annotated[int, typer.Option(min=1, help="Phantoms per preset.")] = 16,
    fit: Annotated[
        bool,
        typer.Option(help="On the phantoms that the factors of the intervals are fitted on."),
    ] = False,
) -> Run:
    """How many 90 % intervals of a lesion's measures hold the truth."""
    from liverleaf.benchmarks.intervals import run

    return partial(run, cases, fit=fit)


def training(out: Out, device: Device = "auto") -> Run:
    """What the training loop costs beyond its network; run it where the recipes are."""
    from liverleaf.benchmarks.training.overhead import run

    return partial(run, device=device)


def mti_net(table: str, about: str) -> Callable[..., Run]:
    """The options of one of MTI-Net's tables; `about` says which."""

    def options(
        out: Out,
        cohort: Annotated[
            Path, typer.Option(help="Folder of case folders with truth, five subjects or more.")
        ],
        scale: Annotated[
            Literal["smoke", "cpu", "paper"],
            typer.Option(
                help="smoke: minutes, to see that it runs; cpu: hours on a few cores; paper: the"
                " published budget, for a GPU or many."
            ),
        ] = "cpu",
        runs: Annotated[
            Path | None,
            typer.Option(
                help="Folder of the trainings, OUT/runs by default; tables that share it train"
                " nothing twice."
            ),
        ] = None,
        jobs: Annotated[
            int,
            typer.Option(
                min=1,
                help="Processes, spread over the GPUs where there are any. Rounding, which training"
                " magnifies, depends on it.",
            ),
        ] = 1,
        resume: Annotated[
            bool,
            typer.Option(
                help="Go on with the trainings that are there; a table may be stopped at any time."
            ),
        ] = False,
        device: Device = "auto",
        precision: Annotated[
            Literal["32-true", "bf16-mixed"],
            typer.Option(
                help="What every row trains in; bf16-mixed is faster where the machine multiplies"
                " matrices in bfloat16."
            ),
        ] = "32-true",
    ) -> Run:
        from liverleaf.benchmarks.mti_net.tables import TrainingSetting, run
        from liverleaf.cohort.index import Cohort

        setting = TrainingSetting(
            runs=runs or out / "runs",
            scale=scale,
            jobs=jobs,
            resume=resume,
            device=device,
            precision=precision,
        )
        return partial(run, table, Cohort.open(cohort), setting)

    options.__doc__ = about
    return options


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of the command line.

    Attributes:
        name: of its command.
        options: its options, `out` among them; returns what runs it, and says in its docstring
            what is measured.
        example: what follows the name in an example.
    """

    name: str
    options: Callable[..., Run]
    example: str = "--out docs/results"

    def command(self) -> Callable[..., None]:
        """The function of the command: it runs the benchmark, and writes and prints its result."""

        @wraps(self.options)
        def command(out: Path, **options: Any) -> None:
            from liverleaf.benchmarks.result import write
            from liverleaf.system.files import check_writable

            check_writable(out / self.name)
            run = self.options(out=out, **options)
            with progress_bars() as progress:
                result = run(progress=progress)
            write(result, out)
            typer.echo(result.markdown, nl=False)

        example = f"Example: liverleaf benchmark {self.name} {self.example}"
        command.__doc__ = f"{self.options.__doc__}\n\n{example}"
        return command


_TABLES = {
    "mti-net-table1": "MTI-Net's Table 1: segmentation, beside six baselines.",
    "mti-net-table2": "MTI-Net's Table 2: the enhancement curve, beside four baselines.",
    "mti-net-figure4": "MTI-Net's Figure 4: the type, beside four baselines.",
    "mti-net-table3": "MTI-Net's Table 3: what each of its parts is worth.",
    "mti-net-table4": "MTI-Net's Table 4: what its tasks are worth to each other.",
    "liverleaf-net": (
        "liverleaf-net, our own MTI-Net, beside MTI-Net and all baselines in all three tasks."
    ),
    "liverleaf-net-ablation": "What each change of liverleaf-net is worth.",
}
BENCHMARKS = (
    Benchmark("speed", speed),
    Benchmark(
        "phantom-realism",
        phantom_realism,
        "--curves curves --osipi osipi-dce --ct study --out docs/results",
    ),
    Benchmark("phantom-gallery", phantom_gallery),
    Benchmark("phantom-cost", phantom_cost),
    Benchmark("phases", phases),
    Benchmark("ingest-fuzz", ingest_fuzz, "--jobs 2 --out docs/results"),
    Benchmark("registration", registration),
    Benchmark("intervals", intervals),
    Benchmark("training", training),
    *(
        Benchmark(
            table,
            mti_net(table, about),
            f"--cohort cohorts/mti-net --scale smoke --runs runs/mti-net --out results/{table}",
        )
        for table, about in _TABLES.items()
    ),
)

for each in BENCHMARKS:
    benchmarks.command(each.name)(each.command())
