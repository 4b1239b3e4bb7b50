"""A small hub on the loopback, for tests: what huggingface_hub says over HTTP, answered from disk.

    python tests/hub_server.py FOLDER PORT

Repos, commits, tags and large files lie in FOLDER, so that a server that was killed goes on where
it was. Written from the client's side of the protocol: it proves what our client does, not that
the real hub agrees. POST /faults sets what goes wrong next: {"die_after": bytes of a download,
"spoil": path of a file, "die_at_commit": true, "slow": seconds before each answer}.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import select
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

TOKENS = {"hf_owner": "owner", "hf_reader": "reader"}  # only the owner may write
LARGE = 100_000  # bytes; and whatever is no text


def git_name(content: bytes) -> str:
    """What git calls a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Store:
    """All that the server knows; each change is written to disk before it is answered."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock = folder, threading.RLock()
        (folder / "large").mkdir(parents=True, exist_ok=True)
        path = folder / "repos.json"
        self.repos: dict[str, dict] = json.loads(path.read_text()) if path.is_file() else {}

    def keep(self) -> None:
        """Writes the repos, in one step."""
        part = self.folder / "repos.part"
        part.write_text(json.dumps(self.repos))
        part.replace(self.folder / "repos.json")

    def blob(self, name: str) -> Path:
        """Where a file's content lies, by its SHA-256."""
        return self.folder / "large" / name

    def put(self, content: bytes) -> dict:
        """Keeps a file; its entry in a commit."""
        sha = hashlib.sha256(content).hexdigest()
        self.blob(sha).write_bytes(content)
        return {"sha": sha, "size": len(content), "git": git_name(content), "lfs": False}

    def commit(self, repo: dict, files: dict, parent: str | None) -> str:
        """A new commit of `files`; its name. It is nobody's head yet."""
        text = json.dumps([files, parent, len(repo["commits"])], sort_keys=True)
        name = hashlib.sha1(text.encode()).hexdigest()
        repo["commits"][name] = {"files": files, "parent": parent}
        return name


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    store: Store
    faults: dict = {}  # noqa: RUF012 (of the server, not of a request)
    log: list = []  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        """Says nothing: a test asks for /log."""

    # --- answers ---

    def say(self, status: int, body: object = None, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.say(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    def hold(self, path: str) -> None:
        """Does not answer until the faults are set anew; logs whether the client waited so long."""
        while self.faults.get("hold"):
            time.sleep(0.05)
        hung_up = bool(select.select([self.connection], [], [], 0)[0])
        self.log.append(f"{'GONE' if hung_up else 'WAITED'} {path}")

    # --- who asks for what ---

    @property
    def who(self) -> str | None:
        return TOKENS.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def repo(self, kind: str, name: str, write: bool = False) -> dict | None:
        """The repo, or None after having said why not."""
        found = self.store.repos.get(f"{kind}/{name}")
        if write and self.who is None:
            self.refuse(401, "", "Invalid username or password.")
        elif found is None or (found["private"] and self.who is None):
            self.refuse(401 if self.who is None else 404, "RepoNotFound", "Repository not found")
        elif write and self.who != "owner":
            self.refuse(403, "", "You have read access only.")
        else:
            return found
        return None

    def at(self, repo: dict, revision: str) -> str | None:
        """The commit of a branch, tag or commit; None after having said that there is none."""
        revision = unquote(revision)
        name = repo["refs"].get(revision) or repo["tags"].get(revision) or revision
        if name in repo["commits"]:
            return name
        self.refuse(404, "RevisionNotFound", "Invalid rev id")
        return None

    # --- requests ---

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path, query = url.path, parse_qs(url.query)
        if path == "/log":
            return self.say(200, list(self.log))
        self.log.append(f"{self.command} {path}")
        time.sleep(self.faults.get("slow", 0))
        if self.faults.get("hold"):
            self.hold(path)
        if path == "/api/whoami-v2":
            if self.who is None:
                return self.refuse(401, "", "Invalid user token.")
            return self.say(200, {"type": "user", "name": self.who, "orgs": []})
        if found := re.fullmatch(r"/api/(model|space)s/([^/]+/[^/]+)/refs", path):
            return self.refs(*found.groups())
        if found := re.fullmatch(r"/api/(model|space)s/([^/]+/[^/]+)/tree/([^/]+)", path):
            return self.tree(*found.groups())
        if found := re.fullmatch(r"/api/(model|space)s/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self.info(*found.groups(), "blobs" in query)
        if found := re.fullmatch(r"(/spaces)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            space, name, revision, file = found.groups()
            return self.resolve("space" if space else "model", name, revision, unquote(file))
        return self.refuse(404, "", f"no such page: {path}")

    do_HEAD = do_GET

    def refs(self, kind: str, name: str) -> None:
        if repo := self.repo(kind, name):
            shown = {
                what: [
                    {"name": ref, "ref": f"refs/{what}/{ref}", "targetCommit": commit}
                    for ref, commit in repo[key].items()
                ]
                for what, key in (("branches", "refs"), ("tags", "tags"))
            }
            self.say(200, {**shown, "converts": []})

    def tree(self, kind: str, name: str, revision: str) -> None:
        if (repo := self.repo(kind, name)) and (commit := self.at(repo, revision)):
            self.say(200, [
                {"type": "file", "path": path, "size": file["size"], "oid": file["git"]}
                | ({"lfs": {"oid": file["sha"], "size": file["size"], "pointerSize": 130}}
                   if file["lfs"] else {})
                for path, file in repo["commits"][commit]["files"].items()
            ])  # fmt: skip

    def info(self, kind: str, name: str, revision: str | None, blobs: bool) -> None:
        if (repo := self.repo(kind, name)) and (commit := self.at(repo, revision or "main")):
            siblings = [
                {"rfilename": path}
                | ({"size": file["size"], "blobId": file["git"]} if blobs else {})
                | ({"lfs": {"sha256": file["sha"], "size": file["size"], "pointerSize": 130}}
                   if blobs and file["lfs"] else {})
                for path, file in repo["commits"][commit]["files"].items()
            ]  # fmt: skip
            self.say(200, {"id": name, "modelId": name, "sha": commit, "private": repo["private"],
                           "siblings": siblings, "tags": []})  # fmt: skip

    def resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        if not (repo := self.repo(kind, name)) or not (commit := self.at(repo, revision)):
            return
        file = repo["commits"][commit]["files"].get(path)
        if file is None:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        content = self.store.blob(file["sha"]).read_bytes()
        if self.faults.get("spoil") == path:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"X_Repo_Commit": commit, "Accept_Ranges": "bytes"}
        headers["ETag"] = f'"{file["sha"] if file["lfs"] else file["git"]}"'
        if file["lfs"]:
            headers |= {"X_Linked_Size": str(file["size"]), "X_Linked_Etag": f'"{file["sha"]}"'}
        start = 0
        if found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(found[1])
            self.log.append(f"RANGE {start} {path}")
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        limit = self.faults.get("die_after")
        if limit and self.command == "GET" and len(content) > limit:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:limit])
            self.wfile.flush()
            time.sleep(0.5)  # for the client to take it off the wire
            os._exit(1)
        self.say(206 if start else 200, content[start:], **headers)

    def do_POST(self) -> None:
        time.sleep(self.faults.get("slow", 0))
        url = urlsplit(self.path)
        body, path = self.body(), url.path
        self.log.append(f"POST {path}")
        if path == "/faults":
            self.faults.clear()
            self.faults.update(json.loads(body))
            return self.say(200, {})
        if path == "/api/validate-yaml":
            return self.say(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        for pattern, answer in (
            (r"/api/(model|space)s/([^/]+/[^/]+)/preupload/([^/]+)", self.preupload),
            (r"/api/(model|space)s/([^/]+/[^/]+)/commit/([^/]+)", self.commit),
            (r"/api/(model|space)s/([^/]+/[^/]+)/tag/([^/]+)", self.tag),
            (r"/api/(space)s/([^/]+/[^/]+)/(variables)", self.variable),
            (r"(?:/(space)s)?/([^/]+/[^/]+)\.git/info/lfs/objects/(batch)", self.batch),
        ):
            if found := re.fullmatch(pattern, path):
                kind, name, last = found.groups()
                with self.store.lock:
                    if repo := self.repo(kind or "model", name, write=True):
                        return answer(repo, last, body, parse_qs(url.query))
                return None
        return self.refuse(404, "", f"no such page: {path}")

    def create(self, wish: dict) -> None:
        if self.who != "owner":
            return self.refuse(401 if self.who is None else 403, "", "You may not create repos.")
        name = (
            f"{wish['organization']}/{wish['name']}" if wish.get("organization") else wish["name"]
        )
        kind = wish.get("type") or "model"
        page = f"/spaces/{name}" if kind == "space" else f"/{name}"
        url = {"url": f"http://{self.headers['Host']}{page}"}
        with self.store.lock:
            key = f"{kind}/{name}"
            if key in self.store.repos:
                return self.say(409, {**url, "error": "You already created this repo"})
            private = bool(wish.get("private") or wish.get("visibility") == "private")
            repo = {"private": private, "page": page, "commits": {}, "refs": {}, "tags": {}}
            start = {".gitattributes": self.store.put(b"*.safetensors filter=lfs\n")}
            repo["refs"]["main"] = self.store.commit(repo, start, None)
            self.store.repos[key] = repo
            self.store.keep()
        return self.say(200, url)

    def preupload(self, repo: dict, revision: str, body: bytes, _: dict) -> None:
        there = repo["commits"][repo["refs"]["main"]]["files"]

        def mode(file: dict) -> str:
            sample = base64.b64decode(file["sample"])
            return "lfs" if file["size"] > LARGE or b"\0" in sample else "regular"

        self.say(200, {"files": [
            {"path": file["path"], "uploadMode": mode(file), "shouldIgnore": False,
             "oid": there.get(file["path"], {}).get("git")}
            for file in json.loads(body)["files"]
        ]})  # fmt: skip

    def batch(self, repo: dict, _: str, body: bytes, __: dict) -> None:
        host = f"http://{self.headers['Host']}"
        objects = []
        for item in json.loads(body)["objects"]:
            entry = {"oid": item["oid"], "size": item["size"]}
            if not self.store.blob(item["oid"]).is_file():
                entry["actions"] = {"upload": {"href": f"{host}/upload/{item['oid']}"}}
            objects.append(entry)
        self.say(200, {"transfer": "basic", "objects": objects})

    def do_PUT(self) -> None:
        name, content = self.path.removeprefix("/upload/"), self.body()
        self.log.append(f"PUT {len(content)} bytes")
        time.sleep(self.faults.get("slow", 0))
        if hashlib.sha256(content).hexdigest() != name:
            return self.refuse(400, "", "The content is not what its name says.")
        part = self.store.blob(f"{name}.part{threading.get_ident()}")
        part.write_bytes(content)
        part.replace(self.store.blob(name))
        return self.say(200, {})

    def commit(self, repo: dict, revision: str, body: bytes, query: dict) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        head = repo["refs"]["main"]
        wanted = lines[0]["value"].get("parentCommit")
        proposal = "create_pr" in query
        if wanted and wanted != head and not proposal:
            return self.refuse(412, "", "A commit has happened since.")
        if self.faults.get("die_at_commit"):
            os._exit(1)
        files = dict(repo["commits"][head]["files"])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = self.store.put(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if not self.store.blob(value["oid"]).is_file():
                    return self.refuse(400, "", "A large file was not uploaded.")
                content = self.store.blob(value["oid"]).read_bytes()
                files[value["path"]] = self.store.put(content) | {"lfs": True}
            else:
                files.pop(value["path"])
        name = self.store.commit(repo, files, head)
        page = f"http://{self.headers['Host']}{repo['page']}"
        answer = {"commitUrl": f"{page}/commit/{name}", "commitOid": name, "hookOutput": ""}
        if proposal:
            number = sum(ref.startswith("refs/pr/") for ref in repo["refs"]) + 1
            repo["refs"][f"refs/pr/{number}"] = name
            answer["pullRequestUrl"] = f"{page}/discussions/{number}"
        else:
            repo["refs"]["main"] = name
        self.store.keep()
        return self.say(200, answer)

    def tag(self, repo: dict, revision: str, body: bytes, _: dict) -> None:
        name = json.loads(body)["tag"]
        if name in repo["tags"]:
            return self.refuse(409, "", "Tag reference exists already")
        if commit := self.at(repo, revision):
            repo["tags"][name] = commit
            self.store.keep()
            self.say(200, {})

    def variable(self, repo: dict, _: str, body: bytes, __: dict) -> None:
        wish = json.loads(body)
        repo.setdefault("variables", {})[wish["key"]] = {"value": wish["value"]}
        self.store.keep()
        self.say(200, {
            key: {"key": key, **value, "updatedAt": "2026-01-01T00:00:00.000Z"}
            for key, value in repo["variables"].items()
        })  # fmt: skip


def main() -> None:
    """Serves until killed."""
    Handler.store = Store(Path(sys.argv[1]))
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
