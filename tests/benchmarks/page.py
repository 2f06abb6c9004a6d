"""How fast the page answers with a large sheet, and what memory it takes.

    python -m tests.benchmarks.page [ROWS]

It serves the page in a process of its own, uploads a workbook of ROWS rows (100,000; about 50 MB with its long texts)
as a browser does, and takes it to step 4 against the sandbox. The table stands in `batch/web/README.md`.
"""

import os
import random
import re
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import xlsxwriter

ROWS = 100_000
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
            for column, text in enumerate((*texts, f"City {word}", "".join(chance.choices(letters, k=420)))):
                sheet.write_string(row, column, text)


class Window:
    """One window on the page."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(follow_redirects=True, timeout=600)
        self.base = str(self.client.get(url).url).rstrip("/")
        self.own = {"Origin": url.split("/?")[0], "Sec-Fetch-Site": "same-origin"}

    def timed(self, what: str, method: str, path: str, **options: object) -> httpx.Response:
        began = time.perf_counter()
        answer = self.client.request(method, self.base + path, headers=self.own, **options)  # type: ignore[arg-type]  # what httpx takes
        said(what, time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
        return answer

    def wait(self, what: str, path: str, mark: str) -> None:
        began = time.perf_counter()
        while mark not in self.client.get(self.base + path).text:
            time.sleep(0.1)
        said(what, time.perf_counter() - began)


def said(what: str, seconds: float) -> None:
    print(f"| {what} | {seconds:.2f} s |", flush=True)  # noqa: T201 - a benchmark


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
        sandbox = [*words[:5], "sandbox", "start", "--records", str(rows + 1_000), "--limits", "off"]
        subprocess.run(sandbox, env=place, check=True, capture_output=True)
        page = subprocess.Popen(words, env=place, stdout=subprocess.PIPE, text=True)
        assert page.stdout is not None
        try:
            window = Window(page.stdout.readline().strip())
            print(f"| {rows:,} rows, {path.stat().st_size >> 20} MB | |\n|---|---|")  # noqa: T201 - as above
            with path.open("rb") as file:
                data = {"account": "dualentry.customers|sandbox||"}
                answer = window.timed("upload, until the next page", "POST", "/upload", data=data, files={"file": file})
            work = "/w/" + str(answer.url).split("/w/")[1].split("/")[0]
            window.wait("then until the columns are shown", f"{work}/columns", '<table class="columns')
            window.timed("columns sent", "POST", f"{work}/columns", data={"c6": "-"})
            window.wait("then until the problems are shown", f"{work}/problems", "ready")
            window.client.post(f"{window.base}{work}/changes", headers=window.own)
            window.wait("then until the changes are shown", f"{work}/changes", 'class="cells')
            window.timed("first page of the changes", "GET", f"{work}/changes")
            window.timed("page 1,000 of the changes", "GET", f"{work}/changes?page=1000")
            window.timed("a search for one name", "GET", f"{work}/changes?q=555-0077777")
            window.timed("a search that finds all", "GET", f"{work}/changes?q=name")
            print(f"| most memory of the page | {peak(page.pid)} MB |")  # noqa: T201 - as above
        finally:
            page.terminate()
            page.communicate(timeout=60)
            subprocess.run([*words[:5], "sandbox", "stop"], env=place, check=False, capture_output=True)


if __name__ == "__main__":
    main()
