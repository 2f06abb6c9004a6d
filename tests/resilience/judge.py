"""What came of an attack, by the ledger of the sandbox: lost, twice, untrue."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.shell import Api, Shell, assert_balanced, results

RESUMES = 4


@dataclass
class Score:
    """The books of an attack: how many tries, and what they broke."""

    tries: int = 0
    killed: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)

    def line(self, name: str) -> str:
        """A row of the table of results."""
        counts = (self.tries, self.killed, len(self.lost), len(self.twice), len(self.untrue))
        return f"| {name} | " + " | ".join(map(str, counts)) + " |"


def judge(shell: Shell, api: Api, command: list[object], sheet: Path, score: Score, name: str) -> None:
    """Resume until the end, and hold what the program says against the ledger."""
    ids = [line.split(",")[0] for line in (shell.folder / sheet).read_text().splitlines()[1:]]
    code = -1
    for _ in range(RESUMES):
        code = shell.here(*command).code
        if code != 3:
            break
    folders = [one for one in shell.runs(f"{sheet.stem}.batch") if not one.name.startswith("plan-")]
    if code != 0 or not folders:
        score.lost.append(f"{name}: exit {code}")
        return
    assert_balanced(folders[-1])
    applied = Counter(one for one in api.applied() if one in set(ids))
    said = {
        line["id"]: line["outcome"]
        for folder in folders
        if (folder / "results.csv").exists()
        for line in results(folder)
    }
    score.lost += [f"{name}: {one}" for one in ids if said.get(one) not in ("updated", "unchanged")]
    score.untrue += [f"{name}: {one}" for one in ids if said.get(one) == "updated" and not applied[one]]
    score.twice += [f"{name}: {one}" for one in ids if applied[one] > 1]
