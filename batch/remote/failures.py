"""What went wrong at an address, in plain words.

obstore words its errors for who wrote it, with addresses and answers in them that may have keys: nothing of these texts
is shown but the status and the code of an answer.
"""

import re
from typing import Final

from batch.addresses import OBJECT_STORES, STORAGE_OPTION, Address

KEYS: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
"""The variables that most people set."""
MISSING: Final = "it does not exist: check the name"
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_FETCHING = re.compile(
    r"latest/api/token|computeMetadata|metadata/identity|token request|AssumeRole|security-credentials"
)
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName", "AccountNotFound"}
_BAD_KEYS = {
    "SignatureDoesNotMatch", "InvalidAccessKeyId", "AuthenticationFailed", "ExpiredToken", "InvalidToken",
    "TokenRefreshRequired", "InvalidAuthenticationInfo", "AuthorizationHeaderMalformed",
}  # fmt: skip
_BROKEN = ("body error", "kind: interrupted", "content-range header", "nocontentrange", "incompletebody")
_CHANGED = {"PreconditionFailed", "ConditionNotMet"}


class RemoteError(Exception):
    """Something could not be read or written at an address; `str()` of it is a sentence for a person."""

    def __init__(self, message: str, *, is_missing: bool = False) -> None:
        """Keep whether there is no object of the name."""
        super().__init__(message)
        self.is_missing = is_missing


def kind_of(scheme: str) -> str:
    """Return the cloud of a scheme: "s3", "gs" or "az"."""
    assert scheme in OBJECT_STORES, scheme  # noqa: S101 - others are refused before
    return {"s3a": "s3", "abfs": "az", "abfss": "az"}.get(scheme, scheme)


def in_words(error: BaseException, address: Address, doing: str) -> RemoteError:
    """Say what an error of obstore means; `doing`: "read" or "written"."""
    said, name = str(error), type(error).__name__
    found_code, found_status = _CODE.search(said), _STATUS.search(said)
    code, status = found_code[1] if found_code else "", found_status[1] if found_status else ""
    reason = _reason(said, name, code, status, address, doing)
    if reason is None:
        told = f" ({code or status})" if code or status else ""
        reason = f"it could not be {doing}{told}. Try again"
    return RemoteError(f"{address}: {reason}.", is_missing=reason == MISSING)


def _reason(said: str, name: str, code: str, status: str, address: Address, doing: str) -> str | None:
    kind = kind_of(address.scheme)
    how = f"Set {KEYS[kind]}, or give them with {STORAGE_OPTION}"
    told = f" ({code or status})" if code or status else ""
    if _FETCHING.search(said):
        return f"there are no keys for it here. {how}"
    if code in _NO_BUCKET or "specified bucket does not exist" in said:
        return f'there is no {"container" if kind == "az" else "bucket"} "{address.bucket}"'
    if code in _CHANGED or name == "PreconditionError" or status == "412":
        return "it was changed while it was copied. Run the same command again"
    if code in _BAD_KEYS or name == "UnauthenticatedError" or status == "401":
        return f"its keys are not accepted{told}. {how}"
    if name == "PermissionDeniedError" or code == "AccessDenied" or status == "403":
        return f"it may not be {doing} with these keys{told}. Ask for that permission, or give other keys"
    if "redirect" in said.lower() or status in ("301", "307", "308"):
        return f"the service sends elsewhere: the bucket lies in another region. Name it: {STORAGE_OPTION} region=…"
    if name == "FileNotFoundError" or status == "404":
        return MISSING
    if name in ("ValueError", "InvalidPathError"):
        return "this cannot be the name of an object: it has an empty part, or one of dots alone"
    if "Account must be specified" in said:
        return f"no account is named. Set AZURE_STORAGE_ACCOUNT_NAME, or give {STORAGE_OPTION} account_name=…"
    return _of_connection(said, status)


def _of_connection(said: str, status: str) -> str | None:
    if status.startswith("5") or status == "429":
        return f"the service does not answer as it should ({status}). Try again later"
    lower = said.lower()
    if "certificate" in lower:
        return "its certificate is not accepted (a company's own authority is named in SSL_CERT_FILE)"
    if "kind: timeout" in lower:
        return "the service does not answer in time. Try again later"
    if any(mark in lower for mark in _BROKEN):
        return "the connection broke off half-way, also when it was tried again"
    if "badscheme" in lower:
        return "the service would be reached without encryption, which is permitted by --allow-http HOST alone"
    if "parse(" in lower:
        return "what answers there is no such service: look at its address"
    if "error sending request" in lower or "kind: connect" in lower:
        return "the service cannot be reached: look at the network, and at the address of the service"
    return None
