"""The app's settings, and what its tabs do, without a browser."""

import asyncio
import csv
import os
import re
import socket
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pillow_heif
import pytest
from PIL import ExifTags, Image

from landmark_model import LandmarkError, Tagged, cli, tag_photos
from landmark_model.web import layout as page
from landmark_model.web import server
from landmark_model.web.cleanup import delete_old, keep_clean
from landmark_model.web.models import Models, open_models
from landmark_model.web.pages import compare as page_compare
from landmark_model.web.pages import explore as page_explore
from landmark_model.web.pages import many as page_many
from landmark_model.web.pages.photo import Copy, PhotoTab, see, show_copy
from landmark_model.web.photo_links import PhotoLinks
from landmark_model.web.settings import make_parser, read_settings
from landmark_model.web.share import read_link

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
TAJ = {"path": str(EXAMPLES / "taj-mahal.jpg"), "orig_name": "taj-mahal.jpg"}
FLOWER = {"path": str(EXAMPLES / "none-of-these.jpg"), "orig_name": "none-of-these.jpg"}


@pytest.fixture
def tab(models, tmp_path):
    return PhotoTab(models, "", PhotoLinks(tmp_path))


@pytest.fixture
def credits() -> list[dict[str, str]]:
    with (EXAMPLES / "CREDITS.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def visitor(language: str = "en", **query: str) -> SimpleNamespace:
    """What gradio tells of a visitor."""
    headers = {"accept-language": language}
    return SimpleNamespace(headers=headers, query_params=query, session_hash="session")


def photo_with_gps(path: Path, latitude: int, longitude: int) -> Path:
    """A copy of an example that its camera places there (whole degrees north and east)."""
    with Image.open(TAJ["path"]) as photo:
        exif = photo.getexif()
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(
            {1: "N", 2: (latitude, 0.0, 0.0), 3: "E", 4: (longitude, 0.0, 0.0)}
        )
        photo.save(path, exif=exif)
    return path


@pytest.mark.parametrize("network", ["resnet18", "landmark_cnn", "tf_efficientnet_lite2"])
def test_a_photo_gives_the_same_answer_as_the_package(tab, models, network):
    card = tab.answer(TAJ, network, None, visitor())
    best, *others = models.pick(network).predict(TAJ["path"], top_k=5)
    assert best.label in card and card.count('<span class="bar">') == 4
    assert all(guess.label in card for guess in others)


def test_the_card_is_in_the_language_of_the_visitor(tab):
    card = tab.answer(TAJ, "resnet18", None, visitor("de-AT,de;q=0.9"))
    assert "Indien" in card and "Schlagwörter" in card


def test_a_photo_of_something_else_is_called_so_with_its_nearest_guesses(tab):
    card = tab.answer(FLOWER, "tf_efficientnet_lite2", None, visitor())
    assert "This does not look like one of the landmarks I know" in card
    assert card.count('<span class="bar">') == 5 and "openstreetmap" not in card


def test_no_photo_gives_the_welcome_card(tab, models):
    card = tab.answer(None, "resnet18", None, visitor())
    assert f"I know {len(models.known)} landmarks" in card


@pytest.mark.parametrize("content", [b"", b"just text", b"<svg></svg>", b"\xff\xd8\xff\xe0cut"])
def test_a_bad_photo_gives_one_plain_sentence_without_server_paths(tab, tmp_path, content):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    card = tab.answer({"path": str(path)}, "resnet18", None, visitor())
    assert "holiday.jpg" in card and 'role="alert"' in card
    assert str(tmp_path) not in card and "Traceback" not in card
    assert tab.look({"path": str(path)}, "resnet18", ["heat"])["visible"] is False


def test_what_the_camera_says_stands_beside_the_guess(tab, tmp_path):
    photo = photo_with_gps(tmp_path / "photo.jpg", 27, 78)
    card = tab.answer({"path": str(photo)}, "resnet18", None, visitor())
    assert "The camera says 27.0000° N, 78.0000° E, 20 km away." in card
    assert "camera" not in tab.answer(TAJ, "resnet18", None, visitor())


def test_a_heic_gets_a_copy_that_browsers_can_show_and_keeps_its_position(tab, tmp_path):
    pillow_heif.register_heif_opener()
    photo = photo_with_gps(tmp_path / "phone.heic", 27, 78)
    copy = see({"path": str(photo)})
    assert copy.path.suffix == ".webp" and copy.camera == (27, 78)
    assert show_copy(copy) == str(copy.path)
    card = tab.answer({"path": str(copy.path)}, "resnet18", copy, visitor())
    assert "The camera says" in card
    assert "camera" not in tab.answer(TAJ, "resnet18", copy, visitor())
    copy.path.unlink()


@pytest.mark.parametrize("name", ["x.jpg", "broken.heic"])
def test_other_files_get_no_copy(tmp_path, name):
    (tmp_path / name).write_text("no photo")
    assert see({"path": str(tmp_path / name)}) is None
    assert see(None) is None


def test_heat_and_box_are_drawn_on_the_photo_when_asked_for(tab):
    plain = tab.look(TAJ, "resnet18", [])
    heat, both = (
        tab.look(TAJ, "resnet18", looks)["value"] for looks in (["heat"], ["heat", "box"])
    )
    assert plain["visible"] is False
    assert heat.size == both.size == (1024, 673) and heat.tobytes() != both.tobytes()


def test_a_link_to_a_result_opens_as_the_same_result_after_a_restart(tab, models):
    answer = models.pick("resnet18").predict(TAJ["path"])
    query = dict(part.split("=") for part in tab.link(answer, "resnet18")[1:].split("&"))
    card = PhotoTab(Models(models.taggers), "", tab.links).open_link(visitor(**query))
    assert "Taj Mahal" in card and "resnet18@" in card and "Someone shared" in card
    assert read_link(query, models.class_names).guesses[0][0] == "Taj_Mahal"
    assert tab.answer_again(None, "landmark_cnn", None, visitor()) == gr.skip()
    assert "Taj Mahal" in tab.answer_again(TAJ, "landmark_cnn", None, visitor())
    refused = tab.open_link(visitor(**query | {"result": "Petra:0.9000"}))
    assert "changed or cut off" in refused and 'role="alert"' in refused


def test_a_visit_without_a_link_is_welcomed_and_one_with_a_photo_link_left_alone(tab):
    assert "Which landmark is it?" in tab.open_link(visitor())
    assert tab.open_link(visitor(deep_link="x")) == gr.skip()


def test_networks_are_compared_with_their_times(models):
    shown = page_compare.verdicts(models, TAJ, "en")
    assert shown.count('class="verdict known"') == 3 and shown.count(" s</span>") == 3
    assert page_compare.verdicts(models, None, "en") == ""
    assert "does not exist" in page_compare.verdicts(models, {"path": "gone.jpg"}, "en")


def test_compare_shows_the_photo_of_the_first_tab_unless_it_was_given_one():
    taj, flower, kept = (TAJ["path"],) * 2, (FLOWER["path"],) * 2, (gr.skip(),) * 2
    assert page_compare.take_over(TAJ, None, None) == taj
    assert page_compare.take_over(FLOWER, TAJ, TAJ["path"]) == flower
    assert page_compare.take_over(TAJ, TAJ, TAJ["path"]) == kept
    assert page_compare.take_over(TAJ, FLOWER, None) == page_compare.take_over(None, None, None)
    assert page_compare.take_over(None, TAJ, TAJ["path"]) == kept


def test_many_photos_show_progress_and_end_in_table_gallery_map_and_files(models, tmp_path):
    (tmp_path / "broken.jpg").write_text("no photo")
    broken = {"path": str(tmp_path / "broken.jpg"), "orig_name": "broken.jpg"}
    steps = page_many.ManyTab(models).tag([TAJ, broken, FLOWER], "resnet18", visitor())
    for step in steps:
        status, _, gallery, table, world, *files = step
        if "2 of 3 photos" in status:
            assert '<progress max="3" value="2"' in status
        if isinstance(table, str):
            assert status.count("Could not be read: 1;") == 1 and "1 of 3 photos show" in status
            files_listed = re.findall(r"<tr><td>([^<]*)</td>", table)
            assert files_listed == ["taj-mahal.jpg", "broken.jpg", "none-of-these.jpg"]
            assert [len(gallery), all(Path(path).is_file() for path, _ in gallery)] == [2, True]
            assert "Taj Mahal" in world and all(Path(path).stat().st_size for path in files)
            # Without the mark, Excel takes the table for one in its own encoding.
            assert Path(files[0]).read_bytes().startswith(b"\xef\xbb\xbffile,status")
            break
    else:
        pytest.fail("no results")
    assert next(steps, None) is None and not Path(files[0]).exists()


def test_many_photos_are_tagged_in_the_language_of_the_visitor(models):
    steps = page_many.ManyTab(models).tag([TAJ], "resnet18", visitor("de"))
    table, sheet = next((s[3], s[5]) for s in steps if isinstance(s[3], str))
    assert "Indien" in table and "Mausoleum" in Path(sheet).read_text(encoding="utf-8")


def test_too_many_photos_or_none_are_refused_in_a_sentence(models):
    tag = page_many.ManyTab(models).tag
    assert "Choose some photos" in next(tag([], "resnet18", visitor()))[0]
    assert "201 photos; the limit is 200" in next(tag([TAJ] * 201, "resnet18", visitor()))[0]


def test_a_row_of_the_table_says_no_more_than_is_known(models, tmp_path):
    answer = models.pick("resnet18").predict(TAJ["path"])
    row = page_many.table_row(Tagged("a.jpg", answer.in_language("fr")), "fr")
    assert row[:4] == ["a.jpg", "Taj Mahal", "Agra", "Inde"] and 90 < row[4] < 100
    (tmp_path / "b.jpg").touch()
    (broken,) = tag_photos(models.pick("resnet18"), [("b.jpg", tmp_path / "b.jpg")])
    reason = "b.jpg ist leer (0 Byte). Bitte noch einmal kopieren oder herunterladen."
    assert page_many.table_row(broken, "de") == ["b.jpg", "", "", "", None, reason]


def test_every_landmark_is_in_the_table_with_its_scores_and_on_the_map(models):
    for network in models.taggers:
        rows = page_explore.table_rows(models, network, "en")
        scores = {
            score["class_name"]: score for score in models.metrics(network)["test"]["classes"]
        }
        assert len(rows) == len(models.known)
        taj = next(row for row in rows if row[0] == "Taj Mahal")
        assert taj[3:5] == [
            scores["Taj_Mahal"]["support"],
            round(100 * scores["Taj_Mahal"]["recall"]),
        ]
    shown = page_explore.map_of_all(models.landmarks("resnet18"), "en")
    assert shown.count('class="dot') == len(models.known)


def test_the_preview_of_a_link_says_what_the_page_or_the_result_is(tab, models):
    describe = page.previews(models, "")
    assert describe({}, "en").title == "Landmark tagger"
    answer = models.pick("resnet18").predict(TAJ["path"])
    query = dict(part.split("=") for part in tab.link(answer, "resnet18")[1:].split("&"))
    assert describe(query, "fr").title.startswith("Taj Mahal (")
    assert describe(query, "fr").description == "🇮🇳 Agra, Inde"
    assert describe(query | {"check": "0"}, "en").title == "Landmark tagger"
    flower = models.pick("tf_efficientnet_lite2").predict(FLOWER["path"])
    link = tab.link(flower, "tf_efficientnet_lite2")
    query = dict(part.split("=") for part in link[1:].split("&"))
    assert describe(query, "en").title.startswith("This does not look like")


def test_every_example_is_credited_and_small(credits):
    files = {path.name for path in EXAMPLES.glob("*.jpg")}
    assert {row["file"] for row in credits} == files
    assert 6 <= len(files) <= 12
    for row in credits:
        assert all(row[key] for key in ("author", "licence", "licence_url", "source", "changes"))
        with Image.open(EXAMPLES / row["file"]) as photo:
            assert max(photo.size) <= 1024
        assert row["author"] in page.credit_list(credits)


def test_models_are_named_loaded_once_and_stamped(models):
    assert models.titles()[0] == ("EfficientNet-Lite2", "tf_efficientnet_lite2")
    assert models.pick("") is models.pick(None) is models.pick(models.default)
    stamps = {models.stamp(network) for network in models.taggers}
    assert len(stamps) == 3 and all("@0." in stamp for stamp in stamps)
    with pytest.raises(LandmarkError, match=r"no such network.*resnet18"):
        models.pick("alexnet")
    with pytest.raises(LandmarkError, match="Atlantis"):
        models.describe("Atlantis")


def test_a_folder_can_stand_in_for_the_shipped_weights(tmp_path):
    shipped = ROOT / "landmark_model" / "weights"
    for name in ("config.json", "model.safetensors", "features.safetensors"):
        (tmp_path / name).symlink_to(shipped / name)
    models = open_models(str(tmp_path))
    assert list(models.taggers) == ["resnet18"] and models.metrics("resnet18") == {}
    assert models.stamp("resnet18").startswith("resnet18@") and "0.1" not in models.stamp(
        "resnet18"
    )
    assert page_explore.table_rows(models, "resnet18", "en")[0][3:] == [None, None, None]


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
    assert (found.max_upload, found.link_secret, found.host) == ("5mb", "hush", "127.0.0.1")
    assert found.max_upload_bytes == 5 * 2**20 and found.root_path == ""
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
    help_text = make_parser().format_help()
    for name in ("host", "port", "repo", "revision", "network", "concurrency", "max-upload"):
        assert f"--{name}" in help_text
    assert help_text.count("[LANDMARK_") == 5 and help_text.count("[GRADIO_") == 5
    assert "LANDMARK_LINK_SECRET" in help_text


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


def test_a_copy_is_told_from_the_next_of_the_same_photo():
    first, second = (Copy(Path("a.webp"), None, made_at) for made_at in (1.0, 2.0))
    assert first != second
