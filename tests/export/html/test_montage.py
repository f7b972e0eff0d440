"""A plane as one picture holds every phase, outlined."""

from liverleaf.export.html import figures
from liverleaf.export.html.montage import montage


def test_a_montage_holds_every_phase(make_case) -> None:
    study, segmentation, _ = make_case()
    sheet = montage(figures.axial_view(figures.display(study, segmentation)))
    assert sheet.size[0] == 4 * 400 + 3 * 4
    colours = {colour for _, colour in sheet.getcolors(1 << 20)}
    assert {(0x4C, 0xB5, 0xC4), (0xFF, 0x4D, 0x4D)} <= colours  # liver and lesion 1
