"""What the page draws of a heat map."""

from __future__ import annotations

from livectl.live.history import HeatMap
from livectl.web.drawings import draw_heat_map

DAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")


def test_shades_run_from_never_to_every_week() -> None:
    shares = ((0.0, 0.001, 0.2, 0.5, 0.99, 1.0) + (0.0,) * 18,) + ((0.0,) * 24,) * 6
    drawing = draw_heat_map(HeatMap(timezone="UTC", weeks=1, shares=shares), DAYS)
    assert [cell.level for cell in drawing.cells[:6]] == [0, 1, 2, 3, 5, 5]
    assert len(drawing.cells) == 168


def test_cells_and_labels_lie_side_by_side_within_the_drawing() -> None:
    drawing = draw_heat_map(HeatMap(timezone="UTC", weeks=1, shares=((0.0,) * 24,) * 7), DAYS)
    assert len({(cell.x, cell.y) for cell in drawing.cells}) == 168
    assert max(cell.x for cell in drawing.cells) + drawing.cell < drawing.width
    assert max(cell.y for cell in drawing.cells) + drawing.cell < drawing.height
    assert [label.text for label in drawing.hours] == ["00", "03", "06", "09", "12", "15", "18", "21"]
    assert {label.x for label in drawing.hours} <= {cell.x for cell in drawing.cells}
    assert [label.text for label in drawing.days] == list(DAYS)
    last = drawing.cells[-1]
    assert (last.day, last.hour) == ("Su", "23")
