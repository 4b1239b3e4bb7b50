"""A visitor's browser, the real server, the real weights. Nothing may leave the machine."""

import csv
import io
import json
import os
import re
import shutil
import time
import zipfile
from base64 import b64encode
from pathlib import Path

import pytest
from app_client import photo_with_gps
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SHIPPED = ROOT / "landmark_model" / "weights"
AXE = Path(__file__).parent / "javascript" / "node_modules" / "axe-core" / "axe.min.js"
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), "")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update",
         "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # fmt: skip
TABS = ("One photo", "Compare", "Many photos", "Teach", "Explore", "How good is it?")
DESKTOP, PHONE = 1280, 390
SLOW_MS = 60_000  # a machine that does other things meanwhile; nothing waits in vain

pytestmark = pytest.mark.skipif(
    not CHROMIUM and not os.environ.get("CI"), reason="no Chromium here; apt-get install chromium"
)
needs_axe = pytest.mark.skipif(
    not AXE.exists() and not os.environ.get("CI"), reason="`make javascript` was not run"
)

# All pages share a clipboard, and wait_for_function takes a promise of "no" for a yes: what an
# earlier test copied would do.
WAIT_FOR_LINK = """async () => {
    let text = "";
    for (let tries = 0; tries < 300 && !text.includes("deep_"); tries++) {
        await new Promise(done => setTimeout(done, 100));
        text = await navigator.clipboard.readText();
    }
    return text;
}"""


CLIPBOARD = "navigator.clipboard.readText()"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        expect.set_options(timeout=SLOW_MS)
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, address: str):
    """Opens the page in a fresh profile; afterwards nothing may have left the machine."""
    outside, contexts = [], []

    def open_page(query: str = "", width: int = DESKTOP, **profile: object) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 850},
            **({"locale": "en-US", "permissions": ["clipboard-read", "clipboard-write"]} | profile),
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SLOW_MS)
        page.on("request", lambda r: None if is_local(r.url) else outside.append(r.url))
        # The answers to what the page asks when it opens come in a stream, which ends with the last
        # of them. One that comes late would put the welcome where a test has asked for a photo.
        ended: list[str] = []
        for event in ("requestfinished", "requestfailed"):
            page.on(event, lambda r: ended.append(r.url) if "/queue/data" in r.url else None)
        page.goto(address + "/" + query)
        expect(page.locator("#result .result")).to_be_visible()
        deadline = time.monotonic() + SLOW_MS / 1000
        while not ended and time.monotonic() < deadline:
            page.wait_for_timeout(20)
        # Named by page.js: from then on photos can be pasted.
        named = page.locator("#examples .gallery-item[aria-label]")
        expect(named.first).to_be_attached()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert outside == []


def is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))


def upload(page: Page, path: Path) -> None:
    page.locator("#photo input[type=file]").set_input_files(path)


def paste(page: Page, path: Path) -> None:
    """As Ctrl-V does with a picture in the clipboard."""
    script = """async (code) => {
        const content = await (await fetch("data:image/jpeg;base64," + code)).blob();
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([content], "image.jpg", { type: "image/jpeg" }));
        document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
    }"""
    page.evaluate(script, b64encode(path.read_bytes()).decode())


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def choose_network(page: Page, name: str) -> None:
    """Chooses one in the first tab, by what is said of it."""
    page.get_by_role("button", name="Advanced").first.click()
    page.locator("#network").get_by_label(name).check()


def findings(page: Page) -> list[str]:
    """What axe, if it is here, calls a serious or critical barrier, with where it is."""
    if not AXE.exists():
        return []
    page.evaluate(AXE.read_text(encoding="utf-8"))
    violations = page.evaluate("axe.run().then(result => result.violations)")
    return [
        f"{found['id']}: {node['target']} {node['failureSummary']}"
        for found in violations
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


def test_whoever_waits_reads_their_place_in_their_language(visit):
    page = visit(locale="de-DE")
    script = """(text) => {
        const corner = Object.assign(document.createElement("div"), { className: "progress-text" });
        corner.append(text);
        document.querySelector("#result").append(corner);
    }"""
    page.evaluate(script, "queue: 3/12 | 1.2s")
    line = page.locator("#result > .place")
    expect(line).to_have_text("Sie sind Nummer 3 von 12 in der Warteschlange.")
    page.evaluate("document.querySelector('.progress-text').firstChild.data = 'queue: 2/9 |'")
    expect(line).to_have_text("Sie sind Nummer 2 von 9 in der Warteschlange.")
    page.evaluate("document.querySelector('.progress-text').remove()")
    expect(line).to_have_count(0)


@pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_photo_is_named_placed_tagged_and_explained(visit, width):
    page = visit(width=width)
    upload(page, EXAMPLES / "taj-mahal.jpg")
    result = page.locator("#result")
    expect(result.locator("h2")).to_have_text("Taj Mahal")
    expect(result).to_contain_text("Agra, India")
    expect(result).to_contain_text("ताज महल")
    expect(result.locator(".bars li")).to_have_count(0)  # nothing else is likely
    expect(result.locator("svg[role=group]")).to_be_visible()
    expect(result.get_by_role("link", name="OpenStreetMap")).to_have_attribute(
        "href", re.compile(r"mlat=27\.17.*mlon=78\.04")
    )
    result.get_by_role("button", name="Copy all").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("Taj Mahal, ") and "mausoleum, dome" in copied
    sidecar = download(page, "XMP sidecar").decode()
    assert "<rdf:li>mausoleum</rdf:li>" in sidecar and "exif:GPSLatitude" in sidecar


def test_a_photo_costs_one_request_of_the_queue(visit):
    page, asked = visit(), []
    page.on("request", lambda r: asked.append(r.post_data) if "/queue/join" in r.url else None)
    upload(page, EXAMPLES / "taj-mahal.jpg")
    expect(page.locator("#result h2")).to_have_text("Taj Mahal")
    page.wait_for_timeout(1000)
    assert len([data for data in asked if "taj-mahal" in data]) == 1


def test_heat_and_patch_lie_on_the_photo_which_keeps_its_buttons(visit):
    page = visit()
    looks = page.locator("#looks")
    expect(looks).to_be_hidden()
    upload(page, EXAMPLES / "taj-mahal.jpg")
    page.get_by_label("Where it looked").check()
    heat = page.locator("#photo .overlay image")
    expect(heat).to_be_visible()
    frame, photo = (page.locator(f"#photo .image-frame {part}") for part in (".overlay", "img"))
    assert frame.bounding_box() == photo.bounding_box()
    page.get_by_label("What convinced it").check()
    expect(heat).to_have_count(2)
    first = frame.get_attribute("data-photo")
    upload(page, EXAMPLES / "colosseum.jpg")  # the ticks stay
    expect(page.locator("#result h2")).to_have_text("Colosseum")
    expect(heat).to_have_count(2)
    assert frame.get_attribute("data-photo") != first
    page.get_by_label("Where it looked").uncheck()
    expect(heat).to_have_count(1)
    page.locator("#photo").get_by_role("button", name="Remove Image").click()
    expect(frame).to_have_count(0)
    expect(looks).to_be_hidden()


def test_a_bad_file_is_explained_and_the_next_photo_works(visit, tmp_path):
    page = visit()
    taj = (EXAMPLES / "taj-mahal.jpg").read_bytes()
    for name, content, reason in (
        ("notes.jpg", b"not a photo at all", "is not a photo"),
        ("cut.jpg", taj[: len(taj) // 2], "is damaged or cut off"),
    ):
        (tmp_path / name).write_bytes(content)
        upload(page, tmp_path / name)
        expect(page.locator("#result [role=alert]")).to_contain_text(f"{name} {reason}")
        expect(page.locator("#looks")).to_be_hidden()
        shown = page.locator("body").inner_text()
        assert "Traceback" not in shown and "/tmp" not in shown and str(ROOT) not in shown
    upload(page, EXAMPLES / "colosseum.jpg")
    expect(page.locator("#result h2")).to_have_text("Colosseum")


def test_every_field_takes_the_same_files_and_refuses_others_in_the_visitors_words(visit, tmp_path):
    page = visit(locale="de-DE")
    raw, raws = tmp_path / "DSC_1.NEF", tmp_path / "DSC_2.NEF"
    text, huge = tmp_path / "notes.docx", tmp_path / "huge.jpg"
    for path in (raw, raws, text):
        path.write_bytes(b"II*\0")
    huge.write_bytes(bytes(31 * 2**20))
    # As iPhones write it; browsers do not say that it is a photo.
    photo = {"name": "IMG_0001.HEIC", "mimeType": "application/octet-stream"}
    photo["buffer"] = (EXAMPLES / "taj-mahal.jpg").read_bytes()
    refused = page.locator(".refused:visible")
    fields = {"Fotos": "#many-photos", "Vergleichen": "#compare-photo", "Ein Foto": "#photo"}
    for name, field in fields.items():
        open_tab(page, name)
        expect(page.locator(field)).to_contain_text("ierher ziehen")
        box = page.locator(f"{field} input[type=file]")
        for path, reason in (
            (raw, "DSC_1.NEF ist RAW: bitte als JPEG exportieren."),
            (text, "notes.docx ist kein lesbares Foto."),
            (huge, "huge.jpg ist größer als 30 MB."),
        ):
            box.set_input_files(path)
            expect(refused).to_contain_text(reason)
            expect(refused).to_have_count(1)
        if field == "#many-photos":
            box.set_input_files([raw, raws, EXAMPLES / "colosseum.jpg"])
            expect(refused).to_have_text(["DSC_1.NEF (+1) ist RAW: bitte als JPEG exportieren."])
            expect(page.locator(field)).to_contain_text("colosseum")
            continue
        box.set_input_files(photo)
        expect(refused).to_have_count(0)
        answer = {"#photo": "#result h2", "#compare-photo": "#verdicts h2"}[field]
        expect(page.locator(answer).first).to_have_text("Taj Mahal")
    expect(page.get_by_text("allowed")).to_have_count(0)  # gradio's words


def test_a_dropped_photo_goes_through_the_same_door(visit):
    page = visit()
    drop(page, "DSC_1.NEF", EXAMPLES / "colosseum.jpg")
    expect(page.locator(".refused")).to_have_text("DSC_1.NEF is RAW: export a JPEG.")
    drop(page, "IMG_0001.JPG", EXAMPLES / "colosseum.jpg")
    expect(page.locator("#result h2")).to_have_text("Colosseum")
    expect(page.locator(".refused")).to_have_count(0)


def drop(page: Page, name: str, path: Path) -> None:
    """As a file that a browser does not know is dropped on the first tab's field."""
    script = """async ([name, code]) => {
        const content = await (await fetch("data:;base64," + code)).blob();
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([content], name));
        const field = document.querySelector("#photo button.upload-container");
        field.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
    }"""
    page.evaluate(script, [name, b64encode(path.read_bytes()).decode()])


def test_a_photo_of_a_phone_is_shown_with_what_its_camera_says(visit, tmp_path):
    page = visit()
    upload(page, photo_with_gps(tmp_path / "phone.heic"))
    expect(page.locator("#result h2")).to_have_text("Taj Mahal")
    expect(page.locator("#photo img").first).to_have_attribute("src", re.compile("phone.webp"))
    expect(page.locator("#result .camera")).to_have_text(
        "The camera says 27.0000° N, 78.0000° E, 20 km away."
    )
    choose_network(page, "trained from nothing")
    expect(page.locator("#result .camera")).to_be_visible()


def test_a_photo_of_something_else_is_called_so_above_greyed_guesses(visit):
    page = visit()
    upload(page, EXAMPLES / "none-of-these.jpg")
    stranger = page.locator("#result .stranger")
    expect(stranger.locator("h2")).to_have_text(
        "This does not look like one of the landmarks I know"
    )
    expect(stranger.locator(".bars li")).to_have_count(5)
    expect(stranger.locator(".tags")).to_have_count(0)
    page.wait_for_timeout(500)
    assert findings(page) == []


def test_photos_can_be_pasted_one_after_the_other(visit):
    page = visit()
    for name, label in (("taj-mahal", "Taj Mahal"), ("colosseum", "Colosseum")):
        paste(page, EXAMPLES / f"{name}.jpg")
        expect(page.locator("#result h2")).to_have_text(label)


def test_a_photo_is_taken_with_the_rear_camera_and_not_mirrored(visit):
    page = visit(permissions=["camera"])
    page.get_by_role("button", name="Capture from camera").click()
    page.get_by_role("button", name="Click to Access Webcam").click()
    video = page.locator("#photo video").first
    expect(video).to_be_visible()
    wishes = video.evaluate("video => video.srcObject.getVideoTracks()[0].getConstraints()")
    assert wishes["facingMode"] == "environment"
    assert video.evaluate("video => getComputedStyle(video).transform") == "none"
    page.get_by_role("button", name="capture photo").click()
    expect(page.locator("#result .percent").first).to_be_visible()


def test_the_landmarks_can_be_sorted_and_filtered_and_their_quality_read(visit):
    page = visit()
    open_tab(page, "Explore")
    rows = page.locator("#explore-table tbody tr:visible")
    expect(rows).to_have_count(100)
    page.get_by_role("button", name="Test photos").press("Enter")
    page.get_by_role("button", name="Test photos").press("Enter")
    counts = [int(text) for text in rows.locator("td:nth-child(4)").all_inner_texts()]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    page.get_by_label("Filter").last.fill("eiffel")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Paris")
    open_tab(page, "How good is it?")
    metrics = json.loads((SHIPPED / "tf_efficientnet_lite2" / "metrics.json").read_text())
    expect(page.locator("#quality")).to_contain_text(f"{metrics['test']['top1']:.1%}")
    page.locator("#quality-network").get_by_label("LandmarkCNN").check()
    metrics = json.loads((SHIPPED / "landmark_cnn" / "metrics.json").read_text())
    expect(page.locator("#quality")).to_contain_text(f"{metrics['test']['top1']:.1%}")


def test_the_networks_answer_side_by_side(visit):
    page = visit()
    expect(page.locator("#network")).to_be_hidden()  # means nothing to most visitors
    choose_network(page, "LandmarkCNN")
    upload(page, EXAMPLES / "eiffel-tower.jpg")
    expect(page.locator("#result h2")).to_be_visible()
    open_tab(page, "Compare")  # takes over the photo
    verdicts = page.locator("#verdicts .verdict")
    expect(verdicts).to_have_count(3)
    expect(page.locator("#verdicts h2").first).to_have_text("Eiffel Tower")
    open_tab(page, "One photo")
    upload(page, EXAMPLES / "colosseum.jpg")
    open_tab(page, "Compare")
    expect(page.locator("#verdicts h2").first).to_have_text("Colosseum")
    for seconds in page.locator("#verdicts .seconds").all_inner_texts():
        assert re.fullmatch(r"\d+\.\d\d s", seconds)


def test_a_photo_of_a_phone_is_shown_where_networks_are_compared(visit, tmp_path):
    page = visit()
    open_tab(page, "Compare")
    field = page.locator("#compare-photo")
    field.locator("input[type=file]").set_input_files(photo_with_gps(tmp_path / "phone.heic"))
    picture = field.locator("img").first
    expect(picture).to_have_attribute("src", re.compile("phone.webp"))
    page.wait_for_function("image => image.naturalWidth > 0", arg=picture.element_handle())
    expect(page.locator("#verdicts h2").first).to_have_text("Taj Mahal")


def test_a_file_dropped_beside_a_field_is_not_opened_in_place_of_the_page(visit):
    page = visit()
    script = """() => {
        window.kept = [];
        for (const kind of ["dragover", "drop"])
            window.addEventListener(kind, event => window.kept.push(event.defaultPrevented));
    }"""
    page.evaluate(script)
    mouse = page.context.new_cdp_session(page)  # as a real one, unlike events of a script
    for place in (page.locator("h1"), page.locator("#result"), page.locator("#photo")):
        box = place.bounding_box()
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + min(box["height"] / 2, 200)}
        data = {"items": [], "files": [str(EXAMPLES / "colosseum.jpg")], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            mouse.send("Input.dispatchDragEvent", {"type": kind, "data": data, **at})
    expect(page.locator("#result h2")).to_have_text("Colosseum")  # the field still takes it
    kept = page.evaluate("window.kept")
    assert len(kept) >= 3 and all(kept)


def test_many_photos_start_by_themselves_are_corrected_and_downloaded(visit, tmp_path):
    page = visit()
    open_tab(page, "Many photos")
    photos = sorted(EXAMPLES.glob("*.jpg"))
    (tmp_path / "broken.jpg").write_text("no photo")
    field = page.locator("#many-photos input[type=file]")
    field.set_input_files([*photos, tmp_path / "broken.jpg"])
    status, rows = page.locator("#many-status"), page.locator("#many-table tbody tr")
    expect(status).to_contain_text("11 of 13 photos are named. Could not be read: 1")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(rows).to_have_count(len(photos) + 1)
    expect(rows.last).to_contain_text("broken.jpg is not a photo")
    expect(rows.locator("img")).to_have_count(len(photos))
    expect(page.locator("#many-map svg[role=group]")).to_be_visible()
    expect(rows.filter(has_text="None I know").locator("input")).not_to_be_checked()
    assert findings(page) == []
    rows.nth(0).get_by_role("checkbox").uncheck()
    expect(rows.nth(0).locator("s")).to_have_text("Chichén Itzá")
    rows.nth(1).get_by_role("button", name="Change").click()
    assert findings(page) == []
    rows.nth(1).get_by_placeholder("Another name").fill("<b>Our</b> hill")
    page.keyboard.press("Enter")
    expect(rows.nth(1).locator("b")).to_have_text("<b>Our</b> hill")
    rows.nth(2).get_by_role("button", name="Change").click()
    other = rows.nth(2).locator(".other button[value]").first
    name = other.inner_text().split(",")[0]
    other.click()
    expect(rows.nth(2).locator("b")).to_have_text(name)
    expect(rows.locator("img")).to_have_count(len(photos))
    table = list(csv.DictReader(io.StringIO(download(page, "CSV table").decode("utf-8-sig"))))
    assert [row["file"] for row in table] == [*(photo.name for photo in photos), "broken.jpg"]
    assert [row["landmark"] for row in table[:3]] == ["", "<b>Our</b> hill", name]
    assert len(json.loads(download(page, "JSON"))) == len(table)
    with zipfile.ZipFile(io.BytesIO(download(page, "XMP sidecars"))) as sidecars:
        assert "christ-the-redeemer.jpg.xmp" in sidecars.namelist()
        assert "chichen-itza.jpg.xmp" not in sidecars.namelist()
    open_tab(page, "Explore")
    card = page.locator(".wall li").filter(has_text="Taj Mahal").first
    expect(card).to_contain_text("test photos recognised")
    card.get_by_role("button", name="Show in Many photos").click()
    expect(page.locator("#many-table tbody tr:visible")).to_have_count(1)
    expect(page.locator("#many-table tbody tr:visible")).to_contain_text("taj-mahal.jpg")


def test_a_slider_says_how_sure_a_guess_must_be_to_name_a_photo(visit):
    page = visit()
    open_tab(page, "Many photos")
    page.get_by_role("button", name="Advanced").locator("visible=true").click()
    page.locator("#many-network").get_by_label("LandmarkCNN").check()  # never very sure of it
    photo = EXAMPLES / "none-of-these.jpg"
    page.locator("#many-photos input[type=file]").set_input_files(photo)
    row = page.locator("#many-table tbody tr")
    expect(row.get_by_role("checkbox")).to_be_checked()
    page.locator("#many-least input[type=number]").fill("99")
    expect(row.get_by_role("checkbox")).not_to_be_checked()
    expect(page.locator("#many-status")).to_contain_text("0 of 1 photos are named")
    row.get_by_role("checkbox").check()
    expect(row).to_contain_text("by hand")


def test_many_photos_can_be_cancelled_and_gone_on_with(visit, tmp_path):
    page, photos = visit(), []
    for number in range(40):
        photos.append(tmp_path / f"{number}.jpg")
        photos[-1].write_bytes((EXAMPLES / "taj-mahal.jpg").read_bytes() + bytes([number]))
    open_tab(page, "Many photos")
    page.locator("#many-photos input[type=file]").set_input_files(photos)
    rows, status = page.locator("#many-table tbody tr"), page.locator("#many-status")
    expect(rows.nth(1)).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(status).to_contain_text("Stopped after")
    page.wait_for_timeout(1500)
    expect(status).to_contain_text("Stopped after")  # what the run says last comes later
    count = rows.count()
    assert 1 < count < len(photos)
    page.get_by_role("button", name="Go on").click()
    expect(status).to_contain_text("40 of 40 photos are named")
    expect(rows).to_have_count(40)
    page.locator("#many-photos").get_by_role("button", name="Clear").click()
    expect(rows).to_have_count(0)


def download(page: Page, name: str) -> bytes:
    with page.expect_download() as event:
        page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).click()
    return event.value.path().read_bytes()


def test_a_link_to_a_result_opens_in_a_fresh_browser_without_the_photo(visit):
    page = visit()
    upload(page, EXAMPLES / "colosseum.jpg")
    page.get_by_role("button", name="Copy link to the result").click()
    link = page.evaluate("navigator.clipboard.readText()")
    sure = page.locator("#result .sure").inner_text()
    query = link[link.index("?") :]
    other = visit(query, locale="es-ES")
    expect(other.locator("#result h2")).to_have_text("Coliseo")
    stamp = re.compile("tf_efficientnet_lite2@")
    expect(other.locator("#result .note")).to_have_attribute("title", stamp)
    expect(other.locator("#result")).not_to_contain_text(stamp)
    expect(other.locator("#photo img")).to_have_count(0)
    assert findings(other) == []
    other.get_by_role("button", name="Opciones avanzadas").first.click()
    other.locator("#network").get_by_label("ResNet18").check()
    other.wait_for_timeout(500)
    expect(other.locator("#result h2")).to_have_text("Coliseo")
    english = visit(query)
    expect(english.locator("#result .sure")).to_have_text(sure)
    forged = visit(query.replace("Colosseum", "Eiffel_Tower"))
    expect(forged.locator("#result [role=alert]")).to_contain_text(
        "The link was changed or cut off"
    )


@pytest.mark.parametrize("with_photo", [False, True], ids=["without photo", "with photo"])
def test_a_link_opened_on_a_phone_shows_the_result_first(visit, with_photo):
    page = visit()
    upload(page, EXAMPLES / "colosseum.jpg")
    expect(page.locator("#result h2")).to_have_text("Colosseum")
    page.get_by_role("button", name="with the photo" if with_photo else "to the result").click()
    link = page.evaluate(WAIT_FOR_LINK) if with_photo else page.evaluate(CLIPBOARD)
    phone = visit(link[link.index("?") :], width=PHONE)
    expect(phone.locator("#result h2")).to_have_text("Colosseum")
    result, own = phone.locator("#result"), phone.get_by_role("link", name="Try your own photo")
    field = phone.locator("#photo")
    assert result.bounding_box()["y"] < 400 < field.bounding_box()["y"]
    own.click()
    expect(field).to_be_in_viewport()
    upload(phone, EXAMPLES / "taj-mahal.jpg")
    expect(phone.locator("#result h2")).to_have_text("Taj Mahal")
    assert field.bounding_box()["y"] < result.bounding_box()["y"]


def test_a_link_with_the_photo_opens_it_in_a_fresh_browser(visit):
    page = visit()
    upload(page, EXAMPLES / "colosseum.jpg")
    button = page.get_by_role("button", name="Copy link with the photo")
    button.click()
    expect(page.locator("#share-photo")).to_contain_text("Shows your photo file")
    link = page.evaluate(WAIT_FOR_LINK)
    assert "deep_" in link
    other = visit(link[link.index("?") :])
    expect(other.locator("#photo img").first).to_be_visible()
    expect(other.locator("#result h2")).to_have_text("Colosseum")


def test_a_visitor_reads_the_page_and_the_landmarks_in_their_language(visit):
    page = visit(locale="fr-FR")
    expect(page.get_by_role("heading", level=1)).to_have_text("Reconnaître un monument")
    expect(page.get_by_role("tab", name="Plusieurs photos")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "fr"
    upload(page, EXAMPLES / "statue-of-liberty.jpg")
    expect(page.locator("#result h2")).to_have_text("Statue de la Liberté")
    expect(page.locator("#result")).to_contain_text("États-Unis")


def test_on_a_phone_all_tabs_are_in_sight_and_many_photos_are_a_card_each(visit):
    page = visit(width=PHONE, locale="fr-FR")  # the longest names
    tabs = page.get_by_role("tab")
    expect(tabs).to_have_count(len(TABS))
    for box in (tab.bounding_box() for tab in tabs.all()):
        assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE
    open_tab(page, "Plusieurs photos")
    photos = [EXAMPLES / "taj-mahal.jpg", EXAMPLES / "none-of-these.jpg"]
    page.locator("#many-photos input[type=file]").set_input_files(photos)
    cards = page.locator("#many-table tbody tr")
    expect(cards).to_have_count(2)
    for box in (cell.bounding_box() for cell in cards.locator("td:not(:empty)").all()):
        assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE
    titles = cards.first.locator("td").evaluate_all(
        "all => all.map(cell => [cell.dataset.title, getComputedStyle(cell, '::before').content])"
    )
    assert [title for title, _ in titles[2:5:2]] == ["Monument", "Pays"]
    assert "none" not in [content for _, content in titles[3:]]
    page.locator("#many-table input[type=search]").fill("taj")
    expect(page.locator("#many-table tbody tr:visible")).to_have_count(1)


def test_a_tap_on_the_map_names_the_landmark(visit):
    page = visit(width=PHONE, locale="de-DE", has_touch=True)
    open_tab(page, "Entdecken")
    spots = page.locator("#explore-map .spot")
    expect(spots).to_have_count(100)
    names = spots.locator("text:visible")
    for name in ("Machu Picchu", "Great Barrier Reef"):
        spots.filter(has_text=name).locator(".dot").tap()
        expect(names).to_have_text([name])


def test_the_keyboard_is_enough(visit):
    page = visit()
    tab_to(page, "#examples button")
    page.keyboard.press("Enter")
    expect(page.locator("#result h2")).to_have_text("Christ the Redeemer")
    page.locator("h1").click()  # back to the start of the page
    tab_to(page, "#looks input")
    page.keyboard.press("Space")
    expect(page.locator("#photo .overlay")).to_be_visible()
    page.locator("h1").click()
    tab_to(page, "[role=tab][data-tab-id=compare]")
    page.keyboard.press("Enter")
    expect(page.locator("#verdicts .verdict")).to_have_count(3)


def tab_to(page: Page, selector: str) -> None:
    """Presses Tab until the focus is there, and can be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    pytest.fail(f"no way to {selector} by keyboard")


@needs_axe
@pytest.mark.parametrize(
    ("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["light", "dark phone"]
)
def test_no_tab_has_barriers_or_is_wider_than_the_screen(visit, width, scheme):
    page = visit(width=width, color_scheme=scheme)
    red, green, blue = map(
        int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))
    )
    assert (red + green + blue < 200) == (scheme == "dark")
    upload(page, EXAMPLES / "taj-mahal.jpg")
    expect(page.locator("#result h2")).to_have_text("Taj Mahal")
    found = {}  # what is pending is faded, and has no contrast
    for name in TABS:
        open_tab(page, name)
        if name == "Compare":
            expect(page.locator("#verdicts .verdict")).to_have_count(3)
        page.wait_for_timeout(700)
        expect(page.locator(".pending")).to_have_count(0)
        page.wait_for_timeout(700)
        found[name] = findings(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert not any(found.values()), json.dumps(found, indent=1)
