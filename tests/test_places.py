"""The gazetteer is complete and plausible, and any spelling of a class finds its entry."""

import json
import re
from importlib.resources import files

import pytest

from landmark_model.places import (
    LANGUAGES,
    Place,
    all_places,
    country_in,
    distance_km,
    find_place,
    flag,
    nearest_place,
    place_in,
    region_in,
    tag_in,
)

OTHER_LANGUAGES = tuple(language for language in LANGUAGES if language != "en")
WORLD100 = """
Acropolis Angkor_Wat Arc_de_Triomphe Atomium Badlands_National_Park Banff_National_Park
Berlin_Cathedral Big_Ben Blue_Mosque Borobudur Brandenburg_Gate Brooklyn_Bridge Buckingham_Palace
Burj_Khalifa CN_Tower Cappadocia Casa_Batllo Central_Park Changdeokgung Charminar Chichen_Itza
Christ_the_Redeemer Colosseum Dead_Sea Death_Valley_National_Park Delicate_Arch Easter_Island_Moai
Edinburgh_Castle Eiffel_Tower Empire_State_Building Externsteine Forbidden_City Forth_Bridge
Gateway_of_India Golden_Gate_Bridge Golden_Temple Grand_Canyon Great_Barrier_Reef
Great_Wall_of_China Gullfoss_Falls Ha_Long_Bay Hagia_Sophia Haleakala_National_Park Hanging_Temple
Hawa_Mahal India_Gate Kantanagar_Temple Leaning_Tower_of_Pisa Ljubljana_Castle London_Eye
London_Olympic_Stadium Louvre Machu_Picchu Marina_Bay_Sands Matterhorn Milan_Cathedral
Monumento_a_la_Revolucion Moscow_Raceway Mount_Fuji Mount_Rainier_National_Park
Mount_Rushmore_National_Memorial Neuschwanstein_Castle Niagara_Falls Notre_Dame_de_Paris Pantheon
Petra Petronas_Towers Pont_du_Gard Prague_Astronomical_Clock Pyramids_of_Giza Qutub_Minar
Rialto_Bridge Sagrada_Familia Santorini Seattle_Japanese_Garden Soreq_Cave Space_Needle
St_Basils_Cathedral St_Peters_Basilica Statue_of_Liberty Stockholm_City_Hall Stonehenge
Sydney_Harbour_Bridge Sydney_Opera_House Table_Mountain Taj_Mahal Temple_of_Heaven
Temple_of_Olympian_Zeus Terminal_Tower Times_Square Tokyo_Tower Tower_Bridge Trevi_Fountain Uluru
Vienna_City_Hall Washington_Monument Whitby_Abbey Wroclaws_Dwarves Yellowstone_National_Park
Yosemite_National_Park
""".split()
OTHERS = """
Alhambra Antelope_Canyon Basilica_of_Bom_Jesus Belvedere_Vienna Charles_Bridge Cloud_Gate
Florence_Cathedral Galata_Tower Gardens_by_the_Bay Gateway_Arch Hallgrimskirkja Hallstatt
Himeji_Castle Horseshoe_Bend Humayuns_Tomb Iguazu_Falls Kinkakuji Lotus_Temple Maidens_Tower
Meenakshi_Temple Mont_Saint_Michel Moscow_Kremlin Mysore_Palace Osaka_Castle Palace_of_Versailles
Park_Guell Pula_Arena Red_Fort Reichstag Sacre_Coeur Schonbrunn_Palace Sheikh_Zayed_Mosque
St_Vitus_Cathedral Statue_of_Unity Suleymaniye_Mosque Taipei_101 Terracotta_Army The_Shard
Tokyo_Skytree Tower_of_London Tyn_Church US_Capitol Victoria_Falls Victoria_Memorial_Kolkata
Victory_Column_Berlin Vittoriano Wat_Arun Westminster_Abbey Windsor_Castle Zion_National_Park
""".split()
# South, north, west and east edge of each country in whole degrees, read off a map.
COUNTRY_BOXES = {
    "AE": (22, 27, 51, 57),
    "AR": (-56, -21, -74, -53),
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
    "EG": (21, 32, 24, 37),
    "ES": (35, 44, -10, 5),
    "FR": (41, 52, -6, 10),
    "GB": (49, 61, -9, 2),
    "GR": (34, 42, 19, 30),
    "HR": (42, 47, 13, 20),
    "ID": (-11, 6, 95, 142),
    "IL": (29, 34, 34, 36),
    "IN": (6, 36, 68, 98),
    "IS": (63, 67, -25, -13),
    "IT": (35, 48, 6, 19),
    "JO": (29, 34, 34, 40),
    "JP": (24, 46, 122, 146),
    "KH": (9, 15, 102, 108),
    "KR": (33, 39, 125, 131),
    "MX": (14, 33, -119, -86),
    "MY": (0, 8, 99, 120),
    "PE": (-19, 1, -82, -68),
    "PL": (48, 55, 14, 25),
    "RU": (41, 82, 19, 180),
    "SE": (55, 70, 10, 25),
    "SG": (1, 2, 103, 105),
    "SI": (45, 47, 13, 17),
    "TH": (5, 21, 97, 106),
    "TR": (35, 43, 25, 45),
    "TW": (21, 26, 119, 123),
    "US": (18, 72, -180, -66),
    "VA": (41, 42, 12, 13),
    "VN": (8, 24, 102, 110),
    "ZA": (-35, -22, 16, 33),
    "ZW": (-23, -15, 25, 34),
}

PLACES = all_places()
each_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())


def position(key: str) -> tuple[float, float]:
    return PLACES[key].latitude, PLACES[key].longitude


def test_every_class_has_an_entry_with_a_number_before_it_or_without():
    for number, key in enumerate(WORLD100):
        assert find_place(key) is find_place(f"{number:02d}.{key}") is PLACES[key]


def test_entries_are_those_landmarks_in_order():
    assert list(PLACES) == sorted(WORLD100 + OTHERS)


@each_place
def test_coordinates_lie_in_the_country(place):
    south, north, west, east = COUNTRY_BOXES[place.country_code]
    assert south <= place.latitude <= north
    assert west <= place.longitude <= east


def test_no_two_landmarks_share_a_position():
    positions = {(place.latitude, place.longitude) for place in PLACES.values()}
    assert len(positions) == len(PLACES)


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
        ("Arc_de_Triomphe", "Eiffel_Tower", 1.7),
        ("Louvre", "Notre_Dame_de_Paris", 1.3),
        ("Palace_of_Versailles", "Sacre_Coeur", 18.7),
        ("Big_Ben", "London_Eye", 0.45),
        ("Buckingham_Palace", "Westminster_Abbey", 1.05),
        ("The_Shard", "Tower_Bridge", 0.8),
        ("Tower_Bridge", "Tower_of_London", 0.29),
        ("Brandenburg_Gate", "Reichstag", 0.27),
        ("Brandenburg_Gate", "Victory_Column_Berlin", 1.9),
        ("Empire_State_Building", "Times_Square", 1.05),
        ("Seattle_Japanese_Garden", "Space_Needle", 4.1),
        ("US_Capitol", "Washington_Monument", 2.3),
        ("Antelope_Canyon", "Horseshoe_Bend", 12.3),
        ("Blue_Mosque", "Hagia_Sophia", 0.45),
        ("Galata_Tower", "Maidens_Tower", 2.6),
        ("Moscow_Kremlin", "St_Basils_Cathedral", 0.35),
        ("Forbidden_City", "Temple_of_Heaven", 3.9),
        ("India_Gate", "Red_Fort", 4.9),
        ("Humayuns_Tomb", "Lotus_Temple", 4.5),
        ("Humayuns_Tomb", "Qutub_Minar", 10),
        ("Colosseum", "Vittoriano", 0.9),
        ("Pantheon", "St_Peters_Basilica", 2.0),
        ("Florence_Cathedral", "Leaning_Tower_of_Pisa", 69),
        ("Charles_Bridge", "St_Vitus_Cathedral", 0.9),
        ("Prague_Astronomical_Clock", "Tyn_Church", 0.17),
        ("Belvedere_Vienna", "Schonbrunn_Palace", 5.2),
        ("Gardens_by_the_Bay", "Marina_Bay_Sands", 0.38),
        ("Himeji_Castle", "Osaka_Castle", 78),
        ("Tokyo_Skytree", "Tokyo_Tower", 8.2),
    ],
)
def test_neighbours_on_the_map_are_neighbours_here(one, other, km):
    assert distance_km(position(one), position(other)) == pytest.approx(km, rel=0.1)


@each_place
def test_entry_is_filled_in(place):
    assert all((place.name, place.local_name, place.area, place.country))
    assert place.region is None or place.region not in (place.place, place.country)
    assert re.fullmatch("[A-Z]{2}", place.country_code)
    assert 1 <= place.extent_km <= 1000


@each_place
def test_tags_are_few_unique_and_fit_for_a_photo_site(place):
    assert 4 <= len(place.tags) <= 8
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
        ("Duomo di Milano", "Milan_Cathedral"),
        ("notre-dame", "Notre_Dame_de_Paris"),
        ("St. Basil's Cathedral", "St_Basils_Cathedral"),
        ("Saint Peters Basilica", "St_Peters_Basilica"),
        ("Harmandir Sahib", "Golden_Temple"),
        ("Qutb Minar", "Qutub_Minar"),
        ("Ayers Rock", "Uluru"),
        ("Great Pyramid of Giza", "Pyramids_of_Giza"),
        ("Zion", "Zion_National_Park"),
        ("Sacré-Cœur", "Sacre_Coeur"),
        ("Shard", "The_Shard"),
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


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("Eiffel_Tower", "Paris, France"),
        ("Mount_Rushmore_National_Memorial", "Keystone, South Dakota, United States"),
        ("Space_Needle", "Seattle, United States"),
        ("Great_Barrier_Reef", "Queensland, Australia"),
        ("Great_Wall_of_China", "Badaling, Beijing, China"),
        ("Marina_Bay_Sands", "Singapore"),
        ("my mill", ""),
    ],
)
def test_where_reads_as_people_write_it(key, where):
    assert find_place(key).where == where


def test_city_and_region_stand_apart():
    rushmore, reef = PLACES["Mount_Rushmore_National_Memorial"], PLACES["Great_Barrier_Reef"]
    assert (rushmore.place, rushmore.region, rushmore.area) == (
        "Keystone", "South Dakota", "Keystone, South Dakota"
    )  # fmt: skip
    assert (reef.place, reef.region, reef.area) == (None, "Queensland", "Queensland")
    mixed = {place.place for place in PLACES.values() if "," in (place.place or "")}
    assert mixed == {"Washington, D.C."}


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


def test_landmarks_have_a_name_in_every_language_where_one_is_established():
    missing = {
        key: " ".join(sorted({*OTHER_LANGUAGES} - {*PLACES[key].names}))
        for key in WORLD100
        if not set(OTHER_LANGUAGES) <= set(PLACES[key].names)
    }
    assert missing == {
        "Charminar": "zh",
        "Externsteine": "zh",
        "Gateway_of_India": "fr",
        "Hanging_Temple": "es fr",
        "Kantanagar_Temple": "de es fr zh",
        "Monumento_a_la_Revolucion": "de zh",
        "Moscow_Raceway": "zh",
        "Seattle_Japanese_Garden": "de es fr zh",
        "Soreq_Cave": "de es fr zh",
        "Terminal_Tower": "zh",
    }


@pytest.mark.parametrize("language", OTHER_LANGUAGES)
def test_names_of_one_language_differ_and_are_tidy(language):
    names = [place.names[language] for place in PLACES.values() if language in place.names]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(name == name.strip() and "  " not in name for name in names)
    chinese = [bool(re.search("[\u4e00-\u9fff]", name)) for name in names]
    assert all(chinese) if language == "zh" else not any(chinese)


@each_place
def test_every_country_has_a_name_in_every_language(place):
    assert set(place.names) <= set(OTHER_LANGUAGES)
    assert all(country_in(language, place.country_code) for language in OTHER_LANGUAGES)


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
    for language in OTHER_LANGUAGES:
        text = files("landmark_model").joinpath("locales", f"{language}.json").read_bytes()
        words = json.loads(text)
        assert set(words["landmarks"]) <= set(PLACES)
        assert set(words["places"]) <= {place.place for place in PLACES.values()}
        assert set(words["regions"]) <= {place.region for place in PLACES.values()}
        assert set(words["countries"]) == {place.country_code for place in PLACES.values()}
        assert set(words["tags"]) <= {tag for place in PLACES.values() for tag in place.tags}
    assert place_in("de", "Rome") == "Rom" and place_in("fr", "Rome") == "Rome"
    assert place_in("de", "Nowhere") == "Nowhere" and place_in("de", None) is None
    assert region_in("de", "Bavaria") == "Bayern" and region_in("de", None) is None
    assert region_in("fr", "Utah") == "Utah"


@pytest.mark.parametrize(
    ("key", "language", "where"),
    [
        ("Mount_Rushmore_National_Memorial", "es", "Keystone, Dakota del Sur, Estados Unidos"),
        ("Mount_Rushmore_National_Memorial", "zh", "美国南达科他州基斯通"),
        ("Great_Barrier_Reef", "zh", "澳大利亚昆士兰州"),
        ("Matterhorn", "zh", "瑞士采尔马特"),
        ("Externsteine", "zh", "Horn-Bad Meinberg, 德国"),
        ("St_Peters_Basilica", "fr", "Cité du Vatican"),
    ],
)
def test_where_in_a_language(key, language, where):
    assert PLACES[key].in_language(language).where == where


@pytest.mark.parametrize(
    ("language", "tag", "word"),
    [
        ("de", "bridge", "Brücke"),
        ("fr-CA", "Italy", "Italie"),
        ("es", "New York City", "Nueva York"),
        ("de", "Utah", "Utah"),
        ("de", "Bavaria", "Bayern"),
        ("fr", "my own tag", "my own tag"),
        ("ja", "bridge", "bridge"),
        (None, "bridge", "bridge"),
    ],
)
def test_tag_in_a_language(language, tag, word):
    assert tag_in(language, tag) == word


@pytest.mark.parametrize("language", OTHER_LANGUAGES)
def test_tags_are_words_of_the_language(language):
    tags = {tag for place in PLACES.values() for tag in place.tags}
    words = {tag: tag_in(language, tag) for tag in tags}
    assert not any("," in word or word != word.strip() for word in words.values())
    if language == "zh":
        latin = {tag for tag, word in words.items() if not re.search("[\u4e00-\u9fff]", word)}
        assert latin == {
            "Beit Shemesh", "Dinajpur", "Horn-Bad Meinberg", "Jordan Rift Valley", "Kevadia",
            "Old Goa", "South Queensferry", "Vers-Pont-du-Gard",
        }  # fmt: skip
    else:
        same = {tag for tag, word in words.items() if tag == word}
        assert len(same) < len(tags) / 3
