"""Buckets that are not public: read with published keys, which may do nothing else.

rclone checks signatures, with a read-only server beside the writable one; moto checks an IAM user's
policy, as AWS does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from store_kit import read, reason
from store_servers import KEYS, OTHER_KEYS, Place, moto_place

from benchmarks.servers import serve_rclone
from boltzmann.errors import ConfigError
from boltzmann.privacy import shown
from boltzmann.protocol.commitment import Commitment, Role, decode
from boltzmann.protocol.readkeys import ReadKeys
from boltzmann.protocol.rejection import Reason
from boltzmann.store.s3 import S3Store

READ = ReadKeys("eu-west-3", "the-read-key", "a/secret+with=signs")
BUCKET = "private"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """`endpoint`: takes writes; `public`: read-only, and wants the read key's signature."""
    folder = tmp_path_factory.mktemp("private")
    with ExitStack() as stack:
        endpoint, readers = (
            stack.enter_context(serve_rclone(folder, options))
            for options in (
                [f"--auth-key={','.join(KEYS)}"],
                ["--read-only", "--dir-cache-time=0s", f"--auth-key={READ.key_id},{READ.secret}"],
            )
        )
        yield Place(endpoint, readers)


@pytest.fixture
def store(signed: Place) -> S3Store:
    store = S3Store(
        *(signed.endpoint, BUCKET, *KEYS),
        public_url=f"{signed.public}/{BUCKET}",
        read_keys=READ,
    )
    store.ensure_bucket()
    return store


def test_a_peer_reads_by_the_record_on_chain(store: S3Store, signed: Place, tmp_path: Path) -> None:
    store.put("run/1/delta", b"work")
    record = decode(Commitment(Role.MINER, "run", store.address).encode())
    assert record is not None
    peer = S3Store(signed.endpoint, "another", *OTHER_KEYS)
    assert peer.get(record.bucket, "run/1/delta", max_bytes=99, seconds=20) == b"work"
    absent = peer.get(record.bucket, "run/1/nothing", max_bytes=99, seconds=20)
    assert reason(absent) is Reason.ABSENT
    refused = peer.download(
        record.bucket, "run/1/delta", tmp_path / "delta", exact_bytes=4, seconds=20
    )
    assert refused is None
    assert (tmp_path / "delta").read_bytes() == b"work"


@pytest.mark.parametrize(
    "keys",
    [
        None,
        ReadKeys(READ.region, READ.key_id, "another-secret"),
        ReadKeys(READ.region, "another-key", READ.secret),
    ],
)
def test_nobody_reads_without_the_keys(
    store: S3Store, signed: Place, keys: ReadKeys | None
) -> None:
    store.put("run/1/delta", b"work")
    plain = f"{signed.public}/{BUCKET}"
    address = plain if keys is None else keys.within(plain)
    refused = store.get(address, "run/1/delta", max_bytes=99, seconds=20)
    assert reason(refused) is Reason.UNREACHABLE
    assert "status 4" in str(refused)


def test_the_start_up_check_reads_with_the_published_keys(store: S3Store, signed: Place) -> None:
    store.check()
    assert not store.facts().open_to_all
    wrong = S3Store(
        *(signed.endpoint, BUCKET, *KEYS),
        public_url=f"{signed.public}/{BUCKET}",
        read_keys=ReadKeys(READ.region, READ.key_id, "hidden-secret"),
    )
    with pytest.raises(ConfigError, match="let its read key get objects there") as refused:
        wrong.check()
    assert "hidden-secret" not in str(refused.value)
    assert READ.secret not in repr(store)
    assert "secret" not in shown(store.address)


def test_published_keys_that_can_write_are_refused(signed: Place) -> None:
    endpoint = S3Store(*(signed.endpoint, BUCKET, *KEYS), read_keys=ReadKeys("us-east-1", *KEYS))
    endpoint.ensure_bucket()
    with pytest.raises(ConfigError, match="may write and remove objects") as refused:
        endpoint.check()
    assert KEYS[1] not in str(refused.value)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Callable[[list[str]], S3Store]]:
    """A store whose read key may do what it is told, on a server that asks IAM."""
    with moto_place(tmp_path) as place:
        yield lambda actions: _guarded(place, actions)


def _client(place: Place, service: str, *keys: str) -> Any:
    access, secret = keys or ("root", "root")
    return boto3.session.Session().client(
        service,
        endpoint_url=place.endpoint,
        region_name="us-east-1",
        aws_access_key_id=access,
        aws_secret_access_key=secret,
    )


def _user(iam: Any, name: str, actions: list[str]) -> tuple[str, str]:
    iam.create_user(UserName=name)
    statement = {
        "Effect": "Allow",
        "Action": actions,
        "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


def _guarded(place: Place, actions: list[str]) -> S3Store:
    iam = _client(place, "iam")
    _client(place, "s3").create_bucket(Bucket=BUCKET)
    writer = _user(iam, "node", ["s3:*"])
    reader = _user(iam, "reader", actions)
    # From here on the server asks for permission.
    ask = Request(
        f"{place.endpoint}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}, method="POST"
    )
    urlopen(ask, timeout=20).close()
    return S3Store(place.endpoint, BUCKET, *writer, read_keys=ReadKeys("us-east-1", *reader))


def test_a_policy_that_only_reads_is_taken(aws: Callable[[list[str]], S3Store]) -> None:
    store = aws(["s3:GetObject"])
    store.check()
    store.put("run/1/delta", b"work")
    assert read(store, "run/1/delta") == b"work"


@pytest.mark.parametrize(
    ("action", "powers"), [("s3:PutObject", "write"), ("s3:DeleteObject", "remove")]
)
def test_a_policy_that_does_more_is_named(
    aws: Callable[[list[str]], S3Store], action: str, powers: str
) -> None:
    with pytest.raises(ConfigError, match=f"may {powers} objects of"):
        aws(["s3:GetObject", action]).check()


def test_an_endpoint_that_holds_keys_is_refused() -> None:
    for address in ("http://auto:key:hidden@127.0.0.1:9", "http://key:hidden@127.0.0.1:9"):
        with pytest.raises(ConfigError, match="keys") as refused:
            S3Store(address, BUCKET, *KEYS)
        assert "hidden" not in str(refused.value)
