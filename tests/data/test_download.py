import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.data import Dataset, File, download
from orchestrator.errors import UserError

CONTENT = bytes(range(256)) * 4000  # about 1 MB


def dataset_at(url: str, content: bytes = CONTENT, size: int = len(CONTENT)) -> Dataset:
    file = File("data.bin", url + "data.bin", hashlib.sha256(content).hexdigest(), size)
    return Dataset("far", "classification", "csv", (file,), "none")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)


def test_a_file_comes_whole_and_progress_is_told(server, tmp_path):
    server.files["data.bin"] = CONTENT
    seen = []
    paths = download.fetch(dataset_at(server.url), tmp_path, lambda *told: seen.append(told))
    assert paths == {"data.bin": tmp_path / "data.bin"}
    assert paths["data.bin"].read_bytes() == CONTENT
    assert seen[-1] == ("data.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]


def test_a_file_that_is_here_is_not_asked_for(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(CONTENT)
    download.fetch(dataset_at(server.url), tmp_path)
    assert server.asked == []


def test_a_damaged_file_is_brought_again(server, tmp_path):
    server.files["data.bin"] = CONTENT
    (tmp_path / "data.bin").write_bytes(CONTENT[:-1] + b"?")
    download.fetch(dataset_at(server.url), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_what_an_earlier_run_left_is_resumed(server, tmp_path):
    server.files["data.bin"] = CONTENT
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:700_000])
    download.fetch(dataset_at(server.url), tmp_path)
    assert server.asked == ["bytes=700000-"]
    assert server.sent == len(CONTENT) - 700_000
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), 0])
def test_a_broken_connection_is_resumed_where_it_broke(server, tmp_path, size):
    server.files["data.bin"] = CONTENT
    server.break_after = [300_000, 400_000]
    download.fetch(dataset_at(server.url, size=size), tmp_path)
    assert server.asked == [None, "bytes=300000-", "bytes=700000-"]
    assert server.sent == len(CONTENT)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_all_again(server, tmp_path):
    server.files["data.bin"] = CONTENT
    server.ranges = False
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:700_000])
    download.fetch(dataset_at(server.url), tmp_path)
    assert server.sent == len(CONTENT)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"of another version", CONTENT + b"more", b"?" * len(CONTENT)])
def test_a_part_of_another_file_is_thrown_away(server, tmp_path, left):
    server.files["data.bin"] = CONTENT
    (tmp_path / "data.bin.part").write_bytes(left)
    download.fetch(dataset_at(server.url), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("served", [b"?" * len(CONTENT), CONTENT + b"more"])
def test_a_wrong_checksum_is_refused_and_the_file_gone(server, tmp_path, served):
    server.files["data.bin"] = served
    with pytest.raises(UserError, match=r"data\.bin: wrong checksum.* it should be [0-9a-f]{64}$"):
        download.fetch(dataset_at(server.url), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    server.files["data.bin"] = CONTENT
    server.failures = [503, 429]
    download.fetch(dataset_at(server.url), tmp_path)
    assert len(server.asked) == 3


def test_a_missing_file_is_one_clear_line_at_once(server, tmp_path):
    with pytest.raises(UserError, match=r"data\.bin: cannot be downloaded \(404") as error:
        download.fetch(dataset_at(server.url), tmp_path)
    assert len(server.asked) == 1
    assert "\n" not in str(error.value) and "ORCHESTRATOR_DATA_MIRROR" in str(error.value)


def test_giving_up_keeps_what_came(server, tmp_path):
    server.files["data.bin"] = CONTENT
    server.break_after = [1000] * download.ATTEMPTS
    with pytest.raises(UserError, match=f"{1000 * download.ATTEMPTS} of {len(CONTENT)} bytes are here"):
        download.fetch(dataset_at(server.url), tmp_path)
    download.fetch(dataset_at(server.url), tmp_path)
    assert server.sent == len(CONTENT)


def test_nobody_answers(tmp_path):
    with pytest.raises(UserError, match="cannot be downloaded"):
        download.fetch(dataset_at("http://127.0.0.1:9/"), tmp_path)


def mirror_at(folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = folder / "mirror" / "far" / "data.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    monkeypatch.setenv("ORCHESTRATOR_DATA_MIRROR", str(folder / "mirror"))
    return path


def test_the_mirror_is_looked_into_first(server, tmp_path, monkeypatch):
    mirror_at(tmp_path, CONTENT, monkeypatch)
    paths = download.fetch(dataset_at(server.url), tmp_path / "raw")
    assert paths["data.bin"].read_bytes() == CONTENT
    assert server.asked == []


def test_what_the_mirror_lacks_is_downloaded(server, tmp_path, monkeypatch):
    server.files["data.bin"] = CONTENT
    mirror_at(tmp_path, CONTENT, monkeypatch).unlink()
    download.fetch(dataset_at(server.url), tmp_path / "raw")
    assert len(server.asked) == 1


def test_a_wrong_file_in_the_mirror_is_refused_and_left_there(server, tmp_path, monkeypatch):
    path = mirror_at(tmp_path, b"something else", monkeypatch)
    with pytest.raises(UserError, match="wrong checksum"):
        download.fetch(dataset_at(server.url), tmp_path / "raw")
    assert path.exists() and list((tmp_path / "raw").iterdir()) == []


def test_a_file_of_two_data_sets_is_downloaded_once(tmp_path, server):
    content = b"0,1\n"
    server.files["a.csv"] = content
    file = File("a.csv", server.url + "a.csv", hashlib.sha256(content).hexdigest(), len(content))
    one = Dataset("one", "classification", "csv", (file,), "none")
    two = replace(one, name="two", files=(replace(file, shared_with="one"),))
    paths = [download.fetch(dataset, tmp_path / "raw" / dataset.name)["a.csv"] for dataset in (one, two)]
    assert paths[0] == paths[1] == tmp_path / "raw" / "one" / "a.csv"
    assert len(server.asked) == 1
