"""A shard: one of N parts into which the records of an input are split, so that several starts share its work.

Promises: which shard a record is in depends on its id (or key), on N and on nothing else, on every machine and in every
version, so that every row of one record is in one shard.
"""

import re
from dataclasses import dataclass
from typing import Final, Self
from zlib import crc32

MOST: Final = 10_000
FORM: Final = "it should be K/N, such as 3/16, with K from 1 to N"


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `number` of `count`, counted from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `3/16`; raises ValueError with what it should be."""
        found = re.fullmatch(r"\s*(\d{1,5})\s*/\s*(\d{1,5})\s*", text, re.ASCII)
        if not found:
            raise ValueError(FORM)
        number, count = int(found[1]), int(found[2])
        if number == 0 and count:
            raise ValueError(f"shards are counted from 1: the first is 1/{count}, the last {count}/{count}")
        if number > count:
            raise ValueError(FORM)
        if count > MOST:
            raise ValueError(f"there can be {MOST:,} shards at most")
        return cls(number, count)

    def has(self, key: str) -> bool:
        """Return whether what has this key is in the shard.

        The CRC-32 of its UTF-8, scrambled by Fibonacci hashing (Knuth, TAOCP 6.4), and scaled to N.
        """
        scrambled = crc32(key.encode("utf-8", "surrogatepass")) * 2_654_435_761 & 0xFFFF_FFFF
        return scrambled * self.count >> 32 == self.number - 1

    @property
    def folder(self) -> str:
        """The folder in which its runs lie, within the folder where runs go."""
        return f"shard-{self.number}-of-{self.count}"

    def __str__(self) -> str:
        """Spell it as the option does."""
        return f"{self.number}/{self.count}"


def is_shard_folder(name: str) -> bool:
    """Return whether a folder of this name is that of a shard."""
    return re.fullmatch(r"shard-\d{1,5}-of-\d{1,5}", name, re.ASCII) is not None
