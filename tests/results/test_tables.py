"""The tables on disk: tidy, alike as CSV and Parquet, streamed, and described by the dictionary."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet

from liverleaf.results import tables
from liverleaf.results.columns import CaseResult
from liverleaf.results.tables import TABLE_FILES, TABLES, data_dictionary, tables_in
from liverleaf.terminology import LesionType


@pytest.fixture
def written(result_of: Callable[..., CaseResult], tmp_path: Path) -> Path:
    """Tables of three cases, the second without a lesion."""
    with tables_in(tmp_path) as add:
        for number, types in enumerate(([LesionType.HCC], [], [LesionType.HCC, LesionType.FNH])):
            add(result_of(number, types=types))
    return tmp_path


def test_both_kinds_of_file_hold_the_same(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == set(TABLE_FILES)
    for table in TABLES:
        from_csv = pd.read_csv(written / f"{table.name}.csv")
        whole = parquet.read_table(written / f"{table.name}.parquet").to_pylist()
        assert list(from_csv.columns) == [column.name for column in table.columns] == list(whole[0])
        assert len(from_csv) == len(whole)
        for (_, cells), row in zip(from_csv.iterrows(), whole, strict=True):
            for name, value in row.items():
                same = pd.isna(cells[name]) if value is None else cells[name] == value
                assert same, (table.name, name, cells[name], value)


def test_parquet_keeps_the_kind_of_each_column_even_where_all_is_empty(written: Path) -> None:
    schema = parquet.read_schema(written / "studies.parquet")
    kinds = {field.name: str(field.type) for field in schema}
    assert kinds["agent"] == "string"  # no case has one
    assert kinds["lesions"] == "int64"
    assert kinds["pre_time_s"] == "double"
    assert kinds["dicom_seg"] == "bool"


def test_rows_are_of_cases_and_lesions(written: Path) -> None:
    assert list(pd.read_csv(written / "studies.csv")["lesions"]) == [1, 0, 2]
    lesions = pd.read_csv(written / "lesions.csv")
    assert list(zip(lesions["case"], lesions["lesion"], strict=True)) == [
        ("case-0", 1),
        ("case-2", 1),
        ("case-2", 2),
    ]


def test_a_cell_holds_one_value(written: Path) -> None:
    for table in TABLES:
        with (written / f"{table.name}.csv").open(newline="") as stream:
            for row in csv.DictReader(stream):
                for name, cell in row.items():
                    assert not re.search(r"[;|\n\[\]{}]", cell), (name, cell)


def test_rows_wait_in_groups_of_bounded_size(
    result_of: Callable[..., CaseResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 4)
    result = result_of(0)
    with tables_in(tmp_path) as add:
        for number in range(10):
            add(replace(result, case=f"case-{number}"))
    file = parquet.ParquetFile(tmp_path / "studies.parquet")
    groups = [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)]
    assert groups == [4, 4, 2]


def test_no_case_makes_tables_without_rows(tmp_path: Path) -> None:
    with tables_in(tmp_path):
        pass
    for table in TABLES:
        assert pd.read_csv(tmp_path / f"{table.name}.csv").empty
        assert parquet.read_table(tmp_path / f"{table.name}.parquet").num_rows == 0


def test_tables_appear_whole_or_not_at_all(
    result_of: Callable[..., CaseResult], tmp_path: Path
) -> None:
    def stopped() -> None:
        with tables_in(tmp_path) as add:
            add(result_of(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert not list(tmp_path.iterdir())


def test_the_dictionary_describes_the_columns_that_are_written(written: Path) -> None:
    sections = re.split(r"^## ", data_dictionary(), flags=re.MULTILINE)[1:]
    for section, table in zip(sections, TABLES, strict=True):
        described = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
        header = (written / f"{table.name}.csv").read_text().splitlines()[0]
        assert section.startswith(f"{table.name}\n")
        assert described == header.split(",")
    assert "| `volume_ml` | number | Volume. | ml | 0 or more |" in data_dictionary()
