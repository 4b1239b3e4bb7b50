"""The API as programs use it, by the very commands of docs/api.md."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from benchmarks import load

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
PACKAGES = Path(__file__).parent / "javascript"
TAJ, FLOWER = ROOT / "examples" / "taj-mahal.jpg", ROOT / "examples" / "none-of-these.jpg"


@pytest.fixture(scope="module")
def client(address):
    return Client(address, verbose=False)


def block(language: str, address: str) -> str:
    """The code of that language in the docs, for the server and photos of the test."""
    code = re.search(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)[1]
    return code.replace("http://127.0.0.1:7860", address).replace("examples/", f"{ROOT}/examples/")


def read_json(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_the_curl_of_the_docs_gets_an_answer(address):
    run = subprocess.run(
        ["bash", "-euc", block("bash", address)], capture_output=True, text=True, timeout=60
    )
    data = json.loads(run.stdout.split("data: ")[1])
    assert [guess["name"] for guess in data[0]["guesses"]] == ["Taj Mahal"]


def test_the_python_of_the_docs_gets_an_answer(address, capsys):
    exec(block("python", address), {})
    assert capsys.readouterr().out.strip() == "Indien"


@pytest.mark.skipif(
    not shutil.which("node") or not (PACKAGES / "node_modules").exists(),
    reason="no node here, or `make javascript` was not run",
)
def test_the_javascript_of_the_docs_gets_an_answer(address):
    run = subprocess.run(
        ["node", "--input-type=module"],
        input=block("javascript", address) + "\nprocess.exit(0);",
        cwd=PACKAGES,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout.strip() == "Taj Mahal", run.stderr


def test_an_answer_has_all_that_is_known_of_a_landmark(client):
    answer = client.predict(handle_file(TAJ), api_name="/predict")
    assert answer["is_known"] is True and answer["model"].startswith("tf_efficientnet_lite2@")
    best, *rest = answer["guesses"]
    assert (best["class_name"], best["country_code"]) == ("Taj_Mahal", "IN")
    assert abs(best["latitude"] - 27.175) < 0.01 and "mausoleum" in best["tags"]
    assert len(rest) == 4 and best["probability"] > rest[0]["probability"]


def test_a_batch_is_in_the_language_asked_for_and_a_broken_photo_has_its_reason(client, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("no photo")
    photos = [handle_file(path) for path in (TAJ, broken, FLOWER)]
    rows = client.predict(photos, top_k=1, language="zh", api_name="/predict_batch")
    assert [row["file"] for row in rows] == ["taj-mahal.jpg", "broken.jpg", "none-of-these.jpg"]
    assert rows[1]["answer"] is None and "broken.jpg 不是可读取的照片" in rows[1]["reason"]
    (best,) = rows[0]["answer"]["guesses"]
    assert best["country"] == "印度" and "陵墓" in best["tags"] and rows[0]["reason"] == ""
    assert rows[2]["answer"]["is_known"] is False


def test_an_explanation_is_a_box_and_a_grid_over_the_photo(client):
    found = client.predict(handle_file(TAJ), api_name="/explain")
    left, top, right, bottom = found["box"]
    assert 0 <= left < right <= found["width"] and 0 <= top < bottom <= found["height"]
    assert {len(row) for row in found["heatmap"]} == {32} and len(found["heatmap"]) == 21
    assert all(0 <= value <= 1 for row in found["heatmap"] for value in row)
    assert found["name"] == "Taj Mahal" and 0 < found["mask_share"] < 1
    other = client.predict(handle_file(TAJ), class_name="Colosseum", api_name="/explain")
    assert other["name"] == "Colosseum"


def test_landmarks_are_listed_in_a_language(client):
    names = {place["name"] for place in client.predict(language="fr", api_name="/landmarks")}
    assert len(names) == read_json(f"{client.src}health")["landmarks"]
    assert "Tour Eiffel" in names


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"network": "alexnet"}, "no such network.*tf_efficientnet_lite2"),
        ({"language": "xx"}, "language must be one of en, de, es, fr, zh"),
        ({"top_k": 0}, "top_k must be.*1 to 50"),
        ({"photo": None}, "no photo"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_in_a_sentence(client, settings, told):
    with pytest.raises(AppError, match=told):
        client.predict(**({"photo": handle_file(TAJ)} | settings), api_name="/predict")


def test_endpoints_are_named_typed_and_documented(client):
    endpoints = read_json(f"{client.src}gradio_api/info")["named_endpoints"]
    assert set(endpoints) == {"/predict", "/predict_batch", "/explain", "/landmarks"}
    for name, endpoint in endpoints.items():
        assert f"`{name}`" in DOCS
        assert endpoint["description"] and endpoint["returns"][0]["type"]["type"]
        for parameter in endpoint["parameters"]:
            assert parameter["type"] and f"`{parameter['parameter_name']}`" in DOCS


def test_every_field_of_an_answer_is_documented(client):
    endpoints = read_json(f"{client.src}gradio_api/info")["named_endpoints"]
    fields = set().union(*map(fields_of, (ends["returns"] for ends in endpoints.values())))
    assert {"guesses", "probability", "is_known", "heatmap", "reason"} <= fields
    assert not [field for field in fields if f"`{field}`" not in DOCS]


def fields_of(schema: object) -> set[str]:
    """The names of all properties in a JSON schema."""
    if isinstance(schema, list):
        return set().union(*map(fields_of, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", ())) | fields_of(list(schema.values()))


def test_health_says_which_networks_answer(address):
    health = read_json(f"{address}/health")
    assert health["status"] == "ok" and len(health["networks"]) == 3


@pytest.fixture(scope="module")
def mcp_address(serve) -> str:
    """Where an app with MCP is."""
    pytest.importorskip("mcp", reason='pip install "landmark-model[mcp]" for this one')
    return serve("--mcp", "--repo", "landmark_model/weights/landmark_cnn")


def test_an_mcp_client_can_call_a_tool(mcp_address):
    photo = f"data:image/jpeg;base64,{b64encode(TAJ.read_bytes()).decode()}"
    tools, answer = asyncio.run(_ask_by_mcp(f"{mcp_address}/gradio_api/mcp/", photo))
    assert tools == {"predict", "predict_batch", "explain", "landmarks"}
    assert not answer.isError and "'name': 'Taj Mahal'" in answer.content[0].text


async def _ask_by_mcp(url: str, photo: str):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async with (
        streamable_http_client(url) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = {tool.name for tool in (await session.list_tools()).tools}
        return tools, await session.call_tool("predict", {"photo": photo, "top_k": 1})


def test_nothing_that_an_mcp_client_sent_is_logged(mcp_address, serve):
    before = len(serve.log(mcp_address))
    kinds = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    for method in ["notifications/visitor"] * 20 + ["visitor", "tools/call"]:
        sent = {"jsonrpc": "2.0", "method": method, "params": {"visitor": "visitor" * 1000}}
        sent |= {} if method.startswith("notifications") else {"id": "visitor"}
        url, body = f"{mcp_address}/gradio_api/mcp/", json.dumps(sent).encode()
        urllib.request.urlopen(urllib.request.Request(url, body, kinds), timeout=30).close()
    log = serve.log(mcp_address)[before:]
    assert "visitor" not in log and log.count("\n") < 10, log[:2000]


def test_without_its_package_mcp_says_what_to_install(python):
    hidden = (
        "import sys; sys.modules['mcp'] = None; "
        "from landmark_model.web import settings; settings.read_settings(['--mcp'])"
    )
    run = python("-c", hidden, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert run.returncode == 2 and 'pip install "landmark-model[mcp]"' in run.stderr


def test_the_visitors_of_the_load_benchmark_get_answers_and_are_counted(address):
    app = SimpleNamespace(address=address, memory_mb=lambda: 1.0)
    crowd = load.Crowd(app, [TAJ.read_bytes(), FLOWER.read_bytes()], time.monotonic() + 0.5)
    crowd.single(0)
    crowd.end = time.monotonic() + 0.5
    crowd.many(2)
    crowd.end = time.monotonic() + 0.5
    crowd.photos = [b"no photo"]
    crowd.single(1)
    seen = crowd.figures
    assert seen.answers[0] == len(seen.waits) > 0 and seen.many_photos >= 2
    assert set(seen.errors) == {"no card"}
    found = {"users": 50, "many": 200, "seconds": 10, "figures": seen, "client_share": 0.1}
    page = load.make_page(found | {"bare": 20.0, "command": "the command", "exit_status": 0})
    photos = len(seen.waits) + seen.many_photos
    assert f"| photos answered | {photos} |" in page
    assert f"{photos / 10 / 20:.0%} of 20.0" in page
