"""The real client against a hub over real HTTP: push, tag, pull, resume, and what can go wrong."""

import json
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hub_processes import Client, Hub

from landmark_model.hub.repo import CHECKSUMS_NAME, KNOWN_HEAD_NAME, PUBLISHED


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def hub(scratch):
    hub = Hub(scratch / "server")
    yield hub
    hub.stop()


@pytest.fixture(autouse=True)
def all_well(hub):
    """Whatever a test did to the hub, the next finds it whole."""
    if hub.process.poll() is not None:
        hub.start()
    hub.fail()


@pytest.fixture(scope="module")
def owner(hub, scratch):
    client = Client(hub, scratch / "owner", "hf_owner")
    yield client
    client.stop()


@pytest.fixture(scope="module")
def visitor(hub, scratch):
    client = Client(hub, scratch / "visitor", None)
    yield client
    client.stop()


@pytest.fixture(scope="module")
def runs(trained):
    """The run folders of both networks."""
    return [trained("resnet18").folder, trained("landmark_cnn").folder]


@pytest.fixture(scope="module")
def published(owner, runs):
    """A repo with both networks at v1: its name and commit."""
    done = owner.push(runs, "team/landmarks", "tag='v1'")
    assert done["error"] is None
    assert done["value"][1:3] == ["v1", True]
    return "team/landmarks", done["value"][0]


def test_both_networks_arrive_in_one_commit_with_all_their_files_and_no_others(hub, published):
    repo = hub.repo(published[0])
    head = repo["commits"][repo["refs"]["main"]]
    assert repo["refs"]["main"] == repo["tags"]["v1"] == published[1]
    assert len(repo["commits"]) == 2  # the empty one of its making, and ours
    expected = {*PUBLISHED, CHECKSUMS_NAME} - {KNOWN_HEAD_NAME}  # too few photos for one
    assert set(head["files"]) == (
        {".gitattributes"} | expected | {f"landmark_cnn/{name}" for name in expected}
    )


def test_same_content_again_changes_nothing_and_says_so(hub, owner, runs, published):
    before = hub.repo(published[0])
    done = owner.push(runs, published[0], "tag='v1'")["value"]
    assert done[:3] == [published[1], "v1", False]
    assert done[4].startswith("Nothing changed")
    assert owner.push(runs, published[0])["value"][:3] == [published[1], "v1", False]
    assert hub.repo(published[0]) == before


def test_anybody_loads_it_by_tag_branch_or_commit(visitor, published):
    repo, commit = published
    for revision in (None, "v1", "main", commit):
        done = visitor.load(repo, f"revision={revision!r}, network='landmark_cnn'")
        assert done["error"] is None
        assert done["value"][0] == "landmark_cnn" and done["warned"] == []
    assert "no revision v9" in visitor.load(repo, "revision='v9'")["error"]
    assert "landmark_cnn" in visitor.load(repo, "network='vgg16'")["error"]
    assert "no public hub repo team/nowhere" in visitor.load("team/nowhere")["error"]


def test_only_what_the_network_needs_is_downloaded(visitor, published, scratch):
    done = visitor.load(published[0], f"network='landmark_cnn', cache_dir={str(scratch / 'own')!r}")
    assert done["error"] is None
    (snapshot,) = (scratch / "own" / "models--team--landmarks" / "snapshots").iterdir()
    found = {
        path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()
    }
    about = {"config.json", "metrics.json", CHECKSUMS_NAME}
    below = {*about, "model.safetensors", "features.safetensors", "background.safetensors"}
    assert found == about | {f"landmark_cnn/{name}" for name in below}


def test_new_content_becomes_the_next_version_and_the_old_one_stays(
    hub, owner, visitor, runs, published, tmp_path
):
    changed = Path(shutil.copytree(runs[0], tmp_path / "changed"))
    figures = json.loads((changed / "metrics.json").read_text())
    figures["training"]["data"]["about"] = "Other photos."
    (changed / "metrics.json").write_text(json.dumps(figures))
    taken = owner.push([changed], "team/landmarks", "tag='v1'")
    assert "Tags never move" in taken["error"]
    assert hub.repo("team/landmarks")["refs"]["main"] == published[1]
    done = owner.push([changed], "team/landmarks")["value"]
    assert done[1:3] == ["v2", True]
    assert not any(name.startswith("landmark_cnn/") for name in hub.files("team/landmarks"))
    assert visitor.load("team/landmarks", "revision='v1', network='landmark_cnn'")["value"]
    assert visitor.load("team/landmarks")["value"][0] == "resnet18"


def test_proposal_is_a_pull_request_and_leaves_main_alone(hub, owner, runs):
    owner.push([runs[1]], "team/proposals")
    before = hub.repo("team/proposals")["refs"]["main"]
    done = owner.push([runs[0]], "team/proposals", "create_pr=True")["value"]
    assert done[3].endswith("/discussions/1") and done[3] in done[4]
    repo = hub.repo("team/proposals")
    assert repo["refs"]["main"] == before and list(repo["tags"]) == ["v1"]


def test_tokens_decide_who_may_write_and_read(owner, visitor, runs):
    assert "hf auth login" in visitor.push([runs[1]], "team/landmarks")["error"]
    with visitor.logged_in("hf_reader"):
        assert "does not allow" in visitor.push([runs[1]], "team/landmarks")["error"]
    assert owner.push([runs[1]], "team/secret", "private=True")["error"] is None
    assert owner.load("team/secret")["error"] is None
    assert "hf auth login" in visitor.load("team/secret")["error"]


def test_what_was_downloaded_works_when_the_network_is_gone(hub, visitor, published):
    settings = "revision='v1', network='landmark_cnn'"
    online = visitor.load(published[0], settings)["value"]
    hub.stop()
    done = visitor.load(published[0], settings)
    assert done["value"] == online
    assert "cannot be reached" in done["warned"][0]
    quiet = visitor.load(published[0], settings + ", local_files_only=True")
    assert quiet["value"] == online and quiet["warned"] == []
    missing = visitor.load(published[0], settings + ", cache_dir='/nonexistent/x'")
    assert "could not be reached" in missing["error"]
    unasked = settings + ", cache_dir='/nonexistent/x', local_files_only=True"
    assert "not to be asked" in visitor.load(published[0], unasked)["error"]


def test_hub_that_does_not_answer_does_not_hold_up_what_is_there(hub, visitor, published):
    settings = "revision='v1', network='landmark_cnn'"
    online = visitor.load(published[0], settings)["value"]
    hub.fail(hold=True)
    done = visitor.load(published[0], settings)
    hub.fail()
    assert done["value"] == online and "cannot be reached" in done["warned"][0]
    while not (held := [line for line in hub.log() if line.startswith(("WAITED", "GONE"))]):
        time.sleep(0.05)
    # It was asked, and had not been given up when `load` was done.
    assert [line.split()[0] for line in held] == ["WAITED"]


def test_download_that_breaks_off_is_taken_up_again(hub, visitor, published, tmp_path):
    settings = f"revision='v1', network='resnet18', cache_dir={str(tmp_path)!r}"
    hub.fail(die_after=15_000_000)  # the client writes 10 MB at a time
    revived = threading.Thread(target=lambda: (hub.process.wait(), time.sleep(1), hub.start()))
    revived.start()
    done = visitor.load(published[0], settings)
    revived.join()
    assert done["error"] is None
    started = [int(line.split()[1]) for line in hub.log() if line.startswith("RANGE")]
    assert started and max(started) >= 10_000_000


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_file_with_another_checksum_is_refused(hub, scratch, published, file, tmp_path, visitor):
    hub.fail(spoil=f"landmark_cnn/{file}")
    done = visitor.load(
        published[0], f"revision='v1', network='landmark_cnn', cache_dir={str(tmp_path)!r}"
    )
    assert f"{file} of {published[0]} does not match {CHECKSUMS_NAME}" in done["error"]
    assert "hf cache rm" in done["error"]


def test_full_disk_is_said_and_what_was_there_before_still_works(hub, visitor, published, tmp_path):
    cache = f"cache_dir={str(tmp_path)!r}, network='landmark_cnn'"
    limit = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, ({}, resource.RLIM_INFINITY))\nanswer = 1"
    )
    visitor.run(limit.format(1_000_000))
    full = visitor.load(published[0], f"revision='v1', {cache}")
    assert "disk is too full" in full["error"]
    visitor.run(limit.format("resource.RLIM_INFINITY"))
    assert visitor.load(published[0], f"revision='v1', {cache}")["error"] is None


def test_push_cut_off_leaves_the_old_version_whole_and_can_be_repeated(hub, owner, runs, tmp_path):
    first = owner.push([runs[1]], "team/cut")["value"]
    changed = Path(shutil.copytree(runs[1], tmp_path / "changed"))
    with (changed / "reliability.png").open("ab") as picture:
        picture.write(b"\0more")
    killed = Client(hub, tmp_path / "killed", "hf_owner")
    killed.run("import landmark_model.hub.publish\nanswer = 1")
    hub.fail(slow=0.5)
    uploads = [line for line in hub.log() if line.startswith("PUT")]

    def push() -> None:
        with suppress(AssertionError):  # that the client died
            killed.push([changed], "team/cut")

    pushing = threading.Thread(target=push)
    pushing.start()
    while [line for line in hub.log() if line.startswith("PUT")] == uploads:
        time.sleep(0.1)
    killed.stop()
    pushing.join()
    assert hub.repo("team/cut")["refs"]["main"] == first[0]
    hub.fail(die_at_commit=True)
    assert "run the same command again" in owner.push([changed], "team/cut")["error"]
    hub.process.wait()
    hub.start()
    assert hub.repo("team/cut")["refs"]["main"] == first[0]
    assert owner.push([changed], "team/cut")["value"][1:3] == ["v2", True]


def test_of_two_pushes_at_once_one_wins_and_the_other_is_told(hub, owner, visitor, runs):
    owner.push([runs[1]], "team/race")
    visitor.run("import landmark_model.hub.publish\nanswer = 1")
    hub.fail(slow=0.3)
    outcomes: list[dict] = []
    pushes = [
        threading.Thread(target=lambda c=c, f=f: outcomes.append(c.push(f, "team/race")))
        for c, f in ((owner, [runs[0]]), (visitor, runs))
    ]
    with visitor.logged_in("hf_owner"):
        for push in pushes:
            push.start()
        for push in pushes:
            push.join()
    errors = [done["error"] for done in outcomes if done["error"]]
    assert len(errors) == 1 and "at the same time" in errors[0]
    assert len(hub.repo("team/race")["commits"]) == 3


# --- what others load it with ---


def test_timm_gives_the_same_logits_to_the_bit_and_transformers_labels_for_people(
    visitor, published
):
    code = f"""
import timm, torch
from transformers import pipeline
from landmark_model.hub.repo import find
from landmark_model.config import read_config
from landmark_model.networks import restore
images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
theirs = timm.create_model("hf-hub:{published[0]}@v1", pretrained=True).eval()
folder = find("{published[0]}", "resnet18", revision="v1")
ours = restore(read_config(folder), folder)
with torch.inference_mode():
    answer = [torch.equal(theirs(images), ours(images)), theirs.pretrained_cfg["label_names"]]
classify = pipeline("image-classification", model="{published[0]}", revision="v1")
answer.append(classify("examples/taj-mahal.jpg"))
"""
    equal, names, found = visitor.run(code)["value"]
    assert equal
    assert names == ["Eiffel Tower", "Golden Gate Bridge", "Stonehenge"]
    assert {guess["label"] for guess in found} == set(names)
    assert sum(guess["score"] for guess in found) == pytest.approx(1, abs=1e-4)


# --- the command line ---


def test_train_and_push_in_one_command(owner, visitor, photos, tmp_path):
    run = tmp_path / "run"
    words = ["train.py", "--smoke", "--network", "landmark_cnn", "--data", photos, "--out", run]
    words += ["--push-to", "team/trained"]
    ended, said = visitor.python(*words)
    assert ended == 1 and said.startswith("landmark: ") and "hf auth login" in said
    assert not run.exists(), "refused before the training that could not be pushed"
    ended, printed = owner.python(*words)
    assert ended == 0 and "Published team/trained, tag v1" in printed
    assert "landmark-model" in (run / "README.md").read_text()
    ended, printed = owner.python("-m", "landmark_model", "push", run, "team/trained")
    assert ended == 0 and "Nothing changed" in printed
