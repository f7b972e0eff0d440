"""A person's table of phases counts for more than headers, and what is wrong with it is refused."""

from __future__ import annotations

import csv
import json
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from liverleaf.cli import app as cli
from liverleaf.cohort.build import build_cohort
from liverleaf.cohort.index import Cohort
from liverleaf.ingest.phases.reasons import SENTENCES, ReasonCode
from liverleaf.ingest.reader import inspect, read_phase_table, read_study, write_phase_table
from liverleaf.study import InputError, Phase

BY_TABLE = SENTENCES[ReasonCode.USER_TABLE]

A, V, D = Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED


def table(folder: Path, *lines: str) -> Path:
    file = folder / "phases.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def dicom(tmp_path, make, stored) -> Path:
    """Series 2 and 3 by one name, 4 with another; pixels tell nothing."""
    for series, name in ((2, "portal venous"), (3, "portal venous"), (4, "delayed")):
        for dataset in make.series(
            stored + series,
            SeriesNumber=series,
            SeriesInstanceUID=f"1.2.{series}",
            SeriesDescription=name,
        ):
            make.save(dataset, tmp_path / f"study/{series}-{dataset.ImagePositionPatient[2]}")
    return tmp_path / "study"


@pytest.fixture
def nifti(tmp_path) -> Path:
    (tmp_path / "files").mkdir()
    for name in ("a.nii.gz", "b.nii.gz", "portal.nii.gz"):
        nib.save(
            nib.Nifti1Image(
                np.full((4, 5, 6), 50 + len(name), np.float32), np.diag([2.0, 2, 2, 1])
            ),
            tmp_path / "files" / name,
        )
    return tmp_path / "files"


@pytest.mark.parametrize(
    "lines",
    [
        ("series,phase", "3,arterial"),
        ("series,phase", "1.2.3,Arterial "),
        ("\ufeffnumber;Series;remark;PHASE", "9; 3;was misnamed;arterial"),
        ("study,series,phase", "1.2.3,3,arterial", "other,5,delayed"),
    ],
    ids=["number", "uid", "as Excel writes it", "beside another study"],
)
def test_the_table_decides(tmp_path, dicom, lines) -> None:
    study = read_study(dicom, table=read_phase_table(table(tmp_path, *lines)))
    assert set(study.phases) == {A, V, D}
    assert study.phases[A].evidence == (BY_TABLE,)
    assert study.phases[A].confidence == 1
    assert study.phases[A].headers[0].SeriesNumber == 3
    assert study.phases[V].headers[0].SeriesNumber == 2


def test_the_table_wins_over_another_series_of_that_phase_and_leaves_series_out(
    tmp_path, dicom
) -> None:
    reports = inspect(
        dicom, table=read_phase_table(table(tmp_path, "series,phase", "3,delayed", "2,none"))
    ).series
    assert [(report.number, report.phase, report.used) for report in reports] == [
        (2, None, False),
        (3, D, True),
        (4, D, False),
    ]
    assert reports[0].evidence == (BY_TABLE,)


def test_time_points_are_named_one_by_one(tmp_path, make, stored) -> None:
    for point in (1, 2):
        for dataset in make.series(
            stored + point,
            AcquisitionNumber=point,
            SeriesDescription="dyn",
            AcquisitionTime=f"10000{point}",
        ):
            make.save(dataset, tmp_path / f"study/{point}-{dataset.ImagePositionPatient[2]}")
    study = read_study(
        tmp_path / "study",
        table=read_phase_table(table(tmp_path, "series,phase", "2:1,pre", "1.2.3.4:2,arterial")),
    )
    assert set(study.phases) == {Phase.PRE, A}
    with pytest.raises(InputError, match="names a series of 2 time points or parts"):
        read_study(
            tmp_path / "study",
            table=read_phase_table(table(tmp_path, "series,phase", "2,arterial")),
        )


def test_nifti_files_are_called_by_their_names(tmp_path, nifti) -> None:
    with pytest.raises(InputError, match="file names do not tell the phase of a"):
        read_study(nifti)
    rows = read_phase_table(
        table(tmp_path, "series,phase", "a.nii.gz,pre", "b.nii.gz,portal", "portal.nii.gz,none")
    )
    study = read_study(nifti, table=rows)
    assert set(study.phases) == {Phase.PRE, V}
    assert study.phases[V].evidence == (BY_TABLE,)
    assert [(report.series, report.phase) for report in inspect(nifti, table=rows)] == [
        ("a.nii.gz", Phase.PRE),
        ("b.nii.gz", V),
        ("portal.nii.gz", None),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ("series,phase", "7,arterial"),
            "line 2 of the table of phases names a series that the study does not have",
        ),
        (
            ("series,phase", "2,venous"),
            (
                "line 2 of phases.csv names no known phase: use pre, arterial, portal, delayed,"
                " hepatobiliary, none"
            ),
        ),
        (
            ("series,phase", "2,pre", "3,pre"),
            "lines 2 and 3 of the table of phases both give the pre-contrast phase",
        ),
        (
            ("series,phase", "2,pre", "1.2.2,none"),
            "lines 2 and 3 of the table of phases are about the same series",
        ),
        (("series", "2"), "has no column phase"),
        (("2,pre",), "has no column series and no column phase"),
        (("series,phase",), "has no row"),
        (("series,phase", ",pre"), "line 2 of phases.csv does not say which series"),
        (
            ("study,series,phase", "8,2,pre", "9,2,pre"),
            "no line of the table of phases is about this study",
        ),
        (("series,phase", '2,"pre', "\0"), "cannot be read|no known phase"),
    ],
)
def test_a_faulty_table_is_refused_in_one_line(tmp_path, dicom, lines, message) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read_study(dicom, table=read_phase_table(table(tmp_path, *lines)))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"series,phase\n2,\x81", "cannot be read: give a CSV file")],
)
def test_an_unreadable_table_is_refused(tmp_path, content, message) -> None:
    if content is not None:
        (tmp_path / "phases.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"phases\.csv {message}"):
        read_phase_table(tmp_path / "phases.csv")


def test_what_inspect_writes_can_be_read_again(tmp_path, dicom) -> None:
    reports = inspect(dicom).series
    write_phase_table(reports, tmp_path / "found.csv")
    again = inspect(dicom, table=read_phase_table(tmp_path / "found.csv", studies=True))
    assert [report.phase if report.used else None for report in reports] == [
        report.phase for report in again
    ]
    with pytest.raises(InputError, match="exists already"):
        write_phase_table(reports, tmp_path / "found.csv")


def test_the_parts_of_one_series_are_told_apart(tmp_path, make, stored) -> None:
    """A localizer in three planes, and an image series of two kinds of which one is a phase."""
    study = tmp_path / "study"
    planes = [(1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)]
    for number, plane in enumerate(planes):
        scout = make.slice(
            stored[0],
            (0, 0, 0),
            plane,
            SeriesInstanceUID="1.2.1",
            SeriesNumber=1,
            InstanceNumber=number + 1,
        )
        scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        make.save(scout, study / f"scout-{2 - number}")
    for kind in ("WATER", "FAT"):
        for z, dataset in enumerate(
            make.series(stored, ImageType=["DERIVED", "PRIMARY", "DIXON", kind], Modality="CT")
        ):
            make.save(dataset, study / f"{kind}-{z}")
    reports = inspect(study).series
    assert [report.series for report in reports] == [
        "1.2.1:1",
        "1.2.1:2",
        "1.2.1:3",
        "1.2.3.4:1",
        "1.2.3.4:2",
    ]
    write_phase_table(reports, tmp_path / "found.csv")
    rows = read_phase_table(tmp_path / "found.csv", studies=True)
    assert [report.phase for report in inspect(study, table=rows)] == [
        report.phase if report.used else None for report in reports
    ]
    said = read_phase_table(table(tmp_path, "series,phase", "1,none", "2:1,none", "2:2,delayed"))
    assert [report.phase for report in inspect(study, table=said)] == [None, None, None, None, D]


def test_a_series_that_was_left_out_may_be_called_no_phase_only(
    tmp_path, dicom, make, stored
) -> None:
    for turn in range(2):
        for dataset in make.series(stored + turn, SeriesNumber=9, SeriesInstanceUID="1.2.9"):
            make.save(dataset, dicom / f"9-{turn}-{dataset.ImagePositionPatient[2]}")
    reports = inspect(dicom).series
    write_phase_table(reports, tmp_path / "found.csv")
    assert (
        inspect(dicom, table=read_phase_table(tmp_path / "found.csv")).series[-1].evidence
        == reports[-1].evidence
    )
    with pytest.raises(
        InputError,
        match=(
            "line 2 of the table of phases gives a phase to a series that cannot be used: series 9"
            " was left out"
        ),
    ):
        read_study(dicom, table=read_phase_table(table(tmp_path, "series,phase", "9,pre")))


def test_a_series_without_any_name_has_one_in_the_table(tmp_path, make, stored) -> None:
    for dataset in make.series(stored, SeriesNumber=None, SeriesInstanceUID=None):
        make.save(dataset, tmp_path / f"study/{dataset.ImagePositionPatient[2]}")
    reports = inspect(tmp_path / "study").series
    write_phase_table(reports, tmp_path / "found.csv")
    assert [
        report.evidence
        for report in inspect(tmp_path / "study", table=read_phase_table(tmp_path / "found.csv"))
    ] == [(BY_TABLE,)]


def test_a_case_folder_takes_no_table(tmp_path, dicom) -> None:
    build_cohort([dicom], tmp_path / "cohort")
    with pytest.raises(InputError, match="leave --phases out"):
        read_study(
            next((tmp_path / "cohort").glob("case-*")),
            table=read_phase_table(table(tmp_path, "series,phase", "2,pre")),
        )


def test_a_cohort_is_read_with_one_table_for_all(tmp_path, dicom, nifti) -> None:
    lines = (
        "study,series,phase",
        "1.2.3,3,arterial",
        f"{nifti},a.nii.gz,pre",
        f"{nifti},b.nii.gz,none",
    )
    done = build_cohort([dicom, nifti], tmp_path / "cohort", phases=table(tmp_path, *lines))
    assert (done.read, done.refused) == (2, {})
    found = [set(study.phases) for study, _ in Cohort.open(tmp_path / "cohort")]
    assert {A, V, D} in found
    assert {Phase.PRE, V} in found
    build_cohort([dicom, nifti], tmp_path / "cohort", phases=table(tmp_path, *lines))  # goes on


def test_a_cohort_refuses_tables_that_do_not_fit(tmp_path, dicom) -> None:
    with pytest.raises(InputError, match="has no column study"):
        build_cohort(
            [dicom], tmp_path / "cohort", phases=table(tmp_path, "series,phase", "3,arterial")
        )
    with pytest.raises(
        InputError, match="line 2 of the table of phases names a study that was not found"
    ):
        build_cohort(
            [dicom],
            tmp_path / "cohort",
            phases=table(tmp_path, "study,series,phase", "77,3,arterial"),
        )
    build_cohort([dicom], tmp_path / "cohort")
    assert (
        build_cohort(
            [dicom],
            tmp_path / "cohort",
            phases=table(tmp_path, "study,series,phase", "1.2.3,3,arterial"),
        ).again
        == 1
    )
    assert A in Cohort.open(tmp_path / "cohort")[0][0].phases


def test_the_command_line(tmp_path, dicom, monkeypatch, capsys) -> None:
    def liverleaf(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["liverleaf", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        assert (end.value.code or 0) == (1 if said.err else 0)
        return said.err or said.out

    written = tmp_path / "found.csv"
    liverleaf("inspect", dicom, "--phases-out", written)
    rows = list(csv.DictReader(written.read_text(encoding="utf-8").splitlines()))
    assert [(row["series"], row["number"], row["phase"]) for row in rows] == [
        ("1.2.2", "2", "portal"),
        ("1.2.3", "3", "none"),
        ("1.2.4", "4", "delayed"),
    ]
    written.write_text(
        written.read_text(encoding="utf-8").replace("none", "arterial"), encoding="utf-8"
    )
    shown = json.loads(liverleaf("inspect", dicom, "--phases", written, "--json"))
    assert [(s["series"], s["phase"], s["evidence"]) for s in shown] == [
        ("1.2.2", "portal", [BY_TABLE]),
        ("1.2.3", "arterial", [BY_TABLE]),
        ("1.2.4", "delayed", [BY_TABLE]),
    ]
    wrong = table(tmp_path, "series,phase", "8,pre")
    assert "line 2 of the table of phases" in liverleaf(
        "analyze", dicom, "--out", tmp_path / "out", "--phases", wrong
    )
    assert "line 2 of the table of phases" in liverleaf("inspect", dicom, "--phases", wrong)
    assert "has no column study" in liverleaf(
        "ingest", dicom, "--out", tmp_path / "cohort", "--phases", wrong
    )


GOOD = ("2:1,pre", "2:2,arterial", "2:3,portal")
SPREADSHEETS = {
    "minutes": b"series;phase\r\n02:01;pre\r\n02:02;arterial\r\n02:03;portal\r\n",
    "seconds": b"series;phase\r\n02:01:00;pre\r\n02:02:00;arterial\r\n02:03:00;portal\r\n",
    "UTF-16 with tabs": (
        "series\tphase\r\n" + "\r\n".join(GOOD).replace(",", "\t") + "\r\n"
    ).encode("utf-16"),
    "blank lines": ("series,phase\n" + "\n".join(GOOD) + "\n,\n,\n\n").encode(),
    "sep=;": ("sep=;\r\nseries;phase\r\n" + "\r\n".join(GOOD).replace(",", ";")).encode(),
    "Windows-1252": (
        "series,phase,note\n" + "\n".join(f"{row},sp\u00e4ter" for row in GOOD)
    ).encode("cp1252"),
    "titles": b"Series,Phase\n2:1,Pre-contrast\n2:2,ARTERIAL\n2:3,Portal venous\n",
}


@pytest.mark.parametrize("content", SPREADSHEETS.values(), ids=SPREADSHEETS)
def test_what_spreadsheets_make_of_a_table_is_read_as_it_was_meant(tmp_path, content) -> None:
    (tmp_path / "phases.csv").write_bytes(content)
    rows = read_phase_table(tmp_path / "phases.csv")
    assert [(row.series, row.phase) for row in rows] == [
        ("2:1", Phase.PRE),
        ("2:2", A),
        ("2:3", V),
    ]


def test_a_whole_number_that_became_a_measurement_is_a_series_number(tmp_path, dicom) -> None:
    rows = read_phase_table(table(tmp_path, "series,phase", "3.0,arterial"))
    assert A in read_study(dicom, table=rows).phases


def test_lines_are_counted_as_the_file_has_them(tmp_path) -> None:
    for first in ((), ("sep=,",)):
        file = table(tmp_path, *first, "series,phase", "2,pre", "3,venus")
        with pytest.raises(InputError, match=f"line {3 + len(first)} of phases.csv names no known"):
            read_phase_table(file)


def test_rows_without_a_phase_say_nothing(tmp_path, dicom) -> None:
    rows = read_phase_table(table(tmp_path, "series,phase", "2,", "3,arterial"))
    assert [row.series for row in rows] == ["3"]
    with pytest.raises(InputError, match="has no row with a phase: say the phase of at least one"):
        read_phase_table(table(tmp_path, "series,phase", "2,", "3, "))


def test_a_refused_study_is_overruled_by_its_own_table(tmp_path, make, stored) -> None:
    """Every series is refused with its reason; a person fills one in, and it is read."""
    for series, name in ((2, "t2 haste"), (3, "adc")):
        elements = {"SeriesInstanceUID": f"1.2.{series}", "SeriesNumber": series, "Modality": "MR"}
        folder = tmp_path / f"study/{series}"
        make.shuffled(make.series(stored, SeriesDescription=name, **elements), folder)
    inspected = inspect(tmp_path / "study")
    assert inspected.refused.startswith("none of the 2 series is a contrast phase")
    with pytest.raises(InputError) as refused:
        read_study(tmp_path / "study")
    assert str(refused.value) == inspected.refused
    file = tmp_path / "found.csv"
    write_phase_table(inspected.series, file)
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert [(row["series"], row["phase"], row["reason"]) for row in rows] == [
        ("1.2.2", "", "T2-weighted: description says 't2'"),
        ("1.2.3", "", "diffusion-weighted: description says 'adc'"),
    ]
    corrected = file.read_text(encoding="utf-8").replace("t2 haste,,", "t2 haste,portal,")
    file.write_text(corrected, encoding="utf-8")
    assert list(read_study(tmp_path / "study", table=read_phase_table(file)).phases) == [V]


def test_two_files_of_one_phase_are_left_to_the_person(tmp_path, nifti) -> None:
    (nifti / "a.nii.gz").rename(nifti / "venous.nii.gz")
    (nifti / "b.nii.gz").rename(nifti / "art.nii.gz")
    inspected = inspect(nifti)
    assert "two files are of the portal venous phase" in inspected.refused
    write_phase_table(inspected.series, tmp_path / "found.csv")
    text = (tmp_path / "found.csv").read_text(encoding="utf-8")
    rows = {row["series"]: row["phase"] for row in csv.DictReader(text.splitlines())}
    assert rows == {"art.nii.gz": "arterial", "portal.nii.gz": "", "venous.nii.gz": ""}


def test_the_table_of_a_refused_study_is_written_by_the_command(
    tmp_path, nifti, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["liverleaf", "inspect", str(nifti), "--phases-out", str(tmp_path / "t.csv")]
    )
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert end.value.code == 1
    assert said.err.count("\n") == 1
    assert "file names do not tell the phase of a.nii.gz, b.nii.gz" in said.err
    assert "portal venous" in said.out
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").count("\n") == 4


def test_a_table_about_a_zip_fits_it_again(tmp_path) -> None:
    """Its files lie elsewhere each time that it is unpacked, and two have one name."""
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for turn, folder in enumerate(("one", "two")):
            values = np.full((4, 5, 6 + turn), 50, np.float32)
            nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "scan.nii.gz")
            archive.write(tmp_path / "scan.nii.gz", f"{folder}/scan.nii.gz")
    inspected = inspect(tmp_path / "study.zip")
    assert "do not tell the phase" in inspected.refused
    names = [str(tmp_path / f"study.zip/{folder}/scan.nii.gz") for folder in ("one", "two")]
    assert [report.series for report in inspected] == names
    rows = (f"{Path(name).parent},{name}" for name in names)
    lines = [f"{row},{phase}" for row, phase in zip(rows, ("pre", "portal"), strict=True)]
    said = read_phase_table(table(tmp_path, "study,series,phase", *lines))
    phases = read_study(tmp_path / "study.zip", table=said).phases
    assert {phase: image.volume.shape[2] for phase, image in phases.items()} == {
        Phase.PRE: 4,
        V: 4,
    }
    assert {phase: image.volume.shape[0] for phase, image in phases.items()} == {
        Phase.PRE: 6,
        V: 7,
    }
