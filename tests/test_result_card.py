"""What the result card and the tables say, and that nothing in it can be mistaken for HTML."""

import pytest

from landmark_model import LandmarkError, Place, Prediction
from landmark_model.web.html import cards
from landmark_model.web.html.cards import Shown
from landmark_model.web.html.tables import table

PETRA = Place(
    "Petra", "البتراء", "Ma'an", "Jordan", "JO", 30.3222, 35.4517, tags=("ruins", "desert")
)
BEST = Prediction("Petra", "Petra", 0.82, PETRA)
OTHER = Prediction("My Old Mill", "my_old_mill", 0.01)


def card(*guesses: Prediction, language: str = "en", **shown: object) -> str:
    known = shown.pop("is_known", True)
    return cards.card(Shown(guesses, known, **shown), language, 50)


def test_the_card_shows_name_place_certainty_links_and_tags_in_the_language():
    shown = card(BEST, OTHER)
    for part in ("<h2>Petra</h2>", "البتراء", "🇯🇴", "Jordan", "82%", "Very likely", "desert"):
        assert part in shown
    assert "30.3222° N, 35.4517° E" in shown and "My Old Mill" in shown
    assert "openstreetmap.org/?mlat=30.3222&amp;mlon=35.4517" in shown
    assert 'data-text="Petra, ruins, desert"' in shown
    assert 'data-text="Petra, Ruinen, Wüste"' in card(BEST, OTHER, language="de")


def test_the_local_name_is_not_said_twice():
    twice = Prediction("Colosseum", "Colosseum", 0.9, Place("Colosseum", "Colosseum"))
    assert "local" not in card(twice)


def test_a_landmark_without_place_gets_a_card_without_links():
    shown = card(OTHER)
    assert 'data-text="My Old Mill"' in shown
    assert not [part for part in ("<a ", "flag", "bars") if part in shown]


def test_what_was_shared_says_so_first_with_the_version_and_the_model_when_pointed_at():
    shown = card(BEST, note="Somebody shared it.", stamp="resnet18@0.2.0-1a2b3c4d")
    body = shown.split(">", 1)[1]
    said = "Somebody shared it. Answered by Landmark tagger 0.2."
    assert body.startswith(f'<p class="note" title="resnet18@0.2.0-1a2b3c4d">{said}</p>')
    own = card(BEST, note="Somebody shared it.", stamp="resnet18@1a2b3c4d")
    assert 'title="resnet18@1a2b3c4d">Somebody shared it.</p>' in own
    assert "Try your own photo" in shown and "Try your own" not in card(BEST)


def test_the_sidecar_can_be_downloaded():
    shown = card(BEST, sidecar=('a "b".jpg.xmp', "<x/>"))
    assert 'download="a &quot;b&quot;.jpg.xmp"' in shown
    assert 'href="data:application/rdf+xml;base64,PHgvPg=="' in shown


def test_nothing_that_somebody_wrote_can_be_mistaken_for_html():
    place = Place("<img src=x>", local_name="<i>", place="<b>", tags=('"><script>',))
    evil = Prediction("<img src=x>", "x", 0.5, place)
    ours = {"sidecar": ('"><b>', "<u>"), "stamp": '"><i>'}
    shown = card(evil, evil, note="<u>", link='?"><script>', **ours)
    shown += cards.sorry(LandmarkError("<script>"), "en")
    shown += table(["sure"], [["<script>"]], '"><b>', "en")
    assert not [part for part in ("<img", "<b>", "<i>", "<script", "<u>") if part in shown]


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0.95, "Almost certainly"), (0.7, "Very likely"), (0.5, "Probably"), (0.2, "Not sure")],
)
def test_certainty_is_put_in_words(probability, words):
    assert words in card(Prediction("x", "x", probability))


@pytest.mark.parametrize(
    ("probability", "language", "text"),
    [
        (0.9999, "en", "over 99%"),
        (0.99, "en", "99%"),
        (0.001, "en", "<1%"),
        (0.5, "fr", "50\u202f%"),
        (0.5, "zh", "50%"),
    ],
)
def test_nothing_is_ever_called_impossible_or_a_hundred_percent_sure(probability, language, text):
    assert cards.percent(probability, language) == text


@pytest.mark.parametrize(("probability", "listed"), [(0.01, True), (0.0099, False)])
def test_only_what_is_likely_at_all_is_said_to_be_possible_too(probability, listed):
    shown = card(BEST, Prediction("My Old Mill", "my_old_mill", probability))
    assert ("It could also be" in shown) is ("My Old Mill" in shown) is listed


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "13.1000° S, 72.5000° W"),
        ("es", "13.1000° S, 72.5000° O"),
        ("fr", "13.1000° S, 72.5000° O"),
        ("de", "13.1000° S, 72.5000° W"),
        ("zh", "13.1000° S, 72.5000° W"),
    ],
)
def test_hemispheres_follow_the_language(language, text):
    assert cards.degrees(-13.1, -72.5, language) == text
    east = "O" if language == "de" else "E"
    assert cards.degrees(0, 0, language) == f"0.0000° N, 0.0000° {east}"


def test_an_unknown_photo_names_no_winner():
    shown = card(BEST, OTHER, is_known=False, camera=(30.0, -35.0))
    assert "<h2>Petra" not in shown and "does not look like" in shown
    assert shown.count("<li>") == 2 and "The camera says 30.0000° N, 35.0000° W.</p>" in shown


@pytest.mark.parametrize(
    ("camera", "away"),
    [((30.3232, 35.4517), "110 m"), ((30.3322, 35.4517), "1.1 km"), ((0, 0), "5039 km")],
)
def test_the_camera_says_how_far_from_the_guess_it_was(camera, away):
    assert f"{away} away" in card(BEST, camera=camera)


def test_a_network_that_knows_none_of_it_says_so_in_the_comparison(models):
    answer = models.pick("resnet18").predict("examples/taj-mahal.jpg")
    shown = cards.verdict("ResNet18", 0.123, answer, "en")
    assert "<h2>Taj Mahal</h2>" in shown and "0.12 s" in shown
    assert len(answer) == 5 and shown.count("<li>") == 1  # nothing else has 1 % or more
    answer.is_known = False
    assert "<h2>None I know</h2>" in cards.verdict("ResNet18", 0.123, answer, "en")


def test_a_table_has_heads_to_click_and_a_row_each():
    shown = table(["photo", "sure"], [["a.jpg", 99.5], ["b.jpg", None]], "Fotos", "de")
    assert shown.count('<th scope="col"><button>') == 2 and shown.count("<tr>") == 3
    # What each cell is stands in it, too: a phone shows no heads.
    sure = '<td class="number" data-title="Sicher, %">'
    assert f'<td data-title="Foto">a.jpg</td>{sure}99.5</td>' in shown
    assert f'<td data-title="Foto">b.jpg</td>{sure}</td>' in shown
    assert 'aria-label="Fotos"' in shown and "Filtern" in shown
