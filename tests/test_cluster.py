"""A run on Ray workers: the rows of a run on one machine, also where a worker is killed."""

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from landmark_model import LandmarkError, load
from landmark_model.folders import find_named
from landmark_model.library.cluster import CHUNK_SIZE, ClusterRun, Ledger, Worker, connected
from landmark_model.library.index import INDEX_NAME, open_index
from landmark_model.library.run import LibraryRun, make_plan
from landmark_model.training.smoke import make_photo

# Ray warns of what it does itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
PHOTO_COUNT = 500
HERE = Path(__file__)
needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason='ray is missing: pip install "landmark-model[ray]"'
)


class Mortal:
    """A network that notes what it was asked; where `fatal` is a file, it removes that in its
    third batch, and is killed."""

    def __init__(self, asked: Path, fatal: Path) -> None:
        self._tagger, self._asked, self._fatal = load(network="landmark_cnn"), asked, fatal
        self.fewest_pixels, self.batch_size = self._tagger.fewest_pixels, self._tagger.batch_size
        self._batch_count = 0

    def predict_batch(self, photos, top_k, batch_size):
        self._batch_count += 1
        if self._batch_count == 3 and self._fatal.exists():
            self._fatal.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        with self._asked.open("a") as file:
            file.write(f"{os.getpid()}\n" * len(photos))
        return self._tagger.predict_batch(photos, top_k, batch_size)


def open_mortal(folder: Path) -> tuple[Mortal, str]:
    """The network, as workers open it, and its stamp."""
    return Mortal(folder / "asked", folder / "fatal"), "one"


@pytest.fixture(scope="module")
def workers() -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, HERE.parents[:2])))
        with ExitStack() as stack:
            try:
                worker_count = stack.enter_context(connected(2))
            except LandmarkError as error:
                if "timed out during startup" not in str(error) and "GCS" not in str(error):
                    raise
                pytest.skip(f"This machine is too busy: within half a minute, {error}")
            yield worker_count


def tag(folder: Path, out: Path, worker_count: int, open_network=None) -> list[str]:
    """Answers what is new in a folder, on workers or, without any, here; gives the paths."""
    with open_index(out, is_new=True, writes=True) as index:
        found = find_named([folder], folder)
        index.set_base([folder])
        plan = make_plan(index, sorted([*found.paths, *found.raw]), [folder], None)
        open_network = open_network or partial(open_mortal, out.parent)
        if worker_count:
            run = ClusterRun(index, out, open_network, "one", False)
            answers = run.answer(plan.waiting, worker_count)
        else:
            answers = LibraryRun(index, open_network()[0], "one", False).answer(plan.waiting)
        return [row.path for rows in answers for row in rows]


def rows(out: Path) -> dict:
    """All columns of each row, and the small copy of the photo; guesses by their names."""
    connection = sqlite3.connect(out / INDEX_NAME)
    connection.row_factory = sqlite3.Row
    found = connection.execute("SELECT * FROM photos LEFT JOIN thumbnails USING (sha256)")
    rows = {row["path"]: dict(row) for row in found}
    connection.close()
    for row in rows.values():
        # Which photos share a forward pass is in the seventh digit.
        guesses = json.loads(row.pop("guesses") or "[]")
        row |= {name: pytest.approx(share, abs=1e-5) for name, _, share, *_ in guesses}
        for name in ("probability", "score"):
            row[name] = row[name] and pytest.approx(row[name], abs=1e-4)
    return rows


@needs_ray
def test_workers_give_the_rows_of_one_machine_though_one_is_killed(workers, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(PHOTO_COUNT):
        make_photo(number, number, (160, 120)).save(folder / f"{number:03}.jpg")
    for copy in range(0, 60, 3):
        shutil.copy(folder / f"{copy:03}.jpg", folder / f"copy {copy}.jpg")
    (folder / "001.nef").write_text("RAW")
    (folder / "alone.nef").write_text("RAW alone")
    (folder / "caf\udce9\n.jpg").write_text("no photo")
    shutil.copy(folder / "002.jpg", folder / "caf\udce9 2.jpg")
    (tmp_path / "fatal").touch()
    done = tag(folder, tmp_path / "cluster", workers)
    assert len(done) == len(set(done)) == PHOTO_COUNT + 24 and not (tmp_path / "fatal").exists()
    asked = (tmp_path / "asked").read_text().split()
    assert len(set(asked)) >= 2, "two workers, and one in the place of the dead"
    assert PHOTO_COUNT <= len(asked) < PHOTO_COUNT + CHUNK_SIZE // 2, "none twice but those lost"
    tag(folder, tmp_path / "here", 0)
    assert rows(tmp_path / "cluster") == rows(tmp_path / "here")


def test_finished_rows_come_back_from_workers_as_they_are_here(tmp_path, monkeypatch):
    def in_this_process(run, paths, worker_count, ledger):
        worker = Worker(run._open_network, run._stamp, ledger)
        return [worker({"chunk": [json.dumps(paths)]})] if paths else []

    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        make_photo(number, number, (160, 120)).save(folder / f"{number:02}.jpg")
    (folder / "caf\udce9\n.jpg").write_text("no photo")
    shutil.copy(folder / "02.jpg", folder / "caf\udce9 2.jpg")
    monkeypatch.setattr(ClusterRun, "_open_ledger", lambda run: None)
    monkeypatch.setattr(ClusterRun, "_rows", in_this_process)
    assert len(tag(folder, tmp_path / "cluster", 1)) == 22
    tag(folder, tmp_path / "here", 0)
    assert rows(tmp_path / "cluster") == rows(tmp_path / "here")


@needs_ray
def test_second_run_asks_for_what_is_new_and_copies_of_the_index_need_no_answer(workers, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(8):
        make_photo(number, number, (160, 120)).save(folder / f"{number}.jpg")
    tag(folder, tmp_path / "out", 0)
    (folder / "7.jpg").rename(folder / "moved.jpg")
    shutil.copy(folder / "0.jpg", folder / "copy.jpg")
    make_photo(9, 9, (160, 120)).save(folder / "new.jpg")
    shutil.copy(folder / "new.jpg", folder / "twin.jpg")
    (tmp_path / "asked").unlink()
    done = tag(folder, tmp_path / "out", workers)
    names = ["copy.jpg", "moved.jpg", "new.jpg", "twin.jpg"]
    assert sorted(Path(path).name for path in done) == names
    assert len((tmp_path / "asked").read_text().split()) == 1
    assert len(rows(tmp_path / "out")) == 11
    assert tag(folder, tmp_path / "out", workers) == []


@needs_ray
def test_ray_listens_on_this_machine_only_and_reports_to_nobody(workers):
    import ray
    from ray._common.usage import usage_lib

    assert ray.util.get_node_ip_address() == "127.0.0.1"
    assert not usage_lib.usage_stats_enabled()


def open_another(folder: Path) -> tuple[None, str]:
    """A network that is not the one of the run."""
    return None, "two"


@needs_ray
def test_worker_that_has_another_network_stops_the_run_in_words(workers, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    with pytest.raises(LandmarkError, match="another network: two, not one"):
        tag(tmp_path, tmp_path / "out", workers, partial(open_another, tmp_path))


def test_of_two_copies_one_is_claimed_and_whoever_takes_over_a_chunk_gets_what_the_dead_had(
    tmp_path,
):
    with open_index(tmp_path, is_new=True, writes=True):
        ledger = Ledger(tmp_path, None)
        assert ledger.claim([("a", "1"), ("b", "1"), ("c", None), ("d", None)]) == [
            True, False, True, True,
        ]  # fmt: skip
        assert ledger.claim([("a", "1"), ("e", "1")]) == [True, False]
        ledger.forget(["1"])
        assert ledger.claim([("e", "1")]) == [True], "the answer did not get into the index"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "No Ray cluster answers at RAY_ADDRESS 127.0.0.1:1"),
        ("127.0.0.1:port", "No Ray cluster answers at RAY_ADDRESS 127.0.0.1:port"),
        ("ray://127.0.0.1:10001", "on a machine of the cluster"),
    ],
)
def test_cluster_that_cannot_be_used_is_refused_before_ray_tries_for_minutes(
    address, reason, monkeypatch
):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(LandmarkError, match=reason), connected():
        pass
