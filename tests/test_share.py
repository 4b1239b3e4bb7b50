"""Links to results: what is sent arrives, and nonsense is refused in one sentence."""

from urllib.parse import parse_qsl, urlencode

import pytest

from landmark_model import LandmarkError
from landmark_model.web.share import SharedResult, _check, is_link, make_link, read_link

NONSENSE = "not hold a possible answer"
NAMES = {"Taj_Mahal", "Petra", "My house, 3:1 & more", "Lac Léman"}
SENT = SharedResult((("Taj_Mahal", 0.75), ("Petra", 0.25)), True, "resnet18@v1-1a2b3c4d")


def query(link: str) -> dict[str, str]:
    return dict(parse_qsl(link[1:], keep_blank_values=True))


@pytest.mark.parametrize("known", [True, False, None])
@pytest.mark.parametrize("secret", ["", "hush"])
def test_what_is_sent_arrives(known, secret):
    odd = (("My house, 3:1 & more", 0.5), ("Lac Léman", 0.5))
    sent = SharedResult(odd, known, "org/name@main-1a2b3c4d")
    assert read_link(query(make_link(sent, secret)), NAMES, secret) == sent


def test_a_link_is_short_readable_and_holds_no_photo():
    link = make_link(SENT)
    assert link.startswith("?result=Taj_Mahal:0.7500,Petra:0.2500&known=1&model=resnet18@v1-")
    assert len(link) < 200
    assert is_link(query(link)) and not is_link({"deep_link": "x"})


@pytest.mark.parametrize("part", ["result", "known", "model", "check"])
def test_a_link_that_was_changed_anywhere_or_made_without_the_secret_is_refused(part):
    sent = query(make_link(SENT))
    without = {key: value for key, value in sent.items() if key != part}
    for link, secret in ((sent | {part: "0"}, ""), (without, ""), (sent, "hush")):
        with pytest.raises(LandmarkError, match="changed or cut off"):
            read_link(link, NAMES, secret)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"result": "Atlantis:0.9000"}, 'names "Atlantis", which is not among the 4'),
        ({"result": "Petra:0.2000,Taj_Mahal:0.8000"}, NONSENSE),
        ({"result": "Petra:0.8000,Taj_Mahal:0.8000"}, NONSENSE),
        ({"result": "Petra:1.9000"}, NONSENSE),
        ({"result": "Petra:0.5000,Petra:0.5000"}, NONSENSE),
        ({"result": "Petra:nan"}, NONSENSE),
        ({"result": "Petra:-0.5000"}, NONSENSE),
        ({"result": "Petra:0.\uff15\uff10\uff10\uff10"}, NONSENSE),
        ({"result": ""}, NONSENSE),
        ({"result": "Petra:0.5000", "known": "maybe"}, NONSENSE),
        ({"result": "Petra:0.5000", "model": "<script>"}, NONSENSE),
        ({"result": "Petra:0.5000", "model": "x" * 3000}, "changed or cut off"),
    ],
)
def test_nonsense_is_refused_even_with_a_right_check(fields, told):
    fields = {"result": "", "known": "1", "model": "resnet18@v1"} | fields
    link = "?" + urlencode(fields | {"check": _check(fields, "")})
    with pytest.raises(LandmarkError, match=told):
        read_link(query(link), NAMES)
