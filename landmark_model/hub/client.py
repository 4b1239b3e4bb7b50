"""Hugging Face Hub client: fetch a repo, push a folder. Owns huggingface_hub."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from landmark_model.errors import LandmarkError

PATIENCE = 1.5  # seconds that a hub may take to name a commit where an older one is at hand
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


LOGIN = "The hub requires a login for {repo}. Run `hf auth login`, or set HF_TOKEN."
CLASH = "Somebody else changed {repo} at the same time. Look at it, then run this again."
# What to say about an error: by its class, its HTTP status, or what else is known of it.
WORDS = {
    "HFValidationError": "{repo} is neither a folder nor the name of a hub repo (org/name). Check "
    "the spelling.",
    "LocalTokenNotFoundError": LOGIN,
    "RepositoryNotFoundError": "There is no folder and no public hub repo {repo}. Check the "
    "spelling, or log in with `hf auth login` if it is private.",
    "RevisionNotFoundError": "{repo} has no revision {revision}. Look at its tags.",
    401: LOGIN,
    403: "Your token does not allow this for {repo}. Create one with write access.",
    409: CLASH,
    412: CLASH,
    "refused": "The hub refused the request for {repo} ({why}). Fix that, or try again later.",
    "full": "The disk is too full to download {where}. Make room, or give another cache_dir.",
    "cut off": "The hub cannot be reached, or the push to {repo} broke off. What was there is as "
    "it was; run the same command again.",
    "not asked": "{where} is no folder here and was not downloaded from the hub before, and the "
    "hub is not to be asked (local_files_only, HF_HUB_OFFLINE). Check the path, or allow it once.",
    "no answer": "{where} is not a folder here, and the hub could not be reached. Check the path, "
    "or try again online.",
}


@dataclass(frozen=True)
class Pushed:
    """The result of a push. `changed` is False if the repo already held the same."""

    repo: str
    commit: str
    tag: str | None
    changed: bool
    pull_request: str | None = None

    def __str__(self) -> str:
        tagged = f", tag {self.tag}" if self.tag else ""
        if not self.changed:
            at = f"(commit {self.commit[:7]}{tagged})"
            return f"Nothing changed: {self.repo} already holds exactly this {at}."
        if self.pull_request:
            return f"Proposed to {self.repo}: {self.pull_request}"
        use = f"\nUse it: load({self.repo!r}, revision={self.tag!r})" if self.tag else ""
        return f"Published {self.repo}{tagged}, commit {self.commit}.{use}"


# --- fetch ---


def fetch(
    repo: str,
    patterns: Sequence[str],
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Path:
    """The local copy of hub repo `repo` ("org/name") at `revision` (a tag, branch or commit).

    Only files that match `patterns` are downloaded. Where the hub cannot be reached, what was
    downloaded before is taken, with a warning. Raises LandmarkError if there is nothing.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    local_files_only = local_files_only or constants.HF_HUB_OFFLINE
    wanted = {"allow_patterns": list(patterns), "cache_dir": cache_dir}
    with _in_words(repo, revision, local_files_only):
        commit = _resolve(repo, revision, cache_dir, local_files_only)
        try:
            return Path(snapshot_download(repo, revision=commit, local_files_only=True, **wanted))
        except LocalEntryNotFoundError:
            if local_files_only:
                raise
        return Path(snapshot_download(repo, revision=commit, **wanted))


def _resolve(repo: str, revision: str | None, cache_dir, local_files_only: bool):
    """The commit of `revision`; the last one known, if the hub does not say within PATIENCE."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionResolutionError

    resolve = partial(HfApi().resolve_revision, repo, revision=revision, cache_dir=cache_dir)
    try:
        known = resolve(local_files_only=True)
    except RevisionResolutionError:
        return resolve(local_files_only=local_files_only)
    if local_files_only or known.resolved == revision:
        return known
    commit = _ask(lambda: HfApi().repo_info(repo, revision=revision).sha)
    if commit is None:
        warnings.warn(
            f"The hub cannot be reached; using {repo} as downloaded earlier "
            f"(commit {known.resolved[:7]}).",
            stacklevel=2,
        )
    return known if commit in (None, known.resolved) else resolve(local_files_only=False)


def _ask(question: Callable[[], str]) -> str | None:
    """The hub's answer; None if it is down, or does not give one within PATIENCE.

    Raises the error if it refuses. It is asked in a thread: a dead network can block for a minute.
    """
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    answers: SimpleQueue[str | HfHubHTTPError | None] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(question())
        except HfHubHTTPError as error:
            # 429 is too many requests: as good as no answer, and no refusal.
            status = error.response.status_code
            answers.put(error if status < 500 and status != 429 else None)
        except httpx2.TransportError:
            answers.put(None)

    threading.Thread(target=ask, daemon=True).start()
    with suppress(Empty):
        answer = answers.get(timeout=PATIENCE)
        if isinstance(answer, HfHubHTTPError):
            raise answer
        return answer
    return None


@contextmanager
def _in_words(
    repo: str, revision: str | None = None, local: bool = False, pushing: bool = False
) -> Iterator[None]:
    """Turns the errors of the hub client into a LandmarkError that says what to do."""
    import httpx2
    from huggingface_hub.errors import HFValidationError, RevisionResolutionError

    try:
        yield
    except (OSError, HFValidationError, RevisionResolutionError, httpx2.TransportError,
            RuntimeError) as error:  # fmt: skip
        why = getattr(error, "server_message", None) or error
        where = f"{repo} at {revision}" if revision else repo
        words = WORDS[_kind(error, local, pushing)]
        raise LandmarkError(
            words.format(repo=repo, revision=revision, where=where, why=why)
        ) from error


def _kind(error: Exception, local: bool, pushing: bool) -> str | int:
    """What an error of the hub client is called in WORDS."""
    kinds: list[str | int] = [kind.__name__ for kind in type(error).__mro__]
    response = getattr(error, "response", None)
    if response is not None:
        # To readers the hub calls a private repo missing; writers have just made theirs.
        kinds.insert(0 if pushing else len(kinds), response.status_code)
    if getattr(error, "errno", None) in FULL:
        other = "full"
    elif response is not None:
        other = "refused"
    else:
        other = "cut off" if pushing else "not asked" if local else "no answer"
    return next((kind for kind in kinds if kind in WORDS), other)


# --- push ---


def require_login(repo: str) -> None:
    """Raises LandmarkError if a push to `repo` would fail without a hub or a login."""
    from huggingface_hub import HfApi

    with _in_words(repo, pushing=True):
        HfApi().whoami()


def push(
    folder: Path,
    repo: str,
    *,
    kind: str = "model",
    tag: str | None = None,
    private: bool = False,
    create_pr: bool = False,
) -> Pushed:
    """Makes hub repo `repo` ("org/name") hold what `folder` holds, in one commit, and tags that.

    The repo is made if needed; `kind` is "model" or "space". Without `tag` a model's commit becomes
    the next of v1, v2, ...; tags never move. With `create_pr` the commit is a pull request, without
    a tag. Files that `folder` lacks are removed; earlier commits keep them. Cut off half-way, the
    repo is as before. Raises LandmarkError if the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    api, pull_request = HfApi(), None
    with _in_words(repo, pushing=True):
        sdk = {"space_sdk": "gradio"} if kind == "space" else {}
        api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True, **sdk)
        before = api.repo_info(repo, repo_type=kind, files_metadata=True)
        refs = api.list_repo_refs(repo, repo_type=kind).tags
        tags = {ref.name: ref.target_commit for ref in refs}
        commit, changes = before.sha, _changes(folder, before.siblings or [])
        if tag in tags and (changes or tags[tag] != commit):
            raise LandmarkError(
                f"{repo} has a tag {tag} already, of other content. Tags never move: choose "
                "another, or leave it out for the next number."
            )
        if changes:
            done = api.create_commit(repo, changes, commit_message=f"Publish {kind}",
                                     repo_type=kind, parent_commit=commit,
                                     create_pr=create_pr)  # fmt: skip
            commit, pull_request = done.oid, done.pr_url
        if kind == "model" and not create_pr:
            tag = _tag(repo, commit, tag, tags)
    return Pushed(repo, commit, tag, bool(changes), pull_request)


def _tag(repo: str, commit: str, tag: str | None, tags: dict[str, str]) -> str:
    """Tags `commit` as asked, or with the next of v1, v2, ... if it has no tag; returns the tag."""
    from huggingface_hub import HfApi

    numbers = [int(name[1:]) for name in tags if re.fullmatch(r"v\d+", name)]
    named = next((name for name, at in tags.items() if at == commit), None)
    tag = tag or named or f"v{max(numbers, default=0) + 1}"
    if tag not in tags:
        HfApi().create_tag(repo, tag=tag, revision=commit)
    return tag


def _changes(folder: Path, remote: list) -> list:
    """The changes that give a repo with the files `remote` the content of `folder`."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.utils.sha import git_hash

    # The hub knows a large file by its SHA-256, a small one by git's hash.
    there = {file.rfilename: (file.lfs.sha256 if file.lfs else file.blob_id) for file in remote}
    changes, gone = [], there.keys() - {".gitattributes"}  # which the hub makes itself
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, content = path.relative_to(folder).as_posix(), path.read_bytes()
        gone -= {name}
        if there.get(name) not in (hashlib.sha256(content).hexdigest(), git_hash(content)):
            changes.append(CommitOperationAdd(path_in_repo=name, path_or_fileobj=path))
    return [*changes, *map(CommitOperationDelete, sorted(gone))]


def set_variable(space: str, key: str, value: str) -> None:
    """Sets an environment variable of a Space. Raises LandmarkError if the hub refuses."""
    from huggingface_hub import HfApi

    with _in_words(space, pushing=True):
        HfApi().add_space_variable(space, key, value)
