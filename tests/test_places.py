"""The gazetteer is complete and plausible, and any spelling of a class finds its entry."""

import json
import re
from importlib.resources import files

import pytest

from landmark_model.places import (
    Place,
    all_places,
    country_in,
    distance_km,
    find_place,
    flag,
    nearest_place,
    place_in,
    tag_in,
)

LANGUAGES = ("es", "fr", "de", "zh")
WORLD50 = """
Acropolis Angkor_Wat Atomium Badlands_National_Park Banff_National_Park Berlin_Cathedral Big_Ben
Brooklyn_Bridge Burj_Khalifa Casa_Batllo Central_Park Changdeokgung Chichen_Itza
Christ_the_Redeemer Colosseum Death_Valley_National_Park Delicate_Arch Easter_Island_Moai
Edinburgh_Castle Eiffel_Tower Gateway_of_India Golden_Gate_Bridge Grand_Canyon Great_Barrier_Reef
Great_Wall_of_China Ha_Long_Bay Hagia_Sophia Haleakala_National_Park Louvre Machu_Picchu Matterhorn
Mount_Rainier_National_Park Mount_Rushmore_National_Memorial Niagara_Falls Pantheon Petra
Petronas_Towers Prague_Astronomical_Clock Rialto_Bridge Sagrada_Familia Statue_of_Liberty
Stonehenge Sydney_Harbour_Bridge Sydney_Opera_House Taj_Mahal Trevi_Fountain Vienna_City_Hall
Washington_Monument Yellowstone_National_Park Yosemite_National_Park
""".split()
COURSE50 = """
00.Haleakala_National_Park 01.Mount_Rainier_National_Park 02.Ljubljana_Castle 03.Dead_Sea
04.Wroclaws_Dwarves 05.London_Olympic_Stadium 06.Niagara_Falls 07.Stonehenge 08.Grand_Canyon
09.Golden_Gate_Bridge 10.Edinburgh_Castle 11.Mount_Rushmore_National_Memorial 12.Kantanagar_Temple
13.Yellowstone_National_Park 14.Terminal_Tower 15.Central_Park 16.Eiffel_Tower 17.Changdeokgung
18.Delicate_Arch 19.Vienna_City_Hall 20.Matterhorn 21.Taj_Mahal 22.Moscow_Raceway 23.Externsteine
24.Soreq_Cave 25.Banff_National_Park 26.Pont_du_Gard 27.Seattle_Japanese_Garden
28.Sydney_Harbour_Bridge 29.Petronas_Towers 30.Brooklyn_Bridge 31.Washington_Monument
32.Hanging_Temple 33.Sydney_Opera_House 34.Great_Barrier_Reef 35.Monumento_a_la_Revolucion
36.Badlands_National_Park 37.Atomium 38.Forth_Bridge 39.Gateway_of_India 40.Stockholm_City_Hall
41.Machu_Picchu 42.Death_Valley_National_Park 43.Gullfoss_Falls 44.Trevi_Fountain
45.Temple_of_Heaven 46.Great_Wall_of_China 47.Prague_Astronomical_Clock 48.Whitby_Abbey
49.Temple_of_Olympian_Zeus
""".split()

# South, north, west and east edge of each country in whole degrees, read off a map.
COUNTRY_BOXES = {
    "AE": (22, 27, 51, 57),
    "AT": (46, 50, 9, 18),
    "AU": (-44, -9, 112, 155),
    "BD": (20, 27, 88, 93),
    "BE": (49, 52, 2, 7),
    "BR": (-34, 6, -74, -34),
    "CA": (41, 84, -142, -52),
    "CH": (45, 48, 5, 11),
    "CL": (-56, -17, -110, -66),
    "CN": (18, 54, 73, 135),
    "CZ": (48, 52, 12, 19),
    "DE": (47, 56, 5, 16),
    "ES": (35, 44, -10, 5),
    "FR": (41, 52, -6, 10),
    "GB": (49, 61, -9, 2),
    "GR": (34, 42, 19, 30),
    "IL": (29, 34, 34, 36),
    "IN": (6, 36, 68, 98),
    "IS": (63, 67, -25, -13),
    "IT": (35, 48, 6, 19),
    "JO": (29, 34, 34, 40),
    "KH": (9, 15, 102, 108),
    "KR": (33, 39, 125, 131),
    "MX": (14, 33, -119, -86),
    "MY": (0, 8, 99, 120),
    "PE": (-19, 1, -82, -68),
    "PL": (48, 55, 14, 25),
    "RU": (41, 82, 19, 180),
    "SE": (55, 70, 10, 25),
    "SI": (45, 47, 13, 17),
    "TR": (35, 43, 25, 45),
    "US": (18, 72, -180, -66),
    "VN": (8, 24, 102, 110),
}

PLACES = all_places()
each_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())


def position(key: str) -> tuple[float, float]:
    return PLACES[key].latitude, PLACES[key].longitude


@pytest.mark.parametrize("class_name", WORLD50 + COURSE50)
def test_every_class_has_an_entry(class_name):
    key = class_name.split(".")[-1]
    assert find_place(class_name) == PLACES[key]


def test_entries_are_exactly_the_classes_in_order():
    assert list(PLACES) == sorted({name.split(".")[-1] for name in WORLD50 + COURSE50})


@each_place
def test_coordinates_lie_in_the_country(place):
    south, north, west, east = COUNTRY_BOXES[place.country_code]
    assert south <= place.latitude <= north
    assert west <= place.longitude <= east


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [
        ("Sydney_Harbour_Bridge", "Sydney_Opera_House", 0.6),
        ("Acropolis", "Temple_of_Olympian_Zeus", 0.7),
        ("Casa_Batllo", "Sagrada_Familia", 1.5),
        ("Pantheon", "Trevi_Fountain", 0.6),
        ("Colosseum", "Pantheon", 1.6),
        ("Eiffel_Tower", "Louvre", 3.2),
        ("Big_Ben", "London_Olympic_Stadium", 8.6),
        ("Brooklyn_Bridge", "Statue_of_Liberty", 4.5),
        ("Edinburgh_Castle", "Forth_Bridge", 13.1),
        ("Great_Wall_of_China", "Temple_of_Heaven", 63),
        ("Badlands_National_Park", "Mount_Rushmore_National_Memorial", 90),
        ("Mount_Rainier_National_Park", "Seattle_Japanese_Garden", 96),
    ],
)
def test_neighbours_on_the_map_are_neighbours_here(one, other, km):
    assert distance_km(position(one), position(other)) == pytest.approx(km, rel=0.1)


@each_place
def test_entry_is_filled_in(place):
    assert all((place.name, place.local_name, place.place, place.country))
    assert re.fullmatch("[A-Z]{2}", place.country_code)
    assert 1 <= place.extent_km <= 1000


@each_place
def test_tags_are_few_unique_and_fit_for_a_photo_site(place):
    assert 3 <= len(place.tags) <= 8
    assert len({tag.casefold() for tag in place.tags}) == len(place.tags)
    assert place.country in place.tags
    assert not any("," in tag or tag != tag.strip() for tag in place.tags)


def test_one_country_code_means_one_country():
    pairs = {(place.country_code, place.country) for place in PLACES.values()}
    assert len(pairs) == len(dict(pairs)) == len({country for _, country in pairs})


def test_no_two_landmarks_share_a_name():
    names = [place.name.casefold() for place in PLACES.values()]
    assert len(set(names)) == len(names)


@each_place
def test_display_name_finds_its_own_entry(place):
    assert find_place(place.name) is place


@pytest.mark.parametrize(
    ("spelling", "key"),
    [
        ("09.Golden_Gate_Bridge", "Golden_Gate_Bridge"),
        ("9_Golden_Gate_Bridge", "Golden_Gate_Bridge"),
        ("l10_Golden_Gate_Bridge", "Golden_Gate_Bridge"),
        ("golden gate bridge", "Golden_Gate_Bridge"),
        ("Golden-Gate-Bridge", "Golden_Gate_Bridge"),
        ("GOLDEN GATE BRIDGE ", "Golden_Gate_Bridge"),
        ("GoldenGateBridge", "Golden_Gate_Bridge"),
        ("The Golden Gate Bridge", "Golden_Gate_Bridge"),
        ("Casa Batlló", "Casa_Batllo"),
        ("Casa Batllo\u0301", "Casa_Batllo"),
        ("Wroclaw's Dwarves", "Wroclaws_Dwarves"),
        ("Wrocław’s dwarves", "Wroclaws_Dwarves"),
        ("Haleakalā National Park", "Haleakala_National_Park"),
        ("Monumento a la Revolution", "Monumento_a_la_Revolucion"),
        ("Monumento a la Revolución", "Monumento_a_la_Revolucion"),
        ("Elizabeth_Tower", "Big_Ben"),
        ("Cristo_Redentor", "Christ_the_Redeemer"),
        ("Basilica_de_la_Sagrada_Familia", "Sagrada_Familia"),
        ("Great_Wall", "Great_Wall_of_China"),
        ("Halong Bay", "Ha_Long_Bay"),
        ("Tour_Eiffel", "Eiffel_Tower"),
    ],
)
def test_spellings_find_the_entry(spelling, key):
    assert find_place(spelling) is PLACES[key]


def test_no_alias_is_claimed_by_two_landmarks():
    entries = json.loads(files("landmark_model").joinpath("gazetteer.json").read_bytes())
    for key, entry in entries.items():
        for alias in entry.get("aliases", ()):
            assert find_place(alias) is PLACES[key], alias


@pytest.mark.parametrize(
    ("class_name", "label"),
    [
        ("03.my_old-mill", "My Old Mill"),
        ("l10_my_old_mill", "My Old Mill"),
        ("03_my_old_mill", "My Old Mill"),
        ("12_Apostles", "12 Apostles"),
        ("9-11_memorial", "9 11 Memorial"),
        ("the_house_of_McDonald", "The House of McDonald"),
        ("pont_de_la_tour", "Pont de la Tour"),
        ("07", "07"),
        ("3.14", "3.14"),
        ("07.", "07."),
        ("", ""),
        ("___", "___"),
        ("天坛", "天坛"),
        ("03.天坛", "天坛"),
        ("Кремль", "Кремль"),
        ("Cafe\u0301", "Café"),
    ],
)
def test_unknown_names_stay_usable(class_name, label):
    assert find_place(class_name) == Place(name=label)


@pytest.mark.parametrize("class_name", ["Parthenon", "Golden_Gate", "Bridge", "The", "l10"])
def test_part_of_a_name_is_not_taken_for_a_landmark(class_name):
    assert find_place(class_name).country is None


def test_callers_cannot_alter_the_gazetteer():
    all_places().clear()
    assert all_places() == PLACES


@pytest.mark.parametrize(
    ("start", "end", "km"),
    [
        ((51.5074, -0.1278), (48.8566, 2.3522), 343.6),  # London to Paris
        ((36.12, -86.67), (33.94, -118.40), 2886.4),  # the airports of Nashville and Los Angeles
        ((0, 0), (90, 0), 10007.6),  # equator to pole: a quarter of a meridian
        ((0, 179.5), (0, -179.5), 111.2),  # across the date line
        ((48.8584, 2.2945), (48.8584, 2.2945), 0),
        ((0, 0), (0, 180), 20015.1),  # antipodes
    ],
)
def test_distance_is_along_the_globe(start, end, km):
    assert distance_km(start, end) == pytest.approx(km, rel=1e-3)
    assert distance_km(end, start) == distance_km(start, end)


def test_nearest_place_names_the_landmark_in_sight():
    key, km = nearest_place((48.8616, 2.2893))  # the Trocadéro
    assert key == "Eiffel_Tower"
    assert km == pytest.approx(0.52, abs=0.05)


@pytest.mark.parametrize(
    ("code", "emoji"), [("FR", "🇫🇷"), ("gb", "🇬🇧"), ("", ""), (None, ""), ("F1", ""), ("FRA", "")]
)
def test_flag_of_a_country_code(code, emoji):
    assert flag(code) == emoji


def test_where_reads_as_an_address_and_is_empty_when_unknown():
    assert PLACES["Eiffel_Tower"].where == "Paris, France"
    assert find_place("my mill").where == ""


# --- in other languages ---


@pytest.mark.parametrize(
    ("key", "language", "name"),
    [
        ("Eiffel_Tower", "de", "Eiffelturm"),
        ("Eiffel_Tower", "fr-CA", "Tour Eiffel"),
        ("Statue_of_Liberty", "es_MX", "Estatua de la Libertad"),
        ("Great_Wall_of_China", "zh-Hans-CN", "长城"),
        ("Great_Wall_of_China", "ZH", "长城"),
        ("Colosseum", "en-GB", "Colosseum"),
        ("Colosseum", "ja", "Colosseum"),
        ("Colosseum", "", "Colosseum"),
        ("Colosseum", None, "Colosseum"),
        ("Soreq_Cave", "de", "Soreq Cave"),
    ],
)
def test_name_is_that_of_the_language_else_the_english_one(key, language, name):
    assert PLACES[key].name_in(language) == name


def test_every_landmark_that_ships_is_named_in_every_language():
    missing = {
        (key, language)
        for key in WORLD50
        for language in LANGUAGES
        if language not in PLACES[key].names
    }
    assert missing == {("Gateway_of_India", "fr")}, "there is no French name that all agree on"


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_of_one_language_differ_and_are_tidy(language):
    names = [place.names[language] for place in PLACES.values() if language in place.names]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(name == name.strip() and "  " not in name for name in names)
    chinese = [bool(re.search("[\u4e00-\u9fff]", name)) for name in names]
    assert all(chinese) if language == "zh" else not any(chinese)


@each_place
def test_every_country_has_a_name_in_every_language(place):
    assert set(place.names) <= set(LANGUAGES)
    assert all(country_in(language, place.country_code) for language in LANGUAGES)


@pytest.mark.parametrize(
    ("language", "code", "name"),
    [
        ("de", "GB", "Vereinigtes Königreich"),
        ("es-419", "US", "Estados Unidos"),
        ("zh", "FR", "法国"),
        ("en", "FR", None),
        ("de", "XX", None),
        ("de", None, None),
        (None, "FR", None),
    ],
)
def test_country_in_a_language(language, code, name):
    assert country_in(language, code) == name


def test_translated_places_are_those_of_the_gazetteer():
    for language in LANGUAGES[1:]:
        text = files("landmark_model").joinpath("locales", f"{language}.json").read_bytes()
        words = json.loads(text)
        assert set(words["landmarks"]) <= set(PLACES)
        assert set(words["places"]) <= {place.place for place in PLACES.values()}
        assert set(words["countries"]) == {place.country_code for place in PLACES.values()}
        assert set(words["tags"]) <= {tag for place in PLACES.values() for tag in place.tags}
    assert place_in("de", "Rome") == "Rom" and place_in("fr", "Rome") == "Rome"
    assert place_in("de", "Nowhere") == "Nowhere" and place_in("de", None) is None


@pytest.mark.parametrize(
    ("language", "tag", "word"),
    [
        ("de", "bridge", "Brücke"),
        ("fr-CA", "Italy", "Italie"),
        ("es", "New York City", "Nueva York"),
        ("de", "Utah", "Utah"),
        ("fr", "my own tag", "my own tag"),
        ("ja", "bridge", "bridge"),
        (None, "bridge", "bridge"),
    ],
)
def test_tag_in_a_language(language, tag, word):
    assert tag_in(language, tag) == word


@pytest.mark.parametrize("language", LANGUAGES)
def test_tags_of_landmarks_that_ship_are_words_of_the_language(language):
    tags = {tag for key in WORLD50 for tag in PLACES[key].tags}
    words = {tag: tag_in(language, tag) for tag in tags}
    assert not any("," in word or word != word.strip() for word in words.values())
    if language == "zh":
        assert all(re.search("[\u4e00-\u9fff]", word) for word in words.values())
    else:
        same = {tag for tag, word in words.items() if tag == word}
        assert len(same) < len(tags) / 3
