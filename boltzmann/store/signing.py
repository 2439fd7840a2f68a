"""The headers that let a private bucket's read keys get one object, as botocore signs them."""

from __future__ import annotations

from boltzmann.store.address import BucketAddress


def signature(address: BucketAddress, key: str) -> dict[str, str]:
    """AWS Signature Version 4 of a GET by now's clock; no headers for a public bucket.

    The secret itself is in none of them.
    """
    if address.keys is None:
        return {}
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest(
        "GET", address.service + address.path(key), headers={"Host": address.netloc}
    )
    credentials = Credentials(address.keys.key_id, address.keys.secret)
    S3SigV4Auth(credentials, "s3", address.keys.region).add_auth(request)
    return {name: value for name, value in request.headers.items() if name != "Host"}
