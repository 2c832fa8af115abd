"""The downloader against a real server on the loopback interface, well and badly behaved."""

import hashlib
import json

import pytest

from lookahead_sk.datasets._download import PinnedRepository, git_blob_id

GSM8K = "compressed_data/test/GSM8k/Yi-1.5-34B-Chat.json.gz"
MATH = "compressed_data/test/MATH/Yi-1.5-34B-Chat.json.gz"


@pytest.fixture
def repository(server, tmp_path):
    return PinnedRepository(f"{server.url}/listing", server.url, tmp_path, n_retries=2, delay=0.0)


def part_of(repository, path):
    return repository.cache / f"{path}.part"


def begin(repository, path, content):
    """Leave a partial file as a run would that was stopped."""
    part = part_of(repository, path)
    part.parent.mkdir(parents=True)
    part.write_bytes(content)


def test_a_git_blob_id_is_the_one_git_computes(tmp_path):
    (tmp_path / "file").write_bytes(b"hello\n")
    # printf 'hello\n' | git hash-object --stdin
    assert git_blob_id(tmp_path / "file") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_files_arrive_unchanged_and_are_recorded(server, repository, clone):
    repository.ensure([GSM8K, MATH])
    manifest = json.loads((repository.cache / "manifest.json").read_text())
    for path in (GSM8K, MATH):
        content = (clone / path).read_bytes()
        assert (repository.cache / path).read_bytes() == content
        assert manifest["files"][path]["sha256"] == hashlib.sha256(content).hexdigest()
        assert not part_of(repository, path).exists()


def test_what_is_there_is_not_asked_for_again(server, repository):
    repository.ensure([GSM8K])
    server.requests.clear()
    repository.ensure([GSM8K])
    assert server.requests == []


def test_a_file_damaged_in_the_cache_is_fetched_again(server, repository, clone):
    repository.ensure([GSM8K])
    (repository.cache / GSM8K).write_bytes(b"damaged")
    assert repository.missing([GSM8K]) == [GSM8K]
    repository.ensure([GSM8K])
    assert (repository.cache / GSM8K).read_bytes() == (clone / GSM8K).read_bytes()


def test_a_connection_that_breaks_is_resumed_where_it_broke(server, repository, clone):
    server.break_after[GSM8K] = 100
    repository.ensure([GSM8K])
    assert server.requests_of(GSM8K) == [None, "bytes=100-"]
    assert (repository.cache / GSM8K).read_bytes() == (clone / GSM8K).read_bytes()


def test_a_later_run_resumes_what_an_earlier_one_left(server, repository, clone):
    begin(repository, GSM8K, (clone / GSM8K).read_bytes()[:50])
    repository.ensure([GSM8K])
    assert server.requests_of(GSM8K) == ["bytes=50-"]
    assert (repository.cache / GSM8K).read_bytes() == (clone / GSM8K).read_bytes()


def test_a_server_that_ignores_ranges_sends_the_file_from_the_start(server, repository, clone):
    server.ignores_range = True
    server.break_after[GSM8K] = 100
    repository.ensure([GSM8K])
    assert server.requests_of(GSM8K) == [None, "bytes=100-"]
    assert (repository.cache / GSM8K).read_bytes() == (clone / GSM8K).read_bytes()


def test_a_server_that_sends_another_range_is_not_believed(server, repository, clone):
    server.shifts_range = True
    server.break_after[GSM8K] = 100
    repository.ensure([GSM8K])
    assert server.requests_of(GSM8K) == [None, "bytes=100-", None]
    assert (repository.cache / GSM8K).read_bytes() == (clone / GSM8K).read_bytes()


@pytest.mark.parametrize("left", [b"of another file", b"longer than it can be" * 100])
def test_a_partial_file_that_does_not_belong_is_thrown_away(server, repository, clone, left):
    begin(repository, GSM8K, left)
    repository.ensure([GSM8K])
    assert (repository.cache / GSM8K).read_bytes() == (clone / GSM8K).read_bytes()


def test_content_that_does_not_match_is_never_kept(server, repository, clone):
    content = bytearray((clone / GSM8K).read_bytes())
    content[-1] ^= 1
    server.replaced[GSM8K] = bytes(content)
    with pytest.raises(OSError, match="has the git id"):
        repository.ensure([GSM8K])
    assert not (repository.cache / GSM8K).exists()
    assert not part_of(repository, GSM8K).exists()
    assert repository.missing([GSM8K]) == [GSM8K]


def test_a_file_that_stays_too_short_fails_and_keeps_what_came(server, repository, clone):
    server.replaced[GSM8K] = (clone / GSM8K).read_bytes()[:80]
    with pytest.raises(OSError, match="could not be downloaded"):
        repository.ensure([GSM8K])
    assert part_of(repository, GSM8K).read_bytes() == (clone / GSM8K).read_bytes()[:80]
    del server.replaced[GSM8K]
    repository.ensure([GSM8K])
    assert (repository.cache / GSM8K).read_bytes() == (clone / GSM8K).read_bytes()


def test_no_more_is_written_than_the_listing_announces(server, repository):
    server.replaced[GSM8K] = bytes(10**6)
    with pytest.raises(OSError, match="more than the"):
        repository.ensure([GSM8K])
    assert not part_of(repository, GSM8K).exists()


def test_a_missing_file_fails_at_once(server, repository):
    server.statuses[GSM8K] = [404, 404, 404]
    with pytest.raises(OSError, match="404"):
        repository.ensure([GSM8K])
    assert len(server.requests_of(GSM8K)) == 1


def test_a_server_that_is_busy_is_asked_again(server, repository):
    server.statuses[GSM8K] = [503, 429]
    repository.ensure([GSM8K])
    assert len(server.requests_of(GSM8K)) == 3


def test_after_the_last_retry_the_failure_is_told(server, repository):
    server.statuses["listing"] = [500] * 3
    with pytest.raises(OSError, match=r"listing could not be downloaded.*500"):
        repository.ensure([GSM8K])


def test_files_before_a_failure_stay(server, repository):
    server.statuses[MATH] = [404]
    with pytest.raises(OSError, match="404"):
        repository.ensure([GSM8K, MATH])
    assert repository.missing([GSM8K, MATH]) == [MATH]


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (b"<html>", "did not answer with a git tree"),
        (b'{"tree": [{"type": "blob", "path": "a"}]}', "did not answer with a git tree"),
        (b'{"tree": [], "truncated": true}', "a part of the git tree only"),
        (b'{"tree": []}', "is not in the listing"),
        (
            b'{"tree": [{"type": "blob", "path": "%s", "sha": "0", "size": 99999999999}]}'
            % GSM8K.encode(),
            "more than the limit",
        ),
    ],
)
def test_a_listing_that_makes_no_sense_is_refused(server, repository, listing, message):
    server.replaced["listing"] = listing
    with pytest.raises(OSError, match=message):
        repository.ensure([GSM8K])
    assert server.requests_of(GSM8K) == []


def test_a_damaged_manifest_counts_as_none(server, repository):
    repository.ensure([GSM8K])
    (repository.cache / "manifest.json").write_text("{")
    assert repository.missing([GSM8K]) == [GSM8K]
    repository.ensure([GSM8K])
    assert repository.missing([GSM8K]) == []
    assert len(server.requests_of(GSM8K)) == 1  # the file itself was right
