"""Addresses: told from paths, taken apart, and shown without what may be a key."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.addresses import HIDDEN, Address, is_address, name_of, named, shown, shown_words
from batch.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.example/x/y.csv", "https://a.example/x/y.csv"),
        ("https://a.example/y.csv?sig=SECRET#SECRET", "https://a.example/y.csv?…"),
        ("https://user:SECRET@a.example:8443/y.csv", "https://a.example:8443/y.csv"),
        ("https://user:SEC@RET@a.example/y.csv", "https://a.example/y.csv"),
        ("https://user:SEC/RET@a.example/y.csv", "https://…"),
        ("https://user:SEC?RET@a.example/y.csv", "https://…"),
        ("https://[::1]:80/y.csv", "https://[::1]:80/y.csv"),
        ("s3://bucket/in/y.csv?SECRET", "s3://bucket/in/y.csv?…"),
        ("s3:/bucket/y.csv?SECRET", "s3:/bucket/y.csv?…"),
        ("s3://KEY:SECRET@bucket/y.csv", "s3://bucket/y.csv"),
        ("abfss://c@acc.dfs.core.windows.net/y.csv", "abfss://c@acc.dfs.core.windows.net/y.csv"),
        ("s3://bucket/a#b.csv", "s3://bucket/a#b.csv"),
        ("sheet.csv", "sheet.csv"),
        ("what?.csv", "what?.csv"),
        ("{a.csv,https://user:SECRET@a.example/y.csv?SECRET}", "{a.csv,https://a.example/y.csv?…"),
    ],
)
def test_shown(text: str, expected: str) -> None:
    """What follows the ?, and who opens it, is in nothing that is shown."""
    assert expected == shown(text)


@given(st.text(), st.text(min_size=1).map(lambda text: f"SECRET{text}"), st.sampled_from(["https", "s3", "hdfs", "az"]))
def test_no_query_is_shown(path: str, secret: str, scheme: str) -> None:
    """Whatever an address is made of, nothing behind its first ? is shown."""
    path = path.replace("SECRET", "")
    assert "SECRET" not in shown(f"{scheme}://a.example/{path}?{secret}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("s3://b", True), ("s3:/b", True), ("HTTPS://b", True), ("gcs+x://b", True), ("C:/b", False), ("C:\\b", False),
     ("a/b.csv", False), ("-", False), ("a: b.csv", False), ("", False), ("file://", True)],
)  # fmt: skip
def test_is_address(text: str, expected: bool) -> None:
    """An address is told by how it begins; a drive of Windows is none."""
    assert expected is is_address(text)


def test_words_of_a_command() -> None:
    """Of a command that is shown no key is left."""
    words = [
        "update", "https://a.example/x.csv?SECRET", "--storage-option", "key=SECRET", "--storage-option=token=SECRET",
        "--out=az://c/runs?SECRET", "--map", "Cust#=id",
    ]  # fmt: skip
    told = [
        "update", "https://a.example/x.csv?…", "--storage-option", "key=…", "--storage-option=token=…",
        "--out=az://c/runs?…", "--map", "Cust#=id",
    ]  # fmt: skip
    assert told == shown_words(words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.example/x/customers%20new.csv?SECRET", "customers new.csv"),
        ("https://a.example", "a.example"),
        ("https://a.example/..%2F..%2Fetc%2Fpasswd", "_.._etc_passwd"),
        ("s3://bucket/in/", "in"),
        ("s3://bucket/in/..", "input"),
        ("s3://bucket/" + "x" * 300 + ".csv", "x" * 96 + ".csv"),
        ("s3://bucket/a%20b.csv", "a_20b.csv"),
        ("x/y.csv", "y.csv"),
    ],
)
def test_name(text: str, expected: str) -> None:
    """The last part is a name that any disk takes, and leads to no other folder."""
    assert expected == name_of(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ftp://a.example/x.csv?SECRET", "--out ftp://a.example/x.csv?…: ftp:// is not known. "),
        (str(Path("s3://bucket/x.csv")), "--out s3:/bucket/x.csv: this is an address that lost a slash"),
        ("s3:///x.csv", "--out s3:///x.csv: this address names no bucket."),
        ("az://c/x.csv?sv=SECRET", "--out az://c/x.csv?…: this address has a ? or a user name in it. "),
        ("s3://KEY:SECRET@b/x.csv", "--out s3://b/x.csv: this address has a ? or a user name in it. "),
        ("https://a.example/x.csv?…", "--out https://a.example/x.csv?…: what followed the ? is not shown. "),
        ("https:///x.csv", "--out https:///x.csv: this address cannot be read"),
        ("https://a.example:x/y", "--out https://…: this address cannot be read"),
        ("https://a.example/x y", "--out https://a.example/x y: this address cannot be read"),
    ],
)
def test_refused(text: str, said: str) -> None:
    """An address that cannot be used is refused in words, without its keys."""
    with pytest.raises(SettingsError) as caught:
        Address.parse(text, "--out ")
    assert str(caught.value).startswith(said)
    assert "SECRET" not in str(caught.value)


def test_parts() -> None:
    """Bucket and key are what the address says, letter for letter."""
    one = Address.parse("S3://bucket/a%20b/ c#d.csv", "")
    assert ("s3", "s3://bucket", "bucket", "a%20b/ c#d.csv") == (one.scheme, one.store, one.bucket, one.key)
    two = Address.parse("abfss://c@acc.dfs.core.windows.net/x/*.csv", "")
    assert ("c", True, "abfss://c@acc.dfs.core.windows.net") == (two.bucket, two.is_pattern, two.store)
    assert "SECRET" not in repr(Address.parse("https://a.example/x?SECRET", ""))
    assert HIDDEN in str(Address.parse("https://a.example/x?SECRET", ""))
    assert "s3://b/x" == named(Path("s3://b/x"))
