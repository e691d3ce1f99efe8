"""Artifacts that point at shards in a mounted folder or a store: checked before, never sent, and pulled again.

S3 is moto's server on the loopback interface; its tests were run with moto 5.2.5 and boto3 1.44.5.
"""

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb.util
from wandb_fixtures import served
from wandb_server import ENTITY, Server

import hazegen.cli
from hazegen import manifest, references, store_path
from hazegen.errors import StoreError, UsageError, VerifyError
from hazegen.publish import PublishOptions, build_artifact
from hazegen.pull import pull
from hazegen.references import check_reference, is_reference

needs_s3 = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("moto", "boto3", "flask")),
    reason="moto[server] and boto3 are not installed: pip install 'moto[server]' boto3",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("references")) as server:
        yield server


@pytest.fixture
def far(dataset: Path, tmp_path: Path) -> Path:
    """A mounted folder with a copy of the dataset."""
    return Path(shutil.copytree(dataset, tmp_path / "mounted folder" / "pairs"))


@pytest.fixture
def near(dataset: Path, tmp_path: Path) -> Path:
    """A dataset to be published, in a folder where W&B may put its files."""
    return Path(shutil.copytree(dataset, tmp_path / "near" / "pairs"))


def build(folder: Path, url: str) -> Any:
    known = manifest.load(folder)
    return build_artifact(folder, known, PublishOptions("haze", "far", reference=url))


def publish(folder: Path, url: str, name: str) -> int:
    words = ["publish", str(folder), "--project", "haze", "--name", name, "--reference", url, "--mode", "online"]
    return hazegen.cli.main(words)


def check_pulled(server: Server, name: str, near: Path, out: Path) -> None:
    """An artifact refers to all shards, sent none of them, and a pull brings them back to the byte."""
    (artifact,) = (item for item in server.artifacts if item.collection == name)
    known = manifest.load(near)
    refs = {key: value for key, value in artifact.entries.items() if "ref" in value}
    assert refs.keys() == {shard.name for shard in known.shards}
    assert {shard.name: shard.bytes for shard in known.shards} == {key: value["size"] for key, value in refs.items()}
    assert all(value["digest"] not in ("", value["ref"]) for value in refs.values()), "a checksum, not the address"
    assert artifact.entries.keys() - refs.keys() == {p.name for p in near.iterdir() if p.suffix != ".tfrecord"}
    assert not [request for request in server.requests if request.endswith(".tfrecord")]
    shards = [(near / shard.name).read_bytes() for shard in known.shards]
    assert not [body for body in server.bodies() if any(shard in body for shard in shards)]

    pulled = pull(f"wandb:{ENTITY}/haze/{name}:latest", out)
    assert (pulled.fetched, pulled.kept) == (len(known.shards), 0)
    for path in near.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert not (out / ".pull").exists()


# --- a mounted folder ---


def test_mounted_folder_is_referred_to_and_pulled(near: Path, far: Path, server: Server, tmp_path: Path) -> None:
    assert publish(near, str(far), "mounted") == 0
    (artifact,) = (item for item in server.artifacts if item.collection == "mounted")
    shard = manifest.load(near).shards[0].name
    assert artifact.entries[shard]["ref"] == f"{far.as_uri()}/{shard}"
    assert "%20" in artifact.entries[shard]["ref"]
    check_pulled(server, "mounted", near, tmp_path / "out")

    # Afterwards another file lies there, then none: a pull says so, and keeps nothing of it.
    content = (far / shard).read_bytes()
    (far / shard).write_bytes(content[::-1])
    with pytest.raises(VerifyError, match=rf"The shard at 'file:///.*/{shard}' cannot be used. Expected the file"):
        pull(f"wandb:{ENTITY}/haze/mounted:latest", tmp_path / "other")
    assert not (tmp_path / "other" / shard).exists()
    (far / shard).write_bytes(content)
    assert pull(f"wandb:{ENTITY}/haze/mounted:latest", tmp_path / "other").kept < len(manifest.load(near).shards)


def test_size_and_content_of_a_mounted_folder_are_checked(near: Path, far: Path) -> None:
    shard = manifest.load(near).shards[1]
    content = (far / shard.name).read_bytes()
    for other in (content[:-1], content + b"\0", content[:-1] + bytes([content[-1] ^ 1]), b""):
        (far / shard.name).write_bytes(other)
        with pytest.raises(
            VerifyError,
            match=rf"The shard at 'file:///.*/{shard.name}' is not that of the manifest. Expected '{shard.name}' of "
            rf"{shard.bytes} bytes and SHA-256 {shard.sha256[:12]}..., received no such file, or one with another "
            "SHA-256. Copy the dataset there again.",
        ):
            build(near, far.as_uri())
    (far / shard.name).unlink()
    with pytest.raises(VerifyError, match="is not that of the manifest"):
        build(near, str(far))
    (far / shard.name).mkdir()
    (far / shard.name / shard.name).write_bytes(content)
    with pytest.raises(VerifyError, match="is not that of the manifest"):
        build(near, str(far))


def test_refused_reference_sends_nothing(near: Path, far: Path, server: Server, capsys: Any) -> None:
    (far / manifest.load(near).shards[0].name).unlink()
    artifacts, runs = len(server.artifacts), len(server.runs)
    assert publish(near, str(far), "refused") == 5
    assert "Copy the dataset there again" in capsys.readouterr().err
    assert (len(server.artifacts), len(server.runs)) == (artifacts, runs)


# --- S3 ---


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 on the loopback interface that wandb finds by the environment."""
    import boto3
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_S3_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_MAX_ATTEMPTS": "1",
            "NO_PROXY": "127.0.0.1",
        }.items():
            patch.setenv(name, value)
        yield boto3.client("s3")
    moto.stop()


@pytest.fixture
def bucket(s3: Any, dataset: Path, tmp_path: Path) -> str:
    """A bucket with the dataset in its folder 'sets/pairs'."""
    name = f"bucket-{abs(hash(tmp_path)) % 10**9}"
    s3.create_bucket(Bucket=name)
    for path in dataset.glob("*.tfrecord"):
        s3.put_object(Bucket=name, Key=f"sets/pairs/{path.name}", Body=path.read_bytes())
    return name


@needs_s3
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_bucket_is_referred_to_and_pulled(near: Path, bucket: str, s3: Any, server: Server, tmp_path: Path) -> None:
    assert publish(near, f"s3://{bucket}/sets/pairs/", "bucket") == 0
    (artifact,) = (item for item in server.artifacts if item.collection == "bucket")
    shard = manifest.load(near).shards[0].name
    etag = s3.head_object(Bucket=bucket, Key=f"sets/pairs/{shard}")["ETag"].strip('"')
    assert artifact.entries[shard]["ref"] == f"s3://{bucket}/sets/pairs/{shard}"
    assert artifact.entries[shard]["digest"] == etag
    check_pulled(server, "bucket", near, tmp_path / "out")

    s3.put_object(Bucket=bucket, Key=f"sets/pairs/{shard}", Body=b"other")
    with pytest.raises(VerifyError, match=f"The shard at 's3://{bucket}/sets/pairs/{shard}' cannot be used"):
        pull(f"wandb:{ENTITY}/haze/bucket:latest", tmp_path / "other")
    assert not (tmp_path / "other" / shard).exists()


@needs_s3
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_size_content_and_name_in_a_bucket_are_checked(near: Path, bucket: str, s3: Any) -> None:
    known = manifest.load(near)
    shard, url = known.shards[0], f"s3://{bucket}/sets/pairs"
    key = f"sets/pairs/{shard.name}"
    content = (near / shard.name).read_bytes()
    assert {str(e.path) for e in build(near, url).manifest.entries.values() if e.ref} == {s.name for s in known.shards}

    s3.put_object(Bucket=bucket, Key=key, Body=content[:-1])
    with pytest.raises(VerifyError, match=rf"received \[\('{shard.name}', {shard.bytes - 1}\)\]. Copy the dataset"):
        build(near, url)
    s3.put_object(Bucket=bucket, Key=key, Body=content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        VerifyError, match=r"received the MD5 [0-9a-f]{32} and another SHA-256\. Copy the dataset there again"
    ):
        build(near, url)
    s3.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(VerifyError, match=r"is not that of the manifest. .*received \[\]. Copy the dataset"):
        build(near, url)
    for name in (f"{key}.bak", f"{key}/x", f"{key}0"):  # which a search by prefix finds
        s3.put_object(Bucket=bucket, Key=name, Body=content)
        with pytest.raises(VerifyError, match=f"'s3://{bucket}/{key}' (is not that of the manifest|cannot be used)"):
            build(near, url)
        s3.delete_object(Bucket=bucket, Key=name)
    s3.put_object(Bucket=bucket, Key=key, Body=b"")
    with pytest.raises(VerifyError, match="is not that of the manifest"):
        build(near, url)


@needs_s3
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_object_whose_etag_only_looks_like_an_md5_is_read(
    near: Path, bucket: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As S3 gives it where it encrypts with a key of KMS or the user's own; moto's is an MD5 in any case."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'hazegen[s3]'")
    refer = references._refer

    def encrypted(*given: Any) -> list[Any]:
        return [SimpleNamespace(path=e.path, size=e.size, digest="0" * 32) for e in refer(*given)]

    monkeypatch.setattr(references, "_refer", encrypted)
    store_path.forget_clients()
    shard, url = manifest.load(near).shards[0], f"s3://{bucket}/sets/pairs"
    build(near, url)
    content = (near / shard.name).read_bytes()
    s3.put_object(Bucket=bucket, Key=f"sets/pairs/{shard.name}", Body=content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(VerifyError, match=r"received the MD5 0{32} and another SHA-256"):
        build(near, url)
    store_path.forget_clients()


@needs_s3
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_object_of_several_parts_is_held_by_its_size(near: Path, bucket: str, s3: Any) -> None:
    """Its ETag is no MD5; what it holds shows when it is pulled."""
    shard = manifest.load(near).shards[0]
    key = f"sets/pairs/{shard.name}"
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    content = (near / shard.name).read_bytes()
    part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=content)
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload=parts)
    (entry,) = (e for e in build(near, f"s3://{bucket}/sets/pairs").manifest.entries.values() if e.path == shard.name)
    assert entry.digest.endswith("-1")


@needs_s3
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_store_that_does_not_answer(near: Path, bucket: str, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "The store did not tell of 's3://.*'. Expected the shard's size and content, received {}. Check the"
    with pytest.raises(StoreError, match=message.format("NoSuchBucket|ClientError")):
        build(near, "s3://no-such-bucket-here/sets")
    monkeypatch.setenv("AWS_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=message.format("EndpointConnectionError")):
        build(near, f"s3://{bucket}/sets/pairs")


@pytest.mark.parametrize(("scheme", "module"), [("s3", "boto3"), ("gs", "google.cloud.storage")])
def test_missing_library_names_the_extra(near: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, module: str) -> None:
    for name in (module, module.rpartition(".")[0]):
        if name:
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(wandb.util, "_not_importable", set())  # wandb remembers what is missing as long as it runs
    message = f"{scheme}:// needs a library that is not installed. Expected the extra '{scheme}'"
    with pytest.raises(UsageError, match=rf"{message}, received .* Run pip install 'hazegen\[{scheme}\]'."):
        build(near, f"{scheme}://bucket/pairs")


# --- addresses ---


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("/mnt/sets/pairs", "file:///mnt/sets/pairs"),
        ("/mnt/my sets/", "file:///mnt/my%20sets"),
        ("/mnt/a@b:c", "file:///mnt/a%40b%3Ac"),
        ("file:///mnt/pairs/", "file:///mnt/pairs"),
        ("s3://bucket/pairs", "s3://bucket/pairs"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("gs://my-bucket.example.org/a/b@2024/", "gs://my-bucket.example.org/a/b@2024"),
    ],
)
def test_address_is_taken(given: str, url: str) -> None:
    assert check_reference(given) == url


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ("pairs", "a relative path"),
        ("./pairs", "a relative path"),
        ("../pairs", "a relative path"),
        ("", "a relative path"),
        ("file:pairs", "a relative path"),
        ("s3:bucket/pairs", "a relative path"),
        ("file://", "a relative path"),
        ("file://host/share", "one of scheme 'file'"),
        ("file://pairs", "one of scheme 'file'"),
        ("http://host/pairs", "one of scheme 'http'"),
        ("https://host/pairs", "one of scheme 'https'"),
        ("ftp://host/pairs", "one of scheme 'ftp'"),
        ("S3://bucket/pairs", "one of scheme 'S3'"),
        ("wandb-artifact://id/pairs", "one of scheme 'wandb-artifact'"),
        ("s3:///pairs", "one of scheme 's3'"),
        ("s3://bucket/pairs?versionId=3", "one of scheme 's3'"),
        ("s3://bucket/pairs#part", "one of scheme 's3'"),
        ("s3://bucket:9000/pairs", "one of scheme 's3'"),
        ("s3://[bucket/pairs", "one of scheme 's3'"),
    ],
)
def test_address_is_refused(given: str, received: str) -> None:
    with pytest.raises(UsageError, match=f"The reference cannot be used. Expected .* received {received}. Change"):
        check_reference(given)


@pytest.mark.parametrize(
    "given",
    [
        "s3://AKIAKEY:hunter2@bucket/pairs",
        "s3://hunter2@bucket/pairs",
        "gs://user:hunter2@bucket",
        "s3://user:hun/hunter2@bucket/pairs",
        "s3://user:hunter2?x=@bucket/pairs",
        "https://user:hunter2@host/pairs",
        "user:hunter2@host:/pairs",
        "file://hunter2@host/pairs",
    ],
)
def test_user_information_is_refused_and_not_repeated(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["publish", "nowhere", "--project", "haze", "--name", "far", "--reference", given]
    assert hazegen.cli.main(words) == 2
    printed = "".join(capsys.readouterr())
    assert "The reference holds user information. Expected a URL without it, as s3://bucket/folder" in printed
    assert "Give the store its credentials by its own means." in printed
    assert "hunter2" not in printed
    assert "AKIAKEY" not in printed


def test_only_plain_shards_may_be_referred_to(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"abc")
    assert is_reference(path.as_uri(), "a.tfrecord", 3)
    assert is_reference("s3://bucket/x/a.tfrecord", "a.tfrecord", 3)
    assert not is_reference(path.as_uri(), "a.tfrecord", 4)
    assert not is_reference(path.as_uri(), "b.tfrecord", 3)
    assert not is_reference("file:///dev/zero", "zero", 0)
    (tmp_path / "zero.tfrecord").symlink_to("/dev/zero")
    assert not is_reference((tmp_path / "zero.tfrecord").as_uri(), "zero.tfrecord", 0)
    for url in ("http://host/a.tfrecord", "https://host/a.tfrecord", "a.tfrecord", "/a.tfrecord", "s3://[/a.tfrecord",
                "wandb-artifact://id/a.tfrecord", "ftp://host/a.tfrecord", "s3://bucket/xa.tfrecord"):  # fmt: skip
        assert not is_reference(url, "a.tfrecord", 3)


def test_stores_are_asked_for_one_shard_at_a_time(tmp_path: Path) -> None:
    """wandb keeps the target of a download without a cache in one place for all threads."""
    held: list[bool] = []

    def download(**_: object) -> None:
        held.append(references._ONE_AT_A_TIME.locked())

    references.fetch_reference(SimpleNamespace(path="a", ref="s3://b/a", download=download), tmp_path)
    assert held == [True]
