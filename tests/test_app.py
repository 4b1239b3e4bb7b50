"""The app's settings, and what its tabs do, without a browser."""

import asyncio
import csv
import os
import re
import socket
import time
import urllib.request
from base64 import b64decode
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl

import gradio as gr
import pytest
from app_client import photo_with_gps
from PIL import Image

from landmark_model import LandmarkError, cli
from landmark_model.web import layout, server
from landmark_model.web.cleanup import delete_old, keep_clean
from landmark_model.web.html.figures import landmark_rows
from landmark_model.web.models import Models, open_models
from landmark_model.web.pages import compare, explore
from landmark_model.web.pages.photo import PhotoTab, copy_of
from landmark_model.web.photo_links import PhotoLinks
from landmark_model.web.settings import make_parser, read_settings
from landmark_model.web.share import SharedResult, make_link, read_link

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
TAJ = {"path": str(EXAMPLES / "taj-mahal.jpg"), "orig_name": "taj-mahal.jpg"}
LIBERTY = {"path": str(EXAMPLES / "statue-of-liberty.jpg")}
FLOWER = {"path": str(EXAMPLES / "none-of-these.jpg"), "orig_name": "none-of-these.jpg"}


@pytest.fixture
def tab(models, tmp_path):
    return PhotoTab(models, "", PhotoLinks(tmp_path))


@pytest.fixture
def link(tab, models):
    """Gives the query of a link to a network's answer about a photo."""

    def make(photo: dict, network: str) -> dict[str, str]:
        answer = models.pick(network).predict(photo["path"])
        return dict(parse_qsl(tab.link(answer, network)[1:]))

    return make


def visitor(language: str = "en", **query: str) -> SimpleNamespace:
    """What gradio tells of a visitor."""
    headers = {"accept-language": language}
    return SimpleNamespace(headers=headers, query_params=query, session_hash="session")


@pytest.mark.parametrize("network", ["resnet18", "landmark_cnn", "tf_efficientnet_lite2"])
def test_a_photo_gives_the_answer_of_the_package_in_the_language_of_the_visitor(
    tab, models, network
):
    card = tab.answer(LIBERTY, network, None, visitor("de-AT,de;q=0.9"))
    best, *others = models.pick(network).predict(LIBERTY["path"], top_k=5)
    assert best.name_in("de") in card and "Schlagwörter" in card
    assert [guess.probability >= 0.01 for guess in others] == [
        guess.name_in("de") in card for guess in others
    ]


def test_a_photo_of_something_else_is_called_so_and_none_is_welcomed(tab, models):
    card = tab.answer(FLOWER, "tf_efficientnet_lite2", None, visitor())
    assert "This does not look like one of the landmarks I know" in card
    assert card.count('<span class="bar">') == 5 and "openstreetmap" not in card
    card = tab.answer(None, "resnet18", None, visitor())
    assert f"I know {models.known_count} landmarks" in card


@pytest.mark.parametrize("content", [b"", b"just text", b"<svg></svg>", b"\xff\xd8\xff\xe0cut"])
def test_a_bad_photo_gives_one_plain_sentence_without_server_paths(tab, tmp_path, content):
    path = tmp_path / "holiday.heic"
    path.write_bytes(content)
    card = tab.answer({"path": str(path)}, "resnet18", None, visitor())
    assert "holiday.heic" in card and 'role="alert"' in card
    assert str(tmp_path) not in card and "Traceback" not in card
    assert tab.look({"path": str(path)}, "resnet18", ["heat"], visitor()) == ""
    assert copy_of({"path": str(path)}) == (gr.skip(), gr.skip())


def test_what_the_camera_says_stands_beside_the_guess_also_of_a_heic_and_its_copy(tab, tmp_path):
    photo, phone = (photo_with_gps(tmp_path / name) for name in ("a.jpg", "phone.heic"))
    card = tab.answer({"path": str(photo)}, "resnet18", None, visitor())
    assert "The camera says 27.0000° N, 78.0000° E, 20 km away." in card
    upload = {"path": str(phone)}
    *_, first = tab.answer_and_look(upload, "resnet18", None, [], visitor())
    *_, again = tab.answer_and_look(upload, "resnet18", None, [], visitor())
    assert first != again, "the same photo once more is copied once more"
    file, copy = copy_of(upload)  # that browsers can show
    assert copy.path.suffix == ".webp" and copy.camera == (27, 78)
    assert copy.name == "phone.heic"
    assert file == str(copy.path)
    assert "The camera says" in tab.answer({"path": str(copy.path)}, "resnet18", copy, visitor())
    assert "camera" not in tab.answer(TAJ, "resnet18", copy, visitor())
    name, sidecar = xmp_in(tab.answer({"path": str(copy.path)}, "resnet18", copy, visitor()))
    assert name == "phone.heic.xmp" and "GPSLatitude" not in sidecar  # the camera wrote its own
    for shown in (None, TAJ, {"path": file}):
        assert copy_of(shown) == (gr.skip(), gr.skip())
        assert tab.answer_and_look(shown, "resnet18", None, [], visitor())[1:] == ("", gr.skip())
    copy.path.unlink()


def xmp_in(card: str) -> tuple[str, str]:
    """Name and text of the XMP file that a card offers."""
    name, code = re.search(r'download="([^"]*)" href="data:[^,]*base64,([^"]*)"', card).groups()
    return name, b64decode(code).decode()


def test_a_named_photo_offers_its_sidecar_in_the_visitors_language(tab, models):
    name, sidecar = xmp_in(tab.answer(LIBERTY, "tf_efficientnet_lite2", None, visitor("de")))
    assert name == "statue-of-liberty.jpg.xmp"
    best = models.pick("tf_efficientnet_lite2").predict(LIBERTY["path"])[0].in_language("de")
    assert f">{best.label}<" in sidecar and "exif:GPSLatitude" in sidecar
    assert "download" not in tab.answer(FLOWER, "tf_efficientnet_lite2", None, visitor())


def test_heat_and_patch_lie_on_the_photo_when_asked_for(tab):
    assert tab.look(TAJ, "resnet18", [], visitor()) == ""
    heat, both = (
        tab.look(TAJ, "resnet18", looks, visitor("de")) for looks in (["heat"], ["heat", "patch"])
    )
    assert 'viewBox="0 0 1024 673"' in heat and 'data-photo="examples"' in heat
    assert (heat.count("<image"), both.count("<image")) == (1, 2)
    assert "Ihr Foto" in heat


def test_a_link_to_a_result_opens_as_the_same_result_after_a_restart(tab, models, link):
    query = link(TAJ, "resnet18")
    card = PhotoTab(Models(models.taggers), "", tab.links).open_link(visitor(**query))
    assert "Taj Mahal" in card and "Someone shared" in card and "Try your own photo" in card
    assert re.findall("<[^>]*resnet18@[^>]*>|resnet18@", card) == [re.search("<p[^>]*>", card)[0]]
    assert read_link(query, models.class_names).guesses[0][0] == "Taj_Mahal"
    assert tab.answer_again(None, "landmark_cnn", None, [], visitor()) == (gr.skip(),) * 3
    assert "Taj Mahal" in tab.answer_again(TAJ, "landmark_cnn", None, [], visitor())[0]
    refused = tab.open_link(visitor(**query | {"result": "Petra:0.9000"}))
    assert "changed or cut off" in refused and 'role="alert"' in refused


def test_a_visit_without_a_link_is_welcomed_and_one_with_a_photo_link_left_alone(tab):
    assert "Which landmark is it?" in tab.open_link(visitor())
    assert tab.open_link(visitor(deep_link="x")) == gr.skip()


def test_networks_are_compared_with_their_times(models):
    shown = compare.verdicts(models, TAJ, "en")
    assert shown.count('class="verdict known"') == 3 and shown.count(" s</span>") == 3
    assert compare.verdicts(models, None, "en") == ""
    assert "does not exist" in compare.verdicts(models, {"path": "gone.jpg"}, "en")


def test_compare_shows_the_photo_of_the_first_tab_unless_it_was_given_one():
    taj, flower, kept = (TAJ["path"],) * 2, (FLOWER["path"],) * 2, (gr.skip(),) * 2
    assert compare.take_over(TAJ, None, None) == taj
    assert compare.take_over(FLOWER, TAJ, TAJ["path"]) == flower
    assert compare.take_over(TAJ, TAJ, TAJ["path"]) == kept
    assert compare.take_over(TAJ, FLOWER, None) == compare.take_over(None, None, None) == kept
    assert compare.take_over(None, TAJ, TAJ["path"]) == kept


def test_every_landmark_is_in_the_table_with_its_scores_and_on_the_map(models):
    for network in models.taggers:
        landmarks, measured = models.landmarks(network), models.metrics(network)
        rows = {row[0]: row for row in landmark_rows(landmarks, measured)}
        scores = {score["class_name"]: score for score in measured.test["classes"]}
        taj = scores["Taj_Mahal"]
        assert len(rows) == len(landmarks) == len(scores)
        assert rows["Taj Mahal"][3:5] == [taj["support"], round(100 * taj["recall"])]
        assert explore.map_of_all(landmarks, "en").count('class="dot') == len(landmarks)


def test_the_preview_of_a_link_says_what_the_page_or_the_result_is(models, link):
    def describe(query: dict, language: str = "en") -> layout.Preview:
        return layout.describe(models, "", query, language)

    query = link(TAJ, "resnet18")
    assert describe({}).title == "Landmark tagger" == describe(query | {"check": "0"}).title
    title, description = describe(query, "fr")
    assert title.startswith("Taj Mahal (") and description == "🇮🇳 Agra, Inde"
    unknown = describe(link(FLOWER, "tf_efficientnet_lite2"))
    assert unknown.title.startswith("This does not look like")


def test_the_preview_of_a_link_has_a_name_that_was_taught_only_where_links_are_signed(models):
    name = "Log in at evil.example"
    shared = SharedResult(((name, 0.999),), True, models.stamp(""), (name,))
    for secret, is_named in (("", False), ("a secret", True)):
        query = dict(parse_qsl(make_link(shared, secret).removeprefix("?")))
        title = layout.describe(models, secret, query, "en").title
        assert ("evil" in title) is is_named


def test_every_example_is_credited_and_small():
    with (EXAMPLES / "CREDITS.csv").open(encoding="utf-8", newline="") as file:
        credits = list(csv.DictReader(file))
    files = {path.name for path in EXAMPLES.glob("*.jpg")}
    assert {row["file"] for row in credits} == files and 6 <= len(files) <= 12
    for row in credits:
        assert all(row[key] for key in ("author", "licence", "licence_url", "source", "changes"))
        with Image.open(EXAMPLES / row["file"]) as photo:
            assert max(photo.size) <= 1024
        assert row["author"] in layout.credit_list(credits)


def test_models_are_named_loaded_once_and_stamped(models):
    assert models.titles()[0] == ("EfficientNet-Lite2", "tf_efficientnet_lite2")
    assert models.pick("") is models.pick(None) is models.pick(models.default)
    stamps = {models.stamp(network) for network in models.taggers}
    assert len(stamps) == 3 and all("@0." in stamp for stamp in stamps)
    assert models.stamp("") == models.stamp(models.default)
    with pytest.raises(LandmarkError, match=r"no such network.*resnet18"):
        models.pick("alexnet")


def test_a_folder_can_stand_in_for_the_shipped_weights(tmp_path):
    for name in ("config.json", "model.safetensors", "known_head.safetensors"):
        (tmp_path / name).symlink_to(ROOT / "landmark_model" / "weights" / name)
    models = open_models(str(tmp_path))
    assert list(models.taggers) == ["resnet18"] and not models.metrics("resnet18").test
    assert re.fullmatch("resnet18@[0-9a-f]{8}", models.stamp("resnet18"))


def test_the_network_to_be_chosen_first_comes_first():
    assert open_models(network="landmark_cnn").default == "landmark_cnn"
    with pytest.raises(LandmarkError, match="alexnet"):
        open_models(network="alexnet")


def test_settings_come_from_flags_and_from_the_environment(monkeypatch):
    monkeypatch.setenv("LANDMARK_REPO", "runs/mine")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "8000")
    monkeypatch.setenv("GRADIO_SHARE", "true")
    monkeypatch.setenv("LANDMARK_LINK_SECRET", "hush")
    found = read_settings(["--concurrency", "2", "--no-share", "--max-upload", "5MB"])
    assert (found.repo, found.port, found.concurrency, found.share) == ("runs/mine", 8000, 2, False)
    assert (found.max_upload, found.link_secret) == (5 * 2**20, "hush")
    assert (found.host, found.root_path) == ("127.0.0.1", "")
    assert read_settings([]).share is True


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "70000"], "not a port"),
        (["--concurrency", "0"], "not a count"),
        (["--max-upload", "much"], "like 30mb"),
        (["--root-path", "example.org/a b"], "Use https://example.org/landmarks"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, told, capsys):
    with pytest.raises(SystemExit):
        read_settings(arguments)
    assert told in capsys.readouterr().err


def test_every_setting_is_explained_with_its_variable():
    actions = [action for action in make_parser()._actions if action.dest != "help"]
    assert actions and all(re.search(r"\w.* \[[A-Z_]+\]$", action.help) for action in actions)
    assert "LANDMARK_LINK_SECRET" in make_parser().format_help()


def test_a_folder_without_weights_is_explained_at_the_start(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(server.signal, "signal", lambda *_: None)  # of a process that has its own
    assert cli.main(["serve", "--repo", str(tmp_path)]) == 1
    assert re.fullmatch(r"landmark: .*config\.json.*\n", capsys.readouterr().err)


def test_a_public_link_shows_a_page_that_loads_nothing_from_elsewhere(models, monkeypatch):
    monkeypatch.setattr(gr.networking, "setup_tunnel", lambda **_: "https://x.gradio.live")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = read_settings(["--share", "--port", str(port)])
    shared = server.launch(settings, models)
    try:
        with urllib.request.urlopen(shared.local_url) as answer:
            text = answer.read().decode()
        assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*', text.partition("<body")[0])
        assert "Anyone can open https://x.gradio.live" in server.greeting(settings, shared)
        with pytest.raises(LandmarkError, match=f"port {port}: it may be in use"):
            server.launch(settings, models)
    finally:
        shared.close()


@pytest.mark.parametrize(("arguments", "believed"), [([], ""), (["--root-path", "/x"], "proxy")])
def test_who_asks_is_believed_from_a_proxy_only(models, monkeypatch, arguments, believed):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "proxy")  # what uvicorn reads
    seen = []

    def note(*_: object, **__: object) -> None:
        seen.append(os.environ["FORWARDED_ALLOW_IPS"])

    monkeypatch.setattr(server.GuardedBlocks, "launch", note)
    server.launch(read_settings(arguments), models)
    assert seen == [believed]


def test_without_the_internet_sharing_says_so_and_where_the_page_is():
    offline = SimpleNamespace(share_url=None, local_url="http://127.0.0.1:7860/")
    told = server.greeting(read_settings(["--share"]), offline)
    assert "needs the internet" in told and offline.local_url in told
    assert "internet" not in server.greeting(read_settings(["--no-share"]), offline)


def test_what_links_with_a_photo_remember_is_deleted_after_a_while(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "state.json").write_text("[]")
    os.utime(old, (time.time() - 7200,) * 2)
    delete_old(tmp_path, age_s=3600)
    delete_old(tmp_path / "gone", age_s=3600)
    assert new.exists() and not old.exists()


def test_what_keeps_clean_is_done_again_and_again_while_the_server_runs():
    done: list[str] = []

    async def serve() -> None:
        async def job() -> None:
            done.append("job")

        async with keep_clean((job, 0.0))(None):
            while len(done) < 3:
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(serve(), 10))
    assert len(done) >= 3
