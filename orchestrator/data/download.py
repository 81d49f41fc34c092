"""Files by address: resumed where they broke off, verified, kept under their names only when whole.

`requests` and not urllib, because it brings certifi's certificates (a fresh Python on macOS has none) and
reads proxies and redirects as users expect; it is installed with MLflow in any case.
"""

import hashlib
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data.dataset import Dataset, File
from orchestrator.errors import UserError

if TYPE_CHECKING:
    import requests

Progress = Callable[[str, int, int], None]  # file, bytes done, bytes in all (0 where not known)

MIRROR = "ORCHESTRATOR_DATA_MIRROR"  # a folder laid out <data set>/<file>, looked into before any address
ATTEMPTS = 4  # connections per file; each goes on where the one before broke off
TIMEOUT = (10, 60)  # seconds to connect, and between two bytes
CHUNK = 1 << 18


class Broken(Exception):
    """The connection ended before the file did; what has come is kept."""


def source_hashes(dataset: Dataset) -> dict[str, str]:
    """The sha256 of each file of a data set: the catalog's, or for a user's own file that of its bytes now."""
    hashes = {}
    for file in dataset.files:
        found = file.sha256 if file.url else sha256(own_file(dataset, file))
        if file.sha256 and found != file.sha256:
            raise UserError(f"{own_file(dataset, file)}: its sha256 is {found}, the entry says {file.sha256}")
        hashes[file.name] = found
    return hashes


def own_file(dataset: Dataset, file: File) -> Path:
    """The path of a user's own file; UserError where there is none."""
    path = dataset.own[file.name]
    if path.is_dir():
        raise UserError(f"{dataset.name}: {path} is a folder; `file` names one CSV, Parquet or NPZ file")
    if not path.exists():
        raise UserError(f"{dataset.name}: there is no file {path} (`file` is relative to the pipeline's folder)")
    return path


def sha256(path: Path) -> str:
    """The sha256 of a file; UserError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def digest(file: File, path: Path) -> str:
    """The sha256 that `file.sha256` speaks of: of the bytes, or for an archive of `members` that of their list.

    The list is what the tool sha256sum writes of the unpacked members: "<sha256>  <folder>/<name>" a line, sorted.
    """
    if not file.members:
        return sha256(path)
    lines = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.name.endswith(file.members) else None
                if content is not None:
                    name = "/".join(member.name.split("/")[-2:])
                    lines.append(f"{hashlib.sha256(content.read()).hexdigest()}  {name}\n")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        return f"unknown, the archive is damaged ({_short(error)})"
    return hashlib.sha256("".join(sorted(lines, key=lambda line: line.split()[1])).encode()).hexdigest()


def fetch(dataset: Dataset, folder: Path, progress: Progress | None = None) -> dict[str, Path]:
    """The paths of a data set's files, downloaded into `folder` (or copied from the mirror) where they have to be.

    A file shared with another data set goes to that one's folder, beside this.

    UserError for a wrong checksum, in which case the bad file is gone, and for an address that does not
    answer, in which case what came so far is kept for the next time.
    """
    paths = {}
    for file in dataset.files:
        if file.url.startswith("sklearn:"):
            continue
        if file.url:
            path = folder.with_name(file.shared_with or folder.name) / file.name
            _bring(dataset, file, path, progress or _silent)
        paths[file.name] = path if file.url else own_file(dataset, file)
    return paths


def _silent(name: str, done: int, total: int) -> None:
    pass


def _bring(dataset: Dataset, file: File, path: Path, progress: Progress) -> None:
    if path.is_file():
        if digest(file, path) == file.sha256:
            return
        path.unlink()  # damaged since: bring it again
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    mirror = os.environ.get(MIRROR)
    copy = Path(mirror) / (file.shared_with or dataset.name) / file.name if mirror else None
    if copy and copy.is_file():
        shutil.copyfile(copy, part)
        progress(file.name, part.stat().st_size, file.bytes)
        _verify(file, part, str(copy))
    elif file.url.startswith("mirror:"):
        made_from = file.url.partition(":")[2]
        raise UserError(
            f"{dataset.name}: no public address serves {file.name}, made from {made_from}; set {MIRROR} to a folder "
            f"that has it as {dataset.name}/{file.name}, or put it at {path}"
        )
    else:
        resumed = part.is_file() and part.stat().st_size > 0
        try:
            _download(file, part, progress)
            _verify(file, part, file.url)
        except UserError:
            # What a former run left may be of another version of the file; only a whole download is proof.
            if not resumed or part.exists():
                raise
            _download(file, part, progress)
            _verify(file, part, file.url)
    os.replace(part, path)


def _verify(file: File, part: Path, where: str) -> None:
    found = digest(file, part)
    if found != file.sha256:
        part.unlink()
        raise UserError(
            f"{where}: wrong checksum, the file was refused and deleted here; its sha256 is {found}, "
            f"it should be {file.sha256}"
        )


def _download(file: File, part: Path, progress: Progress) -> None:
    import requests

    wait, reason = 0.5, ""
    with requests.Session() as session:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(wait)
                wait *= 2
            try:
                return _continue(session, file, part, progress)
            except (requests.ConnectionError, requests.Timeout, Broken) as error:
                reason = _short(error)
            except requests.RequestException as error:
                reason = _short(error)
                break
    done = part.stat().st_size if part.exists() else 0
    raise UserError(
        f"{file.url}: cannot be downloaded ({reason}); {done} of {file.bytes or 'unknown'} bytes are here, "
        f"the same command goes on from there; or set {MIRROR} to a folder that has the file"
    )


def _continue(session: "requests.Session", file: File, part: Path, progress: Progress) -> None:
    """Ask for what is missing of `part` and append it."""
    import urllib3

    done = part.stat().st_size if part.exists() else 0
    if file.bytes and done == file.bytes:
        return
    if file.bytes and done > file.bytes:  # longer than the file itself: not a beginning of it
        part.unlink()
        done = 0
    # identity: a range of a compressed transfer would be of other bytes than the file's.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with session.get(file.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:
            part.unlink(missing_ok=True)
            raise Broken("the part of an earlier download did not fit")
        if response.status_code in (408, 429) or response.status_code >= 500:
            raise Broken(f"the server answered {response.status_code} {response.reason}")
        response.raise_for_status()
        range_given = response.headers.get("Content-Range", "")
        if response.status_code != 206:
            done = 0  # a server without ranges sends all of it again
        elif not range_given.startswith(f"bytes {done}-"):
            part.unlink(missing_ok=True)
            raise Broken(f"the server gave another range ({range_given}) than asked for")
        total = done + int(response.headers.get("Content-Length", 0)) or file.bytes
        with open(part, "ab" if done else "wb") as out:
            try:
                for chunk in response.raw.stream(CHUNK, decode_content=False):
                    out.write(chunk)
                    done += len(chunk)
                    progress(file.name, done, file.bytes or total)
                    if file.bytes and done > file.bytes:
                        break  # more than the file holds: the checksum will refuse it
            except urllib3.exceptions.HTTPError as error:
                raise Broken(_short(error)) from error
    if done < (file.bytes or total):
        raise Broken("the connection ended early")


def _short(error: Exception) -> str:
    """One line of an error that may carry a chain of others."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
