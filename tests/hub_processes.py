"""A hub and people's Python as processes of their own, for the tests that need them."""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent


class Hub:
    """A server process that can be killed, and started again where it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Serves, also after `stop` or a death."""
        command = [sys.executable, TESTS / "hub_server.py", self.folder, str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout.readline()

    def stop(self) -> None:
        """Is gone at once."""
        self.process.kill()
        self.process.wait()

    def fail(self, **faults: object) -> None:
        """Sets what goes wrong from now on; nothing without arguments."""
        body = json.dumps(faults).encode()
        urllib.request.urlopen(f"{self.url}/faults", body).close()

    def log(self) -> list[str]:
        """All requests since the start."""
        with urllib.request.urlopen(f"{self.url}/log") as answer:
            return json.load(answer)

    def repo(self, name: str, kind: str = "model") -> dict:
        """What is on its disk of one repo."""
        return json.loads((self.folder / "repos.json").read_text())[f"{kind}/{name}"]

    def files(self, name: str, kind: str = "model") -> set[str]:
        """The paths at the head of main."""
        repo = self.repo(name, kind)
        return set(repo["commits"][repo["refs"]["main"]]["files"])


class Client:
    """A Python process of somebody's, logged in or not, that runs code when asked."""

    def __init__(self, hub: Hub, home: Path, token: str | None, **more: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT), **more}  # fmt: skip
        env |= {"HF_TOKEN": token} if token else {}
        self.env = env
        self.process = subprocess.Popen(
            [sys.executable, TESTS / "hub_client.py"],
            env=env, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, code: str) -> dict:
        """Runs `code`; what it set as `answer`, errors, warnings."""
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("=>"):
                found = json.loads(line[2:])
                assert found["crash"] is None, found["crash"]
                return found
        raise AssertionError("the client died")

    @contextmanager
    def logged_in(self, token: str) -> Iterator[None]:
        """Somebody who is not logged in has a token for a while."""
        self.run(f"import os\nos.environ['HF_TOKEN'] = {token!r}")
        yield
        self.run("import os\ndel os.environ['HF_TOKEN']")

    def python(self, *words: object, folder: Path = ROOT) -> tuple[object, str]:
        """`python words` in a folder: its exit status, or what it says of an error; its output.

        Nothing is imported anew, which takes seconds.
        """
        program, *rest = map(str, words[1:] if words[0] == "-m" else words)
        run = "module" if words[0] == "-m" else "path"
        ended, printed = self.run(
            "import contextlib, io, os, runpy, sys\n"
            f"os.chdir({str(folder)!r})\nsys.argv = {[program, *rest]!r}\n"
            "printed, ended = io.StringIO(), 0\n"
            "with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):\n"
            "    try:\n"
            f"        runpy.run_{run}({program!r}, run_name='__main__')\n"
            "    except SystemExit as end:\n"
            "        ended = end.code\n"
            f"os.chdir({str(ROOT)!r})\nanswer = [ended, printed.getvalue()]"
        )["value"]
        return ended, printed

    def push(self, folders: list[Path], repo: str, settings: str = "") -> dict:
        """`publish`; the answer is [commit, tag, changed, pull request, what is printed]."""
        return self.run(
            "from pathlib import Path\nfrom landmark_model.hub.publish import publish\n"
            f"folders = map(Path, {list(map(str, folders))!r})\n"
            f"done = publish(list(folders), {repo!r}, {settings})\n"
            "answer = [done.commit, done.tag, done.changed, done.pull_request, str(done)]"
        )

    def load(self, repo: str, settings: str = "") -> dict:
        """`load` and one prediction; the answer is [architecture, best label, probability]."""
        return self.run(
            "from landmark_model import load\n"
            f"tagger = load({repo!r}, device='cpu', {settings})\n"
            "best = tagger.predict('examples/taj-mahal.jpg')[0]\n"
            "answer = [tagger.config.architecture, best.label, best.probability]"
        )

    def stop(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()
