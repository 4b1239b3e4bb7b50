"""Each landmark of the Explore tab has a picture: a credited, small photo, or a drawing."""

import re

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from landmark_model import Place, Prediction, find_place
from landmark_model.places import all_places
from landmark_model.web.html import pictures
from landmark_model.web.html.pictures import kind_of, photo_credits, picture, wall
from landmark_model.web.measured import NOTHING, read_measured
from landmark_model.web.preview import routes

PLACES = all_places()
MILL = Prediction("My <Old> Mill", "mill", 1.0, Place("My <Old> Mill"))


def as_guesses(keys: list[str]) -> list[Prediction]:
    return [Prediction(PLACES[key].name, key, 1.0, PLACES[key]) for key in keys]


def test_every_photo_is_credited_free_small_and_of_a_landmark():
    credits = photo_credits().values()
    assert {row["file"] for row in credits} == {path.name for path in pictures.FOLDER.glob("*.jpg")}
    assert len(credits) > 30
    for row in credits:
        assert row["landmark_class"] in PLACES and row["file"] == f"{row['landmark_class']}.jpg"
        assert row["licence"] in ("Public domain", "CC0 1.0", "CC BY-SA 4.0"), row
        assert row["author"] and row["title"] and row["changes"]
        assert row["source"].startswith("https://commons.wikimedia.org/wiki/File:")
        assert (pictures.FOLDER / row["file"]).stat().st_size <= 25_000
        with Image.open(pictures.FOLDER / row["file"]) as photo:
            assert photo.format == "JPEG" and max(photo.size) <= 320 and not photo.getexif()


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("Big_Ben", "tower"),
        ("Burj_Khalifa", "skyscraper"),
        ("Golden_Gate_Bridge", "bridge"),
        ("Mount_Fuji", "mountain"),
        ("Angkor_Wat", "temple"),
        ("Blue_Mosque", "dome"),
        ("Milan_Cathedral", "church"),
        ("Edinburgh_Castle", "castle"),
        ("Delicate_Arch", "arch"),
        ("Niagara_Falls", "water"),
        ("Central_Park", "garden"),
        ("Easter_Island_Moai", "statue"),
        ("Buckingham_Palace", "hall"),
        ("my mill", "place"),
    ],
)
def test_a_landmark_without_a_photo_is_drawn_by_what_it_is(key, kind):
    assert kind_of(find_place(key)) == kind
    assert f'href="#drawn-{kind}"' in picture(find_place(key), "")


def test_every_kind_is_drawn():
    drawn = re.findall(r'<symbol id="drawn-(\w+)"', wall([], NOTHING, "", "en"))
    assert sorted(drawn) == sorted([*pictures.KINDS, pictures.PLACE])
    tags = {tag for place in PLACES.values() for tag in place.tags}
    assert set(pictures.KIND_OF) <= tags, "a tag that no landmark has"


def test_the_wall_shows_what_the_network_knows_and_nothing_else():
    shown = wall([*as_guesses(["Eiffel_Tower", "Big_Ben"]), MILL], NOTHING, "/app", "de")
    assert re.findall("<b>(.*?)</b>", shown) == ["Big Ben", "Eiffelturm", "My &lt;Old&gt; Mill"]
    assert 'src="/app/pictures/Eiffel_Tower.jpg"' in shown and "Tognopop, Public domain" in shown
    assert "Mount Fuji" not in shown and "Zion" not in shown


def test_a_card_says_how_often_it_was_recognised_and_what_it_was_taken_for():
    names = ["Big_Ben", "Eiffel_Tower", "Tower_Bridge"]
    score = {"precision": 1.0, "recall": 0.75, "support": 12}
    classes = [score | {"class_name": name} for name in names]
    confusion = [[9, 1, 2], [0, 12, 0], [0, 0, 12]]
    classes[1]["support"] = 0  # nobody has tested it
    measured = read_measured({"test": {"classes": classes, "confusion": confusion}})
    ben, eiffel, bridge = wall(as_guesses(names), measured, "", "de").split("<li>")[1:]
    assert "75\u202f% von 12 Testfotos erkannt" in ben
    assert "Verwechselt mit: Tower Bridge (2), Eiffelturm (1)" in ben
    assert 'data-name="Big Ben"' in ben
    assert "Testfotos" not in eiffel and "Verwechselt" not in bridge


def test_only_the_photos_of_landmarks_can_be_fetched():
    client = TestClient(Starlette(routes=routes({})))
    answer = client.get("/pictures/Eiffel_Tower.jpg")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    for name in ("CREDITS.csv", "drawings.svg", "Nowhere.jpg", "..%2Fapp.css", "../app.css"):
        assert client.get(f"/pictures/{name}").status_code == 404
