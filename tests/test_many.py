"""The tab for many photos: rows as they come, what a visitor may say of them, and the files."""

import csv
import io
import json
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from landmark_model import Answer, LandmarkError, Prediction, Tagged, find_place
from landmark_model.web.batch import MAX_NAME, Batch
from landmark_model.web.html.photo_rows import photo_row
from landmark_model.web.models import Models
from landmark_model.web.pages.many import FILES, SAME, ManyTab

EXAMPLES = Path(__file__).parents[1] / "examples"
NETWORK = "tf_efficientnet_lite2"
NAMES = ("taj-mahal.jpg", "colosseum.jpg", "none-of-these.jpg")
VISITOR = SimpleNamespace(headers={"accept-language": "en"})
GERMAN = SimpleNamespace(headers={"accept-language": "de"})


def uploads(*names: str) -> list[dict]:
    """Examples as gradio hands uploads over."""
    return [{"path": str(EXAMPLES / name), "orig_name": name} for name in names]


@pytest.fixture
def tab(models) -> ManyTab:
    return ManyTab(models)


def answered(tab: ManyTab, *names: str, batch: Batch | None = None, visitor=VISITOR):
    """The batch after a run on those photos, and the steps of the run."""
    batch, *_ = tab.begin(uploads(*names), NETWORK, 0, batch, visitor)
    return batch, list(tab.tag(batch, visitor))


def test_rows_come_one_after_the_other_with_progress_and_end_in_a_map(tab, tmp_path):
    (tmp_path / "broken.jpg").write_text("no photo")
    broken = {"path": str(tmp_path / "broken.jpg"), "orig_name": "broken.jpg"}
    photos = [*uploads("taj-mahal.jpg"), broken, *uploads("none-of-these.jpg")]
    batch, status, table, _, cancel, _ = tab.begin(photos, NETWORK, 0, None, GERMAN)
    assert 'max="3" value="0"' in status and cancel["visible"] and "<tbody></tbody>" in table
    assert '<option value="Kolosseum">' in table
    _, *steps, last = tab.tag(batch, GERMAN)
    assert [re.search(r'value="\d"', status)[0] for status, *_ in steps] == [
        'value="1"',
        'value="2"',
        'value="3"',
    ]
    rows = [rows for _, rows, *_ in steps]
    assert rows[1].startswith(rows[0]) and rows[2].count("<tr") == 3  # sent as what is added
    assert rows[2].count("data:image/webp;base64,") == 2
    assert "broken.jpg ist kein lesbares Foto" in rows[2] and "Indien" in rows[2]
    status, told, changes, world, cancel, _ = last
    assert "1 von 3 Fotos haben einen Namen. Nicht lesbar: 1;" in status and told == ""
    assert changes.count("<tr") == 3 and changes.count("data:image/webp;base64,") == 2
    assert "Taj Mahal" in world and cancel["visible"] is False


def test_photos_that_are_added_are_answered_and_those_taken_away_are_gone(tab):
    batch, steps = answered(tab, *NAMES[:2])
    assert len(steps) == 4
    batch.change([2, "name", "Our house"], tab.models, "en")
    _, _, _, gone, _, _ = tab.begin(uploads(*NAMES[1:]), NETWORK, 0, batch, VISITOR)
    assert re.findall(r"<tr.*?>", gone) == ['<tr data-row="1" data-gone>']
    assert len(list(tab.tag(batch, VISITOR))) == 3, "only the new one"
    rows = batch.rows()
    assert [row.file for row in rows.values()] == [*NAMES[1:]]
    assert rows[2].best.label == "Our house"
    _, _, _, gone, _, _ = tab.begin(uploads(*NAMES[1:]), "resnet18", 0, batch, VISITOR)
    assert gone.count("data-gone") == 2 and len(batch.waiting()) == 2
    list(tab.tag(batch, VISITOR))
    assert batch.row(2).best.label == "Our house", "what somebody typed stays"


class Counted:
    """A classifier that counts the photos it was asked about, and calls after each batch."""

    def __init__(self, tagger: object, call) -> None:
        self.tagger, self.call, self.asked = tagger, call, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.tagger, name)

    def predict_batch(self, photos: list, *more: object, **settings: object) -> list:
        self.asked += len(photos)
        self.call()
        return self.tagger.predict_batch(photos, *more, **settings)


@pytest.mark.parametrize("way", ["cancel", "other photos"])
def test_a_run_ends_on_the_server_when_it_is_cancelled_or_another_begins(models, way):
    def end() -> None:
        if way == "cancel":
            told.append(tab.stop(batch, VISITOR))
        else:
            tab.begin(uploads(*NAMES), NETWORK, 0, batch, VISITOR)

    told, counted = [], Counted(models.pick(NETWORK), end)
    tab = ManyTab(Models({NETWORK: counted}))
    files = sorted(path.name for path in EXAMPLES.glob("*.jpg"))
    assert len(files) > 8
    batch, *_ = tab.begin(uploads(*files), NETWORK, 0, None, VISITOR)
    steps = list(tab.tag(batch, VISITOR))
    assert counted.asked <= 4 and not batch.rows()
    assert {*map(str, steps)} == {str((SAME,) * 6)}, "it says nothing more"
    counted.call = lambda: None
    if way == "cancel":
        status, *_, cancel, go_on = told[0]
        assert f"Stopped after 0 of {len(files)}" in status
        assert go_on["visible"] and not cancel["visible"]
        assert len(list(tab.tag(batch, VISITOR))) == 1, "it does not go on by itself"
        tab.begin(uploads(*files), NETWORK, 0, batch, VISITOR)
    list(tab.tag(batch, VISITOR))
    assert len(batch.rows()) == (len(files) if way == "cancel" else len(NAMES))


def test_a_visitor_corrects_rows_and_every_file_says_so(tab):
    batch, _ = answered(tab, *NAMES, visitor=GERMAN)
    for change, shown in (
        ([1, "tick", False], "<s>Taj Mahal</s>"),
        ([2, "name", "  brandenburger tor "], "<b>Brandenburger Tor</b>"),
        ([3, "tick", True], "von Hand"),
        ([3, "name", "<i>Oma's</i> Garten"], "<b>&lt;i&gt;Oma&#x27;s&lt;/i&gt; Garten</b>"),
    ):
        _, status, row, world = tab.change(change, batch, GERMAN)
        assert shown in row and row.count("<tr") == 1 and "<svg" in world
    assert "2 von 3" in status
    rows = list(batch.rows().values())
    lines = list(csv.DictReader(io.StringIO(FILES["landmarks.csv"](rows).decode("utf-8-sig"))))
    assert [(line["landmark"], line["country"]) for line in lines] == [
        ("", ""),
        ("Brandenburger Tor", "Deutschland"),
        ("<i>Oma's</i> Garten", ""),
    ]
    statuses = [row["status"] for row in json.loads(FILES["landmarks.json"](rows))]
    assert statuses == ["rejected", "corrected", "corrected"]
    assert FILES["landmarks-xmp.zip"](rows).count(b"none-of-these.jpg.xmp") == 2
    tab.change([1, "tick", True], batch, GERMAN)
    guess = batch.row(1).answer[3].class_name
    assert batch.row(1).status == "tagged"
    tab.change([1, "guess", guess], batch, GERMAN)
    assert batch.row(1).best.class_name == guess


def guessed(file: str, sure: float, is_known: bool = True) -> Tagged:
    """A row whose best guess is the Taj Mahal."""
    taj = Prediction("Taj Mahal", "Taj_Mahal", sure, find_place("Taj_Mahal"))
    return Tagged(file, Answer([taj, Prediction("Petra", "Petra", 0.01)], 1.0, is_known))


@pytest.fixture
def batch() -> Batch:
    """Four answered photos: sure, less sure, of something else, unreadable."""
    rows = [guessed("a.jpg", 0.95), guessed("b.jpg", 0.6), guessed("c.jpg", 0.1, False)]
    rows.append(Tagged("d.jpg", None, "no photo", error=LandmarkError("no photo")))
    batch = Batch()
    batch.begin([(row.file, Path(row.file)) for row in rows], NETWORK)
    for number, row in enumerate(rows, 1):
        batch.add(batch.run, number, row)
    batch.finish(batch.run)
    return batch


def test_a_guess_that_is_not_sure_enough_has_no_name_unless_a_visitor_says_so(tab, batch):
    tab.change([1, "name", "Rome"], batch, VISITOR)
    status, rows, _ = tab.ask(97, batch, VISITOR)
    assert [row.status for row in batch.rows().values()] == [
        "corrected",
        "doubtful",
        "unknown",
        "unreadable",
    ]
    assert "1 of 4" in status and rows.count(" checked") == 1 and "<i>Taj Mahal</i>" in rows
    tab.change([2, "tick", True], batch, VISITOR)
    assert batch.row(2).best.label == "Taj Mahal"
    for least in ("9", -1, 100, True, [5], float("nan")):
        with pytest.raises(LandmarkError, match="from 0 to 99"):
            tab.ask(least, batch, VISITOR)


def test_a_photo_that_shows_none_has_its_nearest_guess_greyed_and_no_tick(batch):
    row = photo_row(3, batch.row(3), "", "en")
    assert "None I know" in row and "<i>Nearest: Taj Mahal</i>" in row and " checked" not in row


@pytest.mark.parametrize(
    "change",
    [
        None, 7, "1", [], [1], {"0": 1}, [1, "tick"], [1, "tick", "yes"], [1, "tick", 1],
        [1, "guess", "Louvre"], [1, "guess", ["Petra"]], [1, "guess", None], [1, "name", None],
        [1, "name", ["x"]], [1, "delete", True], [1, ["tick"], True], [4, "tick", True],
        [9, "tick", True], [-1, "tick", True], [True, "tick", False], ["1", "tick", False],
        [1.0, "tick", False], [[1], "tick", False], [1, "name", ""], [1, "name", "  "],
        [1, "name", "x" * (MAX_NAME + 1)], [1, "name", "a\nb"], [1, "name", "a\x00"],
        [1, "name", "a\x1b[2J"], [1, "name", "\u202egpj"], [1, "name", "a\u2028b"],
        [1, "name", "\u200b"], [1, "name", "a\ufeffb"],
        [1, "name", "\ud800"], [1, "name", "Rome\n"],
    ],
)  # fmt: skip
def test_what_is_no_change_of_a_photo_is_refused_and_changes_nothing(tab, batch, change):
    before = batch.rows()
    with pytest.raises(LandmarkError) as told:
        tab.change(change, batch, VISITOR)
    assert batch.rows() == before and len(str(told.value)) < 200
    with pytest.raises(LandmarkError, match="not here any more"):
        tab.change([1, "tick", False], None, VISITOR)


def test_a_batch_holds_while_several_threads_change_it():
    batch = Batch()
    batch.begin([(str(number), Path(str(number))) for number in range(200)], NETWORK)
    run = batch.run

    def fill() -> None:
        for number, (name, _) in batch.waiting():
            batch.add(run, number, guessed(name, 0.9))

    filling = threading.Thread(target=fill)
    filling.start()
    while filling.is_alive():
        found = list(batch.rows())
        assert found == sorted(found)
    assert len(batch.rows()) == 200 and batch.finish(run) and not batch.finish(run)


def test_too_many_photos_are_refused_in_a_sentence_and_none_show_nothing(tab):
    batch, status, *_, cancel, _ = tab.begin(uploads("a.jpg") * 201, NETWORK, 0, None, VISITOR)
    assert "201 photos; the limit is 200" in status and cancel["visible"] is False
    assert len(list(tab.tag(batch, VISITOR))) == 1
    batch, status, *_ = tab.begin(None, NETWORK, 0, batch, VISITOR)
    assert status == "" and batch.run is None
