"""Zips that are locked, broken, escape or explode, and one that is fine."""

import stat
import warnings
import zipfile

import pytest

from liverleaf.ingest import archive
from liverleaf.ingest.archive import beginnings, unpacked
from liverleaf.ingest.reader import read_study
from liverleaf.study import InputError, Phase


def test_a_zip_reads_like_its_folder_and_leaves_nothing_behind(tmp_path, make, stored) -> None:
    folder = make.shuffled(make.series(stored), tmp_path / "dicom")
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("__MACOSX/._rubbish", b"x")
        for path in folder.iterdir():
            file.write(path, f"study/ä b/{path.name}")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    study = read_study(tmp_path / "study.zip", scratch=scratch)
    whole = read_study(folder)
    assert (
        study.phases[Phase.PORTAL].volume.array == whole.phases[Phase.PORTAL].volume.array
    ).all()
    assert study.warnings == whole.warnings
    assert list(scratch.iterdir()) == []


NAMES = ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "\\\\host\\evil"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out_are_refused(tmp_path, name) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("good", b"x")
        file.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(InputError, match=r"evil\.zip holds links or file names that lead out"):
        read_study(tmp_path / "evil.zip")
    assert not (tmp_path / "evil").exists()


def test_links_are_refused(tmp_path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as file:
        file.writestr(link, b"/etc/passwd")
    with pytest.raises(InputError, match="links"):
        read_study(tmp_path / "link.zip")


@pytest.mark.parametrize(
    ("limit", "value"), [("MAX_FILES", 2), ("MAX_BYTES", 1000), ("SMALL_BYTES", 1000)]
)
def test_bombs_are_refused(tmp_path, monkeypatch, limit, value) -> None:
    monkeypatch.setattr(archive, limit, value)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name in "abc":
            file.writestr(name, bytes(100_000))
    with pytest.raises(InputError, match=r"bomb\.zip is too large to unpack: 3 files"):
        read_study(tmp_path / "bomb.zip")


def test_a_password_is_told(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as file:
        file.writestr("image", b"x" * 50)
    data = bytearray((tmp_path / "locked.zip").read_bytes())
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(data)
    with pytest.raises(InputError, match="password"):
        read_study(tmp_path / "locked.zip")


def test_damage_is_told(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "broken.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("image", bytes(range(256)) * 50)
    data = bytearray((tmp_path / "broken.zip").read_bytes())
    data[60:80] = bytes(20)
    (tmp_path / "broken.zip").write_bytes(data)
    with pytest.raises(InputError, match=r"broken\.zip cannot be unpacked"):
        read_study(tmp_path / "broken.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(InputError, match=r"text\.zip is damaged or no zip file"):
        read_study(tmp_path / "text.zip")


@pytest.mark.parametrize(
    ("names", "says"), [(("a", "b", "a"), "several files of one name"), (("a", "b/"), "or nowhere")]
)
def test_a_file_that_another_would_hide_is_no_reason_to_lose_it(
    tmp_path, names: tuple[str, ...], says: str
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            packed.writestr(zipfile.ZipInfo(name), b"content")
    with pytest.raises(InputError, match=says), unpacked(tmp_path / "a.zip"):
        pass
    with pytest.raises(InputError, match=says):
        list(beginnings(tmp_path / "a.zip", 10))
