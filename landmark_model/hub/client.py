"""Hugging Face Hub client: fetch a repo, push a folder, card metadata. Owns huggingface_hub."""

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
from pathlib import Path

from landmark_model.config import LandmarkError

PATIENCE = 1.5  # seconds that a hub may take to name a commit where an older one is at hand
TAKEN = (
    "{repo} has a tag {tag} already, of other content. Tags never move: choose another, or leave "
    "it out for the next number."
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Pushed:
    """The result of a push. `changed` is False if the repo already held the same."""

    repo: str
    commit: str
    tag: str | None
    changed: bool
    pull_request: str | None = None

    def __str__(self) -> str:
        if not self.changed:
            at = f"commit {self.commit[:7]}" + (f", tag {self.tag}" if self.tag else "")
            return f"Nothing changed: {self.repo} already holds exactly this ({at})."
        if self.pull_request:
            return f"Proposed to {self.repo}: {self.pull_request}"
        if self.tag is None:
            return f"Published {self.repo} at commit {self.commit}."
        return (
            f"Published {self.repo}, tag {self.tag}, commit {self.commit}.\n"
            f"Use it: load({self.repo!r}, revision={self.tag!r})"
        )


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
    from huggingface_hub import HfApi, ResolvedRevision
    from huggingface_hub.errors import RevisionResolutionError

    def resolve(local: bool) -> ResolvedRevision:
        return HfApi().resolve_revision(
            repo, revision=revision, cache_dir=cache_dir, local_files_only=local
        )

    try:
        known = resolve(True)
    except RevisionResolutionError:
        return resolve(local_files_only)
    if local_files_only or known.resolved == revision:
        return known
    asked = _Asked(lambda: HfApi().repo_info(repo, revision=revision).sha)
    asked.join(PATIENCE)
    if asked.refusal is not None:
        raise asked.refusal
    if asked.commit is None:
        warnings.warn(
            f"The hub cannot be reached; using {repo} as downloaded earlier "
            f"(commit {known.resolved[:7]}).",
            stacklevel=2,
        )
    return known if asked.commit in (None, known.resolved) else resolve(False)


class _Asked(threading.Thread):
    """Asks a hub without making the caller wait: a dead network can block for a minute.

    `commit` is the answer, None where there is none yet; `refusal` says why there will be none.
    """

    def __init__(self, ask: Callable[[], str | None]) -> None:
        super().__init__(daemon=True)
        self.ask = ask
        self.commit: str | None = None
        self.refusal: Exception | None = None
        self.start()

    def run(self) -> None:
        """Keeps the answer; a hub that is down or cannot be reached gives none."""
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError

        with suppress(httpx2.TransportError):
            try:
                self.commit = self.ask()
            except HfHubHTTPError as error:
                # 429 is too many requests: as good as no answer, and no refusal.
                status = error.response.status_code
                self.refusal = error if status < 500 and status != 429 else None


@contextmanager
def _in_words(repo: str, revision: str | None = None, local: bool = False) -> Iterator[None]:
    """Turns the errors of the hub client into a LandmarkError that says what to do."""
    import httpx2
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
        RevisionResolutionError,
    )

    where = f"{repo} at {revision}" if revision else repo
    try:
        yield
    except HFValidationError as error:
        raise LandmarkError(
            f"{repo} is neither a folder nor the name of a hub repo (org/name). Check the spelling."
        ) from error
    except RepositoryNotFoundError as error:
        raise LandmarkError(
            f"There is no folder and no public hub repo {repo}. Check the spelling, or log in "
            "with `hf auth login` if it is private."
        ) from error
    except RevisionNotFoundError as error:
        raise LandmarkError(f"{repo} has no revision {revision}. Look at its tags.") from error
    except HfHubHTTPError as error:
        status, said = error.response.status_code, error.server_message
        raise LandmarkError(_refusal(repo, status, said)) from error
    except OSError as error:
        raise LandmarkError(_no_answer(where, error, local)) from error
    except (httpx2.TransportError, RevisionResolutionError) as error:
        raise LandmarkError(_no_answer(where, error, local)) from error


def _refusal(repo: str, status: int, said: str | None = None) -> str:
    """The message for a hub's refusal with an HTTP `status` and the words it `said`."""
    if status == 401:
        return f"The hub requires a login for {repo}. Run `hf auth login`, or set HF_TOKEN."
    if status == 403:
        return f"Your token does not allow this for {repo}. Create one with write access."
    if status in (409, 412):
        return f"Somebody else changed {repo} at the same time. Look at it, then run this again."
    why = f"{status}: {said}" if said else str(status)
    return f"The hub refused the request for {repo} ({why}). Fix that, or try again later."


def _no_answer(where: str, error: Exception, local: bool) -> str:
    """The message if the hub cannot be reached, or the disk is full."""
    if getattr(error, "errno", None) in FULL:
        return f"The disk is too full to download {where}. Make room, or give another cache_dir."
    if local:
        return (
            f"{where} is no folder here and was not downloaded from the hub before, and the hub is "
            "not to be asked (local_files_only, HF_HUB_OFFLINE). Check the path, or allow it once."
        )
    return (
        f"{where} is not a folder here, and the hub could not be reached. "
        "Check the path, or try again online."
    )


# --- push ---


def require_login(repo: str) -> None:
    """Raises LandmarkError if a push to `repo` would fail without a hub or a login."""
    from huggingface_hub import HfApi

    with _in_words(repo), _push_in_words(repo):
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
    a tag. Files of the repo that `folder` lacks are removed; earlier commits keep them.

    Where the same is there already nothing is changed. Cut off half-way, the repo is as before.
    Raises LandmarkError if the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _in_words(repo), _push_in_words(repo):
        sdk = {"space_sdk": "gradio"} if kind == "space" else {}
        api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True, **sdk)
        before = api.repo_info(repo, repo_type=kind, files_metadata=True)
        refs = api.list_repo_refs(repo, repo_type=kind).tags
        tags = {ref.name: ref.target_commit for ref in refs}
        changes = _changes(folder, before.siblings or [])
        if tag in tags and (changes or tags[tag] != before.sha):
            raise LandmarkError(TAKEN.format(repo=repo, tag=tag))
        commit, pull_request = before.sha, None
        if changes:
            done = api.create_commit(repo, changes, commit_message=f"Publish {kind}",
                                     repo_type=kind, parent_commit=before.sha,
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

    there = {file.rfilename: (file.lfs.sha256 if file.lfs else file.blob_id) for file in remote}
    here = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    added = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=path)
        for name, path in here.items()
        if there.get(name) not in _identities(path)
    ]
    # The hub makes .gitattributes itself.
    gone = there.keys() - here.keys() - {".gitattributes"}
    return [*added, *map(CommitOperationDelete, sorted(gone))]


def _identities(path: Path) -> tuple[str, str]:
    """The hub's identifiers of a file's content: SHA-256 if large, git's hash if small."""
    content = path.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return hashlib.sha256(content).hexdigest(), git.hexdigest()


def set_variable(space: str, key: str, value: str) -> None:
    """Sets an environment variable of a Space. Raises LandmarkError if the hub refuses."""
    from huggingface_hub import HfApi

    with _in_words(space), _push_in_words(space):
        HfApi().add_space_variable(space, key, value)


@contextmanager
def _push_in_words(repo: str) -> Iterator[None]:
    """Turns the other errors of a push into a LandmarkError."""
    import httpx2
    from huggingface_hub.errors import LocalTokenNotFoundError, RepositoryNotFoundError

    broken = (
        f"The hub cannot be reached, or the push to {repo} broke off. What was there is as it was; "
        "run the same command again."
    )
    try:
        yield
    except (LocalTokenNotFoundError, RepositoryNotFoundError) as error:
        raise LandmarkError(_refusal(repo, 401)) from error
    except httpx2.TransportError as error:
        raise LandmarkError(broken) from error
    except RuntimeError as error:  # of a large file, around the reason
        raise LandmarkError(broken) from error


# --- the card ---


def card_metadata(networks: list[tuple[str, dict]], library: str = "timm") -> str:
    """The YAML head of a model card, with the test scores of each (title, metrics).

    `library` is who else can load the network at the root.
    """
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="imagefolder",
            dataset_name=f"{metrics['training']['data']['name']} ({title})",
            dataset_config=title,  # the hub's client merges results that differ in less than this
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=round(metrics["test"][key], 4),
        )
        for title, metrics in networks
        for kind, name, key in (
            ("accuracy", "top-1", "top1"),
            ("top_5_accuracy", "top-5", "top5"),
        )
    ]
    data = ModelCardData(
        license="apache-2.0",
        library_name=library,
        pipeline_tag="image-classification",
        base_model=next((m["training"]["base_model"] for _, m in networks), "") or None,
        tags=["landmark-recognition", "image-classification", "timm"],
        datasets=["imagefolder"],
        metrics=["accuracy"],
        model_name="landmark-tagger",
        eval_results=results,
    )
    return f"---\n{data.to_yaml()}\n---"
