"""What an attacker can send to a running app over HTTP, and what must not come of it."""

import asyncio
import errno
import http.client
import json
import os
import re
import signal
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import gradio as gr
import pytest
from gradio import route_utils
from gradio.route_utils import upload_fn
from PIL import Image
from starlette.requests import ClientDisconnect, Request

from landmark_model.web.blocks import GuardedBlocks
from landmark_model.web.cleanup import Lasting, close_idle, delete_unfinished, drop_uncollected
from landmark_model.web.guard import GuardMiddleware, Rules
from landmark_model.web.multipart import (
    PROGRESS_COUNT,
    BoundedParser,
    arriving,
    bound_uploads,
)
from landmark_model.web.server import wait_for
from landmark_model.web.uploads import NOT_YOURS, PREFIX, Uploads, make_private_folder, plain_name

ROOT = Path(__file__).parents[1]
TAJ = ROOT / "examples" / "taj-mahal.jpg"
SECRET = "canary-" + uuid.uuid4().hex
MARK = "visitor-" + uuid.uuid4().hex


class Visitor:
    """Speaks to a running app as anybody could."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of the answer; `body` is sent as JSON, bytes as they are."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, content, {"Content-Type": "application/json"} | headers
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def upload(self, name: str, content: bytes) -> str:
        """The path that the app gave an upload."""
        head = f'Content-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = b"--x\r\n" + head.encode() + content + b"\r\n--x--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        (path,) = json.loads(self.ask("/gradio_api/upload", body, **kind)[1])
        return path

    def event(self, number: int, data: list, session: str = "") -> list[dict]:
        """All messages that come of an event of the page."""
        session = session or uuid.uuid4().hex[:10]
        joined = {"data": data, "fn_index": number, "session_hash": session}
        status, answer = self.ask("/gradio_api/queue/join", joined)
        if status != 200:
            return [json.loads(answer)]
        _, stream = self.ask(f"/gradio_api/queue/data?session_hash={session}")
        return [
            json.loads(line[6:]) for line in stream.decode().split("\n") if line[:6] == "data: "
        ]

    def call(self, name: str, data: list) -> str:
        """The last message of an endpoint, as text."""
        status, answer = self.ask(f"/gradio_api/call/{name}", {"data": data})
        assert status == 200, answer
        number = json.loads(answer)["event_id"]
        return self.ask(f"/gradio_api/call/{name}/{number}")[1].decode().strip()

    def config(self) -> dict:
        return json.loads(self.ask("/config")[1])


@pytest.fixture(scope="module")
def visitor(address) -> Visitor:
    return Visitor(address)


@pytest.fixture(scope="module")
def canaries(tmp_path_factory):
    """Files of the server, each with the secret in it: in its working, temporary, home folder."""
    folder = tmp_path_factory.mktemp("canaries")
    places = [ROOT / f".{SECRET}.env", Path("/tmp") / f"{SECRET}.txt", Path.home() / f"{SECRET}.md"]
    for place in places:
        place.write_text(SECRET)
    photo = folder / "elsewhere.jpg"
    Image.open(TAJ).save(photo, comment=SECRET)
    yield [*places, photo]
    for place in places:
        place.unlink()


def disguises(path: str) -> list[object]:
    """Ways to name a file in a request."""
    return [
        path,
        {"path": path},
        {"path": path, "meta": {"_type": "gradio.FileData"}},
        {"path": path, "meta": {"_type": "x"}, "is_stream": True},
        {"path": path, "orig_name": "a.jpg", "url": f"file://{path}", "mime_type": "image/jpeg"},
        {"url": f"file://{path}", "meta": {"_type": "gradio.FileData"}},
        [{"path": path, "meta": None}],
        [{"image": {"path": path}, "caption": None}],
        {"value": {"path": path}, "__type__": "update"},
    ]


def files_in(value: object) -> set[str]:
    """Every path of a file object in an answer."""
    if isinstance(value, dict):
        own = {value["path"]} if isinstance(value.get("path"), str) else set()
        return own.union(*map(files_in, value.values()))
    return set().union(*map(files_in, value)) if isinstance(value, list) else set()


def told(messages: list[dict]) -> list[object]:
    """What a visitor learns of messages, besides numbers and times."""
    outputs = [message.get("output") or message.get("detail") for message in messages]
    return [o.get("error") or o.get("data") if isinstance(o, dict) else o for o in outputs if o]


def events(config: dict) -> list[dict]:
    return [event for event in config["dependencies"] if event["inputs"]]


def test_no_event_of_the_page_gives_out_a_file_or_says_whether_it_is_there(visitor, canaries):
    def attack(event: dict, index: int, canary: Path) -> None:
        values = (disguises(str(p))[index] for p in (canary, canary.with_suffix(".gone")))
        there, gone = (
            visitor.event(event["id"], [value] * len(event["inputs"])) for value in values
        )
        assert told(there) == told(gone)
        answers = [json.dumps(there)]
        for path in files_in(there):
            answers.append(visitor.ask(f"/gradio_api/file={path}")[1].decode("latin-1"))
        assert not [answer for answer in answers if SECRET in answer.replace(str(canary), "")]

    kinds = len(disguises(""))
    jobs = [
        (event, index, canaries[(number + index) % len(canaries)])
        for number, event in enumerate(events(visitor.config()))
        for index in range(kinds)
    ]
    assert len(jobs) > 10 * kinds
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda job: attack(*job), jobs))


@pytest.mark.parametrize("way", ["call", "call/v2"])
def test_no_endpoint_opens_a_file_that_was_not_uploaded(visitor, canaries, way):
    endpoints = json.loads(visitor.ask("/gradio_api/info")[1])["named_endpoints"]
    upload = Path(visitor.upload("a.jpg", TAJ.read_bytes()))
    outside = [*canaries, upload.parents[1] / ".." / ".." / canaries[1], upload.parents[1]]
    for name, endpoint in endpoints.items():
        wanted = {row["parameter_name"] for row in endpoint["parameters"]}
        for path in [*outside, ROOT / "gone.jpg"]:
            key = "photos" if "photos" in wanted else "photo" if "photo" in wanted else ""
            for value in disguises(str(path)) if key else []:
                body = {key: value} if way == "call/v2" else {"data": [value]}
                status, answer = visitor.ask(f"/gradio_api/{way}{name}", body)
                number = json.loads(answer)["event_id"]
                text = visitor.ask(f"/gradio_api/call{name}/{number}")[1].decode()
                assert status == 200 and text.startswith("event: error"), (name, value, text)
                assert SECRET not in text and "null" not in text.split('"error"')[1][:8]


def test_an_event_that_is_added_later_is_behind_the_same_door(tmp_path, canaries):
    with GuardedBlocks() as page:
        photo, names, one = gr.File(), gr.CheckboxGroup([("A", "a")]), gr.Radio([("A", "a")])
        photo.change(lambda file, *_: file["path"], [photo, names, one], photo, preprocess=False)
    page.uploads = Uploads(tmp_path)
    for *values, why in [
        ({"path": str(canaries[0])}, [], "a", NOT_YOURS),
        (str(canaries[0]), [], "a", "the wrong type"),
        (None, ["<script>"], "a", "not among the choices"),
        (None, ["a"], ["a"], "not among the choices"),
        (None, "a" * 3000, "a", "too long"),
    ]:
        with pytest.raises(gr.Error, match=re.escape(why)):
            asyncio.run(page.process_api(0, values))


def shared_by(visitor: Visitor, session: str) -> str:
    """The page as who opens that visit's link with a photo gets it; "" without a link."""
    link = json.loads(visitor.ask(f"/gradio_api/deep_link?session_hash={session}")[1])
    shown = visitor.ask(f"/config?deep_link={link}")[1].decode() if link else ""
    assert not link or '"deep_link_state":"valid"' in shown
    return shown


def event_of(visitor: Visitor, name: str, inputs: int) -> int:
    """The number of the event of the page that calls a function of that name."""
    found = [e for e in events(visitor.config()) if name in str(e["api_name"])]
    return next(event["id"] for event in found if len(event["inputs"]) == inputs)


def test_a_link_with_a_photo_carries_no_foreign_picture_and_no_foreign_choice(visitor):
    session, answer = uuid.uuid4().hex[:10], event_of(visitor, "answer", 4)
    assert shared_by(visitor, session) == ""
    path = visitor.upload("a.jpg", TAJ.read_bytes())
    photo = {"path": path, "url": f"https://evil.example/{MARK}.jpg", "orig_name": f"../{MARK}"}
    visitor.event(answer, [photo, "resnet18", None, []], session)
    visitor.event(answer, [photo, f"<b>{MARK}", None, []], session)
    shown = shared_by(visitor, session)
    assert "Taj Mahal" in shown and "evil.example" not in shown and f"<b>{MARK}" not in shown


def test_a_link_with_a_photo_shows_the_photo_of_its_card_and_no_other_of_the_visit(visitor):
    session = uuid.uuid4().hex[:10]
    mine, other = (visitor.upload(f"{name}.jpg", TAJ.read_bytes() + name.encode())
                   for name in ("mine", "other"))  # fmt: skip
    visitor.event(event_of(visitor, "answer", 4), [{"path": mine}, "resnet18", None, []], session)
    for event in events(visitor.config()):
        if "answer" not in str(event["api_name"]):
            file = {"path": other}
            data = [file, "resnet18", ["heat"]][: len(event["inputs"])]
            visitor.event(event["id"], data, session)
    shown = shared_by(visitor, session)
    assert "Taj Mahal" in shown and mine in shown and other not in shown


def test_what_a_visitor_says_of_many_photos_is_checked_and_changes_only_their_own(visitor):
    numbers = {event["api_name"]: event["id"] for event in events(visitor.config())}
    session, other = uuid.uuid4().hex[:10], uuid.uuid4().hex[:10]
    photo = {"path": visitor.upload("a.jpg", TAJ.read_bytes()), "orig_name": "<b>.jpg"}

    def say(change: object, whose: str = session) -> str:
        return json.dumps(visitor.event(numbers["change"], [change, None], whose))

    visitor.event(numbers["begin"], [[photo], "landmark_cnn", 0, None], session)
    shown = json.dumps(visitor.event(numbers["tag"], [None], session))
    assert "Taj Mahal" in shown and "&lt;b&gt;.jpg" in shown and "<b>.jpg" not in shown
    for change in ([2, "tick", False], [1, "guess", MARK], [1, "name", f"{MARK}\n"], MARK, {},
                   [1, "name", MARK * 9], [[1], "tick", False], [1, "name", photo]):  # fmt: skip
        answer = say(change)
        assert '"success": false' in answer and MARK not in answer and "went wrong" not in answer
    assert "not here any more" in say([1, "tick", False], other)
    assert "&lt;i&gt;Mine" in say([1, "name", "<i>Mine"])
    for least in (MARK, -1, 1e9, [photo]):
        assert "from 0 to 99" in json.dumps(visitor.event(numbers["ask"], [least, None], session))
    for whose, found in ((other, 0), (session, 1)):
        files = files_in(visitor.event(numbers["write"], [{"rows": MARK}], whose))
        assert len(files) == found
    assert b"<i>Mine" in visitor.ask(f"/gradio_api/file={files.pop()}")[1]


def test_what_a_visit_teaches_is_known_in_that_visit_only(visitor):
    def answers(session: str, *given: object) -> str:
        return json.dumps(told(visitor.event(event_of(visitor, *given[:2]), given[2], session)))

    mine, other = uuid.uuid4().hex[:10], uuid.uuid4().hex[:10]
    flower = {"path": visitor.upload("a.jpg", (ROOT / "examples/none-of-these.jpg").read_bytes())}
    ids = visitor.config()
    teach = next(event for event in events(ids) if event["api_name"] == "teach")
    kinds = {one["id"]: one["props"].get("elem_id") for one in ids["components"]}
    values = {"teach-name": f"<b>{MARK}", "teach-photos": [flower], "teach-anyway": True}
    data = [values.get(kinds[number]) for number in teach["inputs"]]
    assert f"&lt;b&gt;{MARK}" in json.dumps(told(visitor.event(teach["id"], data, mine)))
    found = {name: answers(name, "answer", 2, [flower, None]) for name in (mine, other)}
    assert MARK in found[mine] and MARK not in found[other] and f"<b>{MARK}" not in found[mine]
    assert MARK not in visitor.call("landmarks", [])


def test_only_uploads_are_served_as_files(visitor, canaries):
    path = visitor.upload("a.jpg", TAJ.read_bytes())
    for span in ("", "bytes=0-0,-1", "bytes=5-1", "bytes=" + "0-," * 999, "x"):  # odd: not heard
        assert visitor.ask(f"/gradio_api/file={path}", Range=span) == (200, TAJ.read_bytes())
    folder = Path(path).parents[1]
    session = uuid.uuid4().hex[:10]
    network = next(e for e in events(visitor.config()) if "fill" in str(e["api_name"]))
    visitor.event(network["id"], ["resnet18"], session)
    link = visitor.ask(f"/gradio_api/deep_link?session_hash={session}")[1].decode().strip('"')
    refused = {
        visitor.ask(f"/gradio_api/file={place}")
        for place in [*canaries, folder / "deep_links" / link / "state.json", folder, "/gone",
                      f"{path}/../../../{canaries[1].name}", "https://example.org/x.jpg"]
    }  # fmt: skip
    assert len(refused) == 1 and refused.pop()[0] == 404


def test_routes_that_the_page_does_not_use_are_not_there(visitor):
    for path in ("component_server", "api/predict", "run/take_over", "process_recording",
                 "vibe-edit", "stream/x", "call/take_over", "call/gone", "nothing"):  # fmt: skip
        assert visitor.ask(f"/gradio_api/{path}", {"data": []})[0] == 404
    for path in ("gradio_api/proxy=http://127.0.0.1/", "gradio_api/vibe-code", "monitoring",
                 "gradio_api/dev/reload", "gradio_api/file=http://127.0.0.1/", "gradio_api/runs",
                 "gradio_api/queue/data?session_hash=gone", "gradio_api/call/predict/gone",
                 "?page=x", "assets/" + "a" * 300, "logout"):  # fmt: skip
        assert visitor.ask(f"/{path}")[0] == 404


def test_numbers_of_uploads_are_short_and_given_once_and_only_the_last_are_remembered(visitor):
    asks = [f"{path}?upload_id=" for path in ("upload_progress", "upload")]
    odd = [ask + value for ask in asks for value in ("a" * 65, "", "a/b")]
    odd += ["queue/data?session_hash=a&session_hash=b", "upload?upload_id=a&upload_id="]
    for address in odd:
        body = b"--x--" if address.startswith("upload?") else None
        assert visitor.ask(f"/gradio_api/{address}", body)[0] == 400, address
    bound_uploads()
    progress = gr.routes.file_upload_statuses
    for number in range(3000):
        progress.track(f"{number}")
    assert progress.is_done("2999") is False
    assert len(progress._statuses) == len(progress._signals) == PROGRESS_COUNT


def test_an_upload_is_a_form_of_a_few_files_and_nothing_of_others_stays(visitor):
    folder = Path(visitor.upload("a.jpg", TAJ.read_bytes())).parents[1]
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    part = 'Content-Disposition: form-data; name="{}"{}\r\n\r\n'
    bodies = {
        "field": part.format("x", "") + "y" * 100_000,
        "field called files": part.format("files", ""),
        "other name": part.format("photos", '; filename="a.jpg"') + "y",
        "too many": "\r\n--x\r\n".join([part.format("files", '; filename="a.jpg"')] * 201),
    }
    forms = [f"--x\r\n{body}\r\n--x--\r\n".encode() for body in bodies.values()]
    forms += [b"garbage " + MARK.encode(), b"", forms[0][:50], forms[2][:-9]]
    for form in forms:
        status, answer = visitor.ask("/gradio_api/upload", form, **kind)
        assert status in (400, 413) and MARK.encode() not in answer, (form[:60], status, answer)
    odd = visitor.upload("..", b"x"), visitor.upload("a/../\u202eb.jpg", b"x")
    assert [Path(path).name for path in odd] == ["photo", "b.jpg"]
    assert not list(folder.glob("tmp*"))


def test_what_was_cut_off_of_an_upload_is_deleted(tmp_path):
    for name in ("tmpold", "tmpnew"):
        (tmp_path / name).write_bytes(b"half")
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "photo.jpg").touch()
    for name in ("tmpold", "empty", "full"):
        os.utime(tmp_path / name, (time.time() - 100,) * 2)
    delete_unfinished(tmp_path, age_s=60)
    assert {path.name for path in tmp_path.iterdir()} == {"tmpnew", "full"}


def take_slowly(folder: Path, last: dict[str, object]) -> list[Path]:
    """What gradio makes of a form of two photos that comes in pieces, hours apart."""
    head = b'Content-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    pieces = [b"--x\r\n" + head + b"1\r\n--x\r\n" + head + b"2", b"2"]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append(last)

    async def receive() -> dict[str, object]:
        for file in folder.glob("tmp*"):
            os.utime(file, (time.time() - 9000,) * 2)
        delete_unfinished(folder, age_s=60)
        return messages.pop(0)

    heads = [(b"content-type", b"multipart/form-data; boundary=x")]
    request = Request({"type": "http", "method": "POST", "headers": heads}, receive)
    paths, unmoved, _ = asyncio.run(upload_fn(request, folder, 2**20, None))
    assert not unmoved
    return [Path(path) for path in paths]


def test_the_first_photo_of_a_slow_upload_is_there_when_the_last_has_come(tmp_path, monkeypatch):
    monkeypatch.setattr(route_utils, "GradioMultiPartParser", BoundedParser)
    end = {"type": "http.request", "body": b"\r\n--x--\r\n", "more_body": False}
    paths = take_slowly(tmp_path, end)
    assert [path.read_bytes() for path in paths] == [b"1", b"22"]
    assert all(time.time() - path.stat().st_mtime < 60 for path in paths), "deleted before long"
    assert not arriving


def test_nothing_stays_of_a_slow_upload_that_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(route_utils, "GradioMultiPartParser", BoundedParser)
    with pytest.raises(ClientDisconnect):
        take_slowly(tmp_path, {"type": "http.disconnect"})
    assert not list(tmp_path.iterdir()) and not arriving


def test_connections_that_ask_nothing_are_closed():
    closed = []

    class Connection:
        def __init__(self, name: str, cycle: object) -> None:
            self.cycle = cycle
            self.transport = SimpleNamespace(close=lambda: closed.append(name))

    state = SimpleNamespace(connections=[Connection("idle", None), Connection("busy", object())])
    page = SimpleNamespace(server=SimpleNamespace(server_state=state))
    asyncio.run(close_idle(page, Lasting(0)))
    assert closed == ["idle"]


def test_a_request_of_very_many_lists_is_refused_before_it_is_read(visitor):
    body = json.dumps({"data": [], "fn_index": 1, "session_hash": "a", "z": [[]] * 200_000})
    assert visitor.ask("/gradio_api/queue/join", body.encode())[0] == 413


def test_bodies_are_bounded_while_they_are_read(visitor):
    host = urlsplit(visitor.address).netloc
    for path, headers in [
        ("/gradio_api/queue/join", {"Content-Length": str(10**9)}),
        ("/gradio_api/call/predict", {"Transfer-Encoding": "chunked"}),
    ]:
        line = http.client.HTTPConnection(host, timeout=30)
        line.putrequest("POST", path)
        for name, value in headers.items():
            line.putheader(name, value)
        line.endheaders()
        piece = b" " * 2**16
        chunk = piece if "Content-Length" in headers else b"10000\r\n" + piece + b"\r\n"
        for _ in range(18):  # little more than 1 MB, of what was promised to be more
            line.send(chunk)
        assert line.getresponse().status == 413
        line.close()


def test_what_cannot_be_a_request_is_answered_with_a_sentence_without_an_echo(visitor):
    bodies = [
        b"", b"{", b"[" * 500_000, b'{"data": NaN}', {"data": MARK}, {"data": []},
        {"data": [], "session_hash": MARK + "/.."}, {"data": [], "session_hash": 7},
        {"data": [MARK], "fn_index": MARK, "session_hash": "a"},
        {"data": [MARK], "fn_index": 10**9, "session_hash": "a"},
        {"data": [MARK], "fn_index": -1, "session_hash": "a"}, [MARK],
    ]  # fmt: skip
    for path in ("queue/join", "call/predict", "call/v2/predict", "cancel", "reset"):
        for body in bodies:
            status, answer = visitor.ask(f"/gradio_api/{path}", body)
            assert status != 500 and MARK not in answer.decode(), (path, body, answer)


def test_wrong_values_are_answered_with_a_sentence(visitor):
    photo = {"path": visitor.upload("a.jpg", TAJ.read_bytes())}
    for name, data in [
        ("predict", []), ("predict", [None]), ("predict", [7]), ("predict", [[photo]]),
        ("predict", [photo, MARK]), ("predict", [photo, "", True]), ("predict", [photo, "", 2.0]),
        ("predict", [photo, "", "5"]), ("predict", [photo, "", 5, {}]), ("predict", [{}]),
        ("predict", [photo, ["resnet18"]]), ("predict", [photo, "x" * 3000]),
        ("predict_batch", [None]), ("predict_batch", [1]), ("predict_batch", ["x"]),
        ("predict_batch", [[]]), ("predict_batch", [[None]]), ("predict_batch", [["x"]]),
        ("predict_batch", [[photo] * 201]), ("explain", [photo, MARK]), ("explain", [photo, 7]),
        ("landmarks", [MARK]), ("landmarks", ["", 7]),
    ]:  # fmt: skip
        answer = visitor.call(name, data)
        assert answer.startswith("event: error"), (name, data, answer)
        sentence = json.loads(answer.split("data: ")[1])["error"]
        assert len(sentence) > 20 and sentence.endswith((".", ".)")), (name, data, answer)
        assert MARK not in answer and "went wrong" not in answer, (name, data, answer)


def test_a_photo_named_twice_is_read_once_and_answered_twice(visitor):
    photo = {"path": visitor.upload("a.jpg", TAJ.read_bytes())}
    named = [photo | {"orig_name": name} for name in ("one.jpg", "two.jpg")]
    rows = json.loads(visitor.call("predict_batch", [named]).split("data: ")[1])[0]
    assert [row["file"] for row in rows] == ["one.jpg", "two.jpg"]
    assert rows[0]["answer"] == rows[1]["answer"] is not None
    assert '"Taj Mahal"' in visitor.call("predict", [photo]), "the rest need not be given"


def test_nothing_that_a_visitor_sent_is_logged(visitor, serve):
    before = len(serve.log(visitor.address))
    photo = {"path": visitor.upload(f"{MARK}.jpg", MARK.encode())}
    for data in ([photo], [MARK], [photo, MARK], [[photo], MARK, MARK]):
        visitor.call("predict", data)
    for event in events(visitor.config()):
        visitor.event(event["id"], [MARK] * len(event["inputs"]))
        visitor.event(event["id"], [photo] * len(event["inputs"]))
    for body in (MARK.encode(), {"data": MARK}, {"data": [MARK], "fn_index": MARK}):
        visitor.ask("/gradio_api/queue/join", body)
    visitor.ask(f"/{MARK}?x={MARK}", Referer=MARK)
    visitor.ask(f"/?result={MARK}&deep_link={MARK}")
    log = serve.log(visitor.address)
    assert MARK not in log and len(log) - before < 5000, log[before:]


def test_a_flood_of_odd_uploads_does_not_fill_the_log(visitor, serve):
    before = len(serve.log(visitor.address))
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    for _ in range(40):
        assert visitor.ask("/gradio_api/upload", b"ab1", **kind)[0] == 400
    log = serve.log(visitor.address)[before:]
    assert "Expected" not in log and log.count("\n") < 10, log


def test_every_logger_says_a_line_without_details_even_if_it_is_made_later(python):
    script = """
import asyncio, logging
from landmark_model.web.logs import log_error, quiet
kept = logging.getLogger("own")
kept.addHandler(logging.StreamHandler())
asyncio.run(quiet())
alone = logging.getLogger("alone")
alone.propagate = False
for _ in range(3):
    logging.warning("sent %s", "secret")
    for logger in (kept, alone, logging.getLogger("made.later")):
        logger.info("secret")
        try:
            raise ValueError("secret")
        except ValueError as error:
            logger.exception("secret %d", "secret", stack_info=True)
            log_error(error)
"""
    run = python("-c", script, env=os.environ | {"PYTHONPATH": str(ROOT)})
    ours, *others = sorted(run.stderr.splitlines(), key=lambda line: line[:8] != "ValueErr")
    assert ours.startswith("ValueError in <module>:")
    assert sorted(others) == ["alone: error ValueError", "made.later: error ValueError",
                              "own: error ValueError", "root: warning"]  # fmt: skip


def test_results_that_nobody_collects_are_dropped():
    async def leave() -> list[str]:
        queue = gr.queueing.Queue(False, 1, 1.0, None, None)
        for session in ("left", "heard"):
            queue.pending_messages_per_session[session] = asyncio.Queue()
            queue.pending_event_ids_session[session] = {"event"}
        queue.pending_messages_per_session["left"].put_nowait("result")
        await drop_uncollected(queue, Lasting(0))
        return list(queue.pending_messages_per_session)

    assert asyncio.run(leave()) == ["heard"]


@pytest.mark.parametrize(
    ("host", "is_local", "trusts_proxy", "status"),
    [
        ("127.0.0.1:7860", True, False, 200),
        ("localhost", True, False, 200),
        ("[::1]:7860", True, False, 200),
        ("evil.example", True, False, 400),
        ("evil.example", True, True, 200),
        ("photos.local:80", False, False, 200),
        ("a/b", False, True, 400),
        ("", True, False, 400),
    ],
)
def test_a_host_counts_where_it_can_be_true(tmp_path, host, is_local, trusts_proxy, status):
    rules = Rules(Uploads(tmp_path), (), lambda session: False, 2**20, trusts_proxy, is_local)
    heads = [(b"host", host.encode()), (b"x-forwarded-proto", b"https")]
    found = asyncio.run(_pass(rules, heads))
    assert found["status"] == status
    if status == 200:
        assert (b"x-forwarded-proto" in dict(found["seen"]["headers"])) is trusts_proxy


async def _pass(rules: Rules, headers: list, work: Callable = print, **request: str) -> dict:
    """What comes of a request with those headers, where the app does `work`."""
    found: dict = {"body": b""}

    async def app(scope, receive, send):
        found["seen"] = scope
        work()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        found.setdefault("status", message.get("status"))
        found["body"] += message.get("body", b"")

    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "scheme": "http",
             "query_string": b""}  # fmt: skip
    await GuardMiddleware(app, rules)(scope | request, receive, send)
    return found


def test_uploads_are_refused_in_a_sentence_where_there_is_no_room(tmp_path, monkeypatch):
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/secret")

    rules = Rules(Uploads(tmp_path), (), lambda session: False, 2**20)
    heads = [(b"host", b"localhost")]
    upload = {"method": "POST", "path": "/gradio_api/upload"}
    found = asyncio.run(_pass(rules, heads, fill, **upload))
    assert found["status"] == 507 and b"no room" in found["body"] and b"srv" not in found["body"]
    monkeypatch.setattr("landmark_model.web.guard._free_bytes", lambda uploads: 0)
    found = asyncio.run(_pass(rules, heads, **upload))
    assert found["status"] == 507 and "seen" not in found


def test_browsers_are_told_what_is_safe(visitor):
    with urllib.request.urlopen(visitor.address) as answer:
        headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]


def test_uploads_lie_in_a_private_folder_and_those_of_dead_processes_go(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "base"))
    dead = tmp_path / "base" / f"{PREFIX}{2**22 + 1}-x"
    alive = tmp_path / "base" / f"{PREFIX}{os.getppid()}-x"
    for folder in (dead, alive):
        folder.mkdir(parents=True)
    mine = make_private_folder()
    assert mine.parent == tmp_path / "base" and mine.stat().st_mode & 0o777 == 0o700
    assert alive.exists() and not dead.exists()


def test_a_link_out_of_the_folder_is_no_upload(tmp_path, canaries):
    uploads = Uploads(tmp_path)
    (tmp_path / ("a" * 64)).mkdir()
    (tmp_path / ("a" * 64) / "x.jpg").symlink_to(canaries[0])
    (tmp_path / ("b" * 64)).symlink_to(canaries[0].parent)
    for path in ("a" * 64 + "/x.jpg", "b" * 64 + "/" + canaries[0].name, "a" * 64 + "/.."):
        assert uploads.find(str(tmp_path / path)) is None


def test_names_of_uploads_are_short_and_plain():
    assert plain_name("C:\\a/b\u202egpj.exe\n") == "bgpj.exe"
    assert plain_name("x" * 999 + ".jpg") == "x" * 200


def test_a_stop_that_reaches_another_thread_is_heard():
    stopped, unheard = threading.Event(), []
    before = signal.signal(signal.SIGUSR1, lambda *_: stopped.set())

    def stop():
        time.sleep(0.1)  # by then the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        if not stopped.wait(20):
            unheard.append(True)
            stopped.set()

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        wait_for(stopped)
        assert not unheard
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_stop_gives_the_answers_under_way_or_a_sentence_and_ends_well(serve):
    visitor = Visitor(serve("--repo", "landmark_model/weights/tf_efficientnet_lite2"))
    taj, readers = TAJ.read_bytes(), {}
    photos = [{"path": visitor.upload("a.jpg", taj + bytes([i]))} for i in range(150)]
    for count in (2, 150):  # what is done before long, and what is not
        given = {"data": [photos[:count]]}
        number = json.loads(visitor.ask("/gradio_api/call/predict_batch", given)[1])["event_id"]
        url = f"{visitor.address}/gradio_api/call/predict_batch/{number}"
        readers[count] = urllib.request.urlopen(url, timeout=60)  # has the head: it is connected
    process = serve.process(visitor.address)
    process.send_signal(signal.SIGTERM)
    for count, reader in readers.items():
        answer = reader.read().decode()
        assert answer.count("Taj_Mahal") == count or "is stopping" in answer, answer
        reader.close()
    assert process.wait(60) == 0
