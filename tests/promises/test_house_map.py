"""Check that the map of the house, encenv/README.md and its picture, says what the source says."""

from support.draw_house import PICTURE, PLACES, drawing, owner
from support.house import FACES, HOUSE


def test_every_room_is_drawn():
    """Each file of the package belongs to a room of the picture, and no place is drawn without a file."""
    assert {owner(file) for file in [*HOUSE, *FACES]} == set(PLACES)


def test_picture_is_up_to_date():
    """The committed picture is what the source gives: PYTHONPATH=tests python -m support.draw_house draws it."""
    assert PICTURE.read_text(encoding="utf-8") == drawing()
