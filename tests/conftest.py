"""What several test files share: made-up photos, one trained run per network, an engine."""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

# Set before anything imports the libraries that read it, so our own modules are imported inside
# the fixtures. Nothing is fetched; the photos that `datasets` keeps stay out of the user's home;
# one thread a process, since programs of two threads wait for each other where cores are busy.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="landmark-cache-")
os.environ["HF_HUB_CACHE"] = os.environ["HF_HOME"] + "/hub"
os.environ["HF_DATASETS_CACHE"] = os.environ["HF_HOME"] + "/datasets"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

# One folder for all processes of a run: those that pytest-xdist starts are told of it this way.
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if not IS_WORKER:
    os.environ["LANDMARK_TESTS"] = tempfile.mkdtemp(prefix="landmark-tests-")
SHARED = Path(os.environ["LANDMARK_TESTS"])

ROOT = Path(__file__).parents[1]
ROOM = 12e9  # bytes: torch comes with a GPU's libraries, downloaded and then installed
Programs = Callable[..., subprocess.CompletedProcess[str]]
# In a process of its own each of these would start an app, which takes 15 seconds and 2 GB.
OF_ONE_APP = ("test_browser", "test_doors", "test_api")
LONGEST = (*OF_ONE_APP, "test_pipeline", "test_client", "test_docs", "test_publish_guide",
           "test_export", "test_classifier", "test_repo")  # fmt: skip


class Scheduler(LoadFileScheduling):
    """Files, to the processes of pytest-xdist; those of one app count as one."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "app" if Path(file).stem in OF_ONE_APP else file


@dataclass(frozen=True)
class Run:
    """A finished training run: which network, on which photos, and where its files are."""

    network: str
    data: Path
    folder: Path


@pytest.hookimpl(optionalhook=True)  # `-p no:xdist` takes it away
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling | None:
    """Gives whole files to processes, those that ask one app as if they were one file."""
    return Scheduler(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no process is left with it at the end."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_unconfigure() -> None:
    """Removes the caches, whatever became of the tests."""
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)
    if not IS_WORKER:  # it ends last
        shutil.rmtree(SHARED, ignore_errors=True)


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """A folder that all processes share, made by the first that asks for it: the others wait."""
    folder, mark = SHARED / name, SHARED / f"{name}.done"
    with (SHARED / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists():
            make(folder)
            mark.touch()
    return folder


@pytest.fixture(scope="session")
def photos() -> Path:
    """A folder of 24 training, 9 validation and 9 test photos of three classes."""
    from landmark_model.training.smoke import make_photos

    return made_once("shapes", make_photos)


@pytest.fixture(scope="session")
def trained(photos) -> Callable[[str], Run]:
    """Gives the smoke run of a network, trained when first asked for."""
    from landmark_model.training.options import parse
    from landmark_model.training.pipeline import train
    from landmark_model.training.recipes import RECIPES

    def run(network: str) -> Run:
        def make(out: Path) -> None:
            words = ["--smoke", "--network", network, "--data", str(photos), "--out", str(out)]
            train(parse(words), replace(RECIPES[network], muon=0.0))  # Muon takes most of it

        return Run(network, photos, made_once(network, make))

    return run


@pytest.fixture(scope="session", params=["resnet18", "landmark_cnn"])
def smoke_run(request, trained) -> Run:
    """A smoke run of each network in turn."""
    return trained(request.param)


@pytest.fixture(scope="session")
def small_run(trained) -> Run:
    """The smoke run of the smaller network, where one is enough."""
    return trained("landmark_cnn")


@pytest.fixture(scope="session")
def teachable() -> Callable[[int], Path]:
    """Gives the folder of a network as it is before it learns, which can be taught: its background
    is of 90 photos. Another seed gives another network."""

    def run(seed: int = 0) -> Path:
        import torch

        from landmark_model.background import Background
        from landmark_model.config import ModelConfig
        from landmark_model.hub.repo import save
        from landmark_model.networks import build, round_to_half, to_arrays
        from landmark_model.runtime import Runtime
        from landmark_model.torch_trunk import TorchTrunk
        from landmark_model.training.smoke import CLASSES, make_photo

        def make(folder: Path) -> None:
            torch.manual_seed(seed)
            labels = ("Eiffel Tower", "Golden Gate Bridge", "Stonehenge")
            config = ModelConfig("landmark_cnn", CLASSES, labels, 64, known_method="max_logit",
                                 known_threshold=-100.0)  # fmt: skip
            network = build(config)
            round_to_half(network)
            runtime = Runtime(TorchTrunk(network, config, "cpu"), config)
            _, features = runtime.describe([make_photo(number, number) for number in range(90)])
            folder.mkdir()
            save(to_arrays(network), config, folder, background=Background.choose(features, None))

        return made_once(f"teachable-{seed}", make)

    return run


@pytest.fixture
def without_muon(monkeypatch) -> None:
    """Recipes by AdamW: in runs as small as those of tests, Muon takes most of the time."""
    from landmark_model.training.recipes import RECIPES

    for network, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, network, replace(recipe, muon=0.0))


@pytest.fixture
def engine() -> Iterator[Callable]:
    """Makes accelerators of any precision; Accelerate by itself keeps that of the first."""
    from accelerate.state import AcceleratorState

    from landmark_model.training.session import make_accelerator

    def make(precision: str = "no", seed: int = 0):
        AcceleratorState._reset_state(True)
        return make_accelerator(precision, seed)

    yield make
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="session")
def python() -> Programs:
    """Runs python with arguments from the root of the project, in a process of its own."""

    def run(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=300, **settings
        )

    return run


@pytest.fixture
def lay_out(tmp_path) -> Callable[..., Path]:
    """Makes a folder of photos, all different, from the number wanted in each subfolder."""
    from landmark_model.training.smoke import make_photo

    def make(counts: dict[str, int], first_seed: int = 0) -> Path:
        root = tmp_path / "photos"
        seed = first_seed
        for subfolder, count in counts.items():
            (root / subfolder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                seed += 1
                make_photo(seed, seed).save(root / subfolder / f"{number}.png")
        return root

    return make


class Servers:
    """Copies of app.py that run, each in a process of its own, by their address."""

    def __init__(self, make_folder: Callable[[str], Path]) -> None:
        self.make_folder = make_folder
        self.running: dict[str, tuple[subprocess.Popen, Path]] = {}

    def __call__(self, *arguments: str) -> str:
        """Starts one with those arguments on a free port; gives its address."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folder, address = self.make_folder("server"), f"http://127.0.0.1:{port}"
        with (folder / "log.txt").open("wb") as output:
            server = subprocess.Popen(
                [sys.executable, "app.py", "--port", str(port), *arguments],
                cwd=ROOT,
                env=os.environ | {"GRADIO_TEMP_DIR": str(folder / "uploads")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.running[address] = server, folder / "log.txt"
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and server.poll() is None:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                return address
            except OSError:
                time.sleep(0.3)
        pytest.fail(f"app.py does not answer:\n{self.log(address)}")

    def process(self, address: str) -> subprocess.Popen:
        """The process that serves an address."""
        return self.running[address][0]

    def log(self, address: str) -> str:
        """What it has printed so far."""
        return self.running[address][1].read_text()

    def stop(self) -> None:
        """Ends all of them."""
        for server, _ in self.running.values():
            server.terminate()
        for server, _ in self.running.values():
            server.wait(20)


@pytest.fixture(scope="session")
def serve(tmp_path_factory) -> Iterator[Servers]:
    """Starts app.py with arguments on a free port, in a process of its own; gives its address."""
    servers = Servers(tmp_path_factory.mktemp)
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def address(serve) -> str:
    """Where the app is, as people get it."""
    return serve()


@pytest.fixture
def fresh(tmp_path) -> Iterator[Path]:
    """The python of a new environment, which goes again: what failed shall not fill the disk."""
    free = shutil.disk_usage(tmp_path).free
    if free < ROOM:
        pytest.skip(f"{ROOM / 1e9:.0f} GB of disk are needed, {free / 1e9:.1f} GB are free")
    venv.create(tmp_path / "venv", with_pip=True)
    yield tmp_path / "venv" / "bin" / "python"
    shutil.rmtree(tmp_path / "venv")


@pytest.fixture(scope="session")
def models():
    """The networks that ship, as the app has them."""
    from landmark_model.web.models import open_models

    return open_models()
