"""How fast the page answers with a large sheet, and what memory it takes.

    python -m tests.benchmarks.page [ROWS]

It serves the page in a process of its own, uploads a workbook of ROWS rows (100,000; 50 MB with its long texts) as a
browser does, and takes it to step 4 against a sandbox without limits, at a rate that no API has. Beside the seconds
that went by stand those that the page's processors worked, which other programs of the machine hardly change. The
table stands in `batch/web/README.md`.
"""

import os
import random
import re
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import xlsxwriter

ROWS = 100_000
QUERIES = {
    "first page of the changes": "", "page 1,000 of the changes": "page=1000",
    "a search for one number": "q=555-0077777", "the same search, its page 2": "q=555-0077777&page=2",
    "a search that finds all": "q=name", "a search that finds nothing": "q=nobody+has+this",
}  # fmt: skip
COLUMNS = ("id", "name", "phone", "email", "website", "full_address.city")


def make_workbook(path: Path, rows: int) -> None:
    """Write a workbook whose texts do not pack well."""
    chance = random.Random(1)  # noqa: S311 - nothing secret
    letters = string.ascii_letters + string.digits
    with xlsxwriter.Workbook(str(path), {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        for column, header in enumerate((*COLUMNS, "Note")):
            sheet.write_string(0, column, header)
        for row in range(1, rows + 1):
            word = "".join(chance.choices(letters, k=12))
            texts = (str(10_000 + row), f"Name {word}", f"555-{row:07}", f"{word}@a.example", f"https://{word}.example")
            for column, text in enumerate((*texts, f"City {word}", "".join(chance.choices(letters, k=600)))):
                sheet.write_string(row, column, text)


class Window:
    """One window on the page, which another process serves."""

    def __init__(self, url: str, process: int) -> None:
        self.client = httpx.Client(follow_redirects=True, timeout=600)
        self.process = process
        self.base = str(self.client.get(url).url).rstrip("/")
        self.own = {"Origin": url.split("/?")[0], "Sec-Fetch-Site": "same-origin"}

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Print how long it takes, what the page worked for it, and the most memory that it had by then."""
        began, worked = time.perf_counter(), work_of(self.process)
        yield
        seconds, worked = time.perf_counter() - began, work_of(self.process) - worked
        print(f"| {what} | {seconds:.2f} s | {worked:.2f} s | {peak(self.process)} MB |", flush=True)  # noqa: T201 - a benchmark

    def ask(self, method: str, path: str, **options: object) -> httpx.Response:
        """Ask for something, which must be there."""
        answer = self.client.request(method, self.base + path, headers=self.own, **options)  # type: ignore[arg-type]  # what httpx takes
        assert answer.status_code == 200, answer.text
        return answer

    def wait(self, path: str, mark: str) -> None:
        """Wait until a page has something in it."""
        while mark not in (text := self.client.get(self.base + path).text):
            assert 'role="alert"' not in text, text
            time.sleep(0.5)  # as seldom as a page without scripts asks, more or less


def work_of(process: int) -> float:
    """The seconds that processors worked for a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak(process: int) -> int:
    """The most memory that a process had, in MB."""
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) // 1024 if found else 0


def main() -> None:
    """Measure all steps."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as home:
        path = Path(home, "large.xlsx")
        make_workbook(path, rows)
        words = [sys.executable, "-X", "utf8", "-m", "batch", "page", "--no-open"]
        place = {"HOME": home, "PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd()}
        config = Path(home, ".config", "batch", "config.toml")
        config.parent.mkdir(parents=True)
        config.write_text("max_per_second = 2000.0\n")
        sandbox = [*words[:5], "sandbox", "start", "--records", str(rows + 1_000), "--limits", "off"]
        subprocess.run(sandbox, env=place, check=True, capture_output=True)
        page = subprocess.Popen(words, env=place, stdout=subprocess.PIPE, text=True)
        assert page.stdout is not None
        try:
            window = Window(page.stdout.readline().strip(), page.pid)
            print(f"| {rows:,} rows, {path.stat().st_size >> 20} MB | time | work | memory |\n|---|---|---|---|")  # noqa: T201 - as above
            with window.timed("upload, until the next page"), path.open("rb") as file:
                data = {"account": "dualentry.customers|sandbox||"}
                answer = window.ask("POST", "/upload", data=data, files={"file": file})
            work = "/w/" + str(answer.url).split("/w/")[1].split("/")[0]
            with window.timed("then until the columns are shown"):
                window.wait(f"{work}/columns", '<table class="columns')
            with window.timed("from there until the problems are shown"):
                window.ask("POST", f"{work}/columns", data={"c6": "-"})
                window.wait(f"{work}/problems", "are ready")
            with window.timed("from there until the changes are shown"):
                window.ask("POST", f"{work}/changes")
                window.wait(f"{work}/changes", 'class="cells')
            for what, query in QUERIES.items():
                with window.timed(what):
                    window.ask("GET", f"{work}/changes?{query}")
        finally:
            page.terminate()
            page.communicate(timeout=60)
            subprocess.run([*words[:5], "sandbox", "stop"], env=place, check=False, capture_output=True)


if __name__ == "__main__":
    main()
