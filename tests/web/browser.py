"""A browser without a window: it keeps cookies, follows redirects, and speaks to the page in this process."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from batch.run.target import Environment
from batch.web.application import Page
from batch.web.guards import Guard, Keys
from batch.web.uploads import runs_folder
from batch.web.work import Desk, Work

PORT = 8700
HERE = f"http://127.0.0.1:{PORT}"
OWN = {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}
"""What a browser says of a form that the page itself sent."""


@dataclass
class Browser:
    """One window on the page."""

    page: Page
    app: Any
    portal: BlockingPortal
    client: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url=HERE, follow_redirects=True)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask for a path as it stands."""

        async def ask() -> httpx.Response:
            return await self.client.request(method, path, **options)

        return self.portal.call(ask)

    def open(self) -> httpx.Response:
        """Open the page by its token."""
        return self.request("GET", f"/?token={self.page.keys.token}")

    def get(self, path: str) -> httpx.Response:
        """Ask for a path below the door."""
        return self.request("GET", self.page.base + path)

    def post(self, path: str, data: Mapping[str, Any] | None = None, **options: Any) -> httpx.Response:
        """Send a form as the page does."""
        return self.request("POST", self.page.base + path, data=data, headers=OWN, **options)

    def upload(self, name: str, content: bytes, account: str, **fields: str) -> httpx.Response:
        """Choose a file on the first page."""
        return self.post("/upload", {"account": account, **fields}, files={"file": (name, content)})

    @property
    def work(self) -> Work:
        """The sheet that was opened last."""
        return list(self.page.desk.works.values())[-1]

    def settled(self, work: Work | None = None) -> httpx.Response:
        """Wait until a sheet's command is over, or asks, and look at the sheet."""
        work, until = work or self.work, time.monotonic() + 60
        while work.is_busy and (work.task is None or work.task.question is None):
            assert time.monotonic() < until, work.task
            time.sleep(0.01)
        return self.get(f"/w/{work.id}")

    def another(self) -> "Browser":
        """Open another window of the same browser."""
        other = Browser(self.page, self.app, self.portal)
        other.client.cookies = self.client.cookies
        return other


@contextmanager
def opened(environment: Environment, *, slow_seconds: float = 30.0) -> Iterator[Browser]:
    """Serve a page in this process, and give a browser that has not opened it yet."""
    page = Page(Desk(environment, runs_folder(environment.variables)), Keys())
    app = page.application(PORT)
    assert isinstance(app, Guard)
    app = Guard(app.app, app.keys, app.port, slow_seconds)
    with start_blocking_portal() as portal:
        browser = Browser(page, app, portal)
        try:
            yield browser
        finally:
            page.desk.close(10)
            portal.call(browser.client.aclose)


def text_of(response: httpx.Response) -> str:
    """The words of a page, without its head."""
    body = response.text[response.text.index("<main") :]
    return " ".join(re.sub("<[^>]*>", " ", body).split())


def checksum_in(response: httpx.Response) -> str:
    """The checksum that the button carries."""
    found = re.search(r'name="checksum" value="([^"]+)"', response.text)
    assert found, text_of(response)
    return found[1]
