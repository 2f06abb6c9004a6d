"""The addresses of the page, and what each of them does.

Promises: nothing changes by GET; each address does one thing that the command line does, too; whatever goes wrong is
told as a sentence, on a page with a way back.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import anyio
from anyio import to_thread
from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from batch.commands.runs import ListedRun, look, newest_runs
from batch.commands.status import status
from batch.engine.reporter import CANARY
from batch.errors import BatchError, CredentialError, NotationError, UsageError
from batch.input_names import short_name
from batch.run import index
from batch.run.summary_file import read_summary
from batch.web import uploads, views
from batch.web.accounts import KEY_FILE, Chosen, choose, offered
from batch.web.guards import FORM_BYTES, REPORT_POLICY, Guard, Keys
from batch.web.work import STEPS, Desk, Work

SHOWN_RUNS: Final = 20
LIVE_SECONDS: Final = 0.4
"""How often it is looked whether something changed that an open window shows."""
ALIVE_SECONDS: Final = 15.0
"""After so long without a change a line is sent all the same, so that a window that is gone is noticed."""
MOST_FIELDS: Final = 20_000
KEY_BYTES: Final = 64 << 10
"""Of a file with a key, which is read into memory, and kept nowhere else."""


@dataclass(frozen=True, slots=True)
class Page:
    """The page: what is open, and how it is shown."""

    desk: Desk
    keys: Keys
    close: Callable[[], None] = lambda: None
    """Ends the process, once the answer has left."""
    templates: Templates = field(default_factory=lambda: make_templates())

    @property
    def base(self) -> str:
        """The folder of all addresses."""
        return f"/{self.keys.door}"

    def application(self, port: int) -> ASGIApp:
        """Make the application that is served on a port."""
        static = StaticFiles(directory=Path(__file__).with_name("static"))
        get, post = partial(self._route, "GET"), partial(self._route, "POST")
        routes = [
            get("/", self.start),
            post("/upload", self.upload),
            get("/w/{id}", self.current),
            get("/w/{id}/columns", self.columns),
            post("/w/{id}/columns", self.match),
            get("/w/{id}/problems", self.problems),
            post("/w/{id}/reading", self.read_as),
            post("/w/{id}/upload", self.upload_corrected),
            get("/w/{id}/changes", self.changes),
            post("/w/{id}/changes", self.compare),
            post("/w/{id}/approval", self.save_for_approval),
            get("/w/{id}/send", self.before_sending),
            post("/w/{id}/send", self.send),
            get("/w/{id}/result", self.result_of_work),
            post("/w/{id}/answer", self.answer),
            post("/w/{id}/stop", self.stop),
            get("/w/{id}/live", self.live),
            get("/w/{id}/file/{what}", self.file_of_work),
            get("/run/{run_id}", self.run),
            get("/run/{run_id}/file/{what}", self.file_of_run),
            get("/run/{run_id}/report", self.report),
            post("/run/{run_id}/undo", self.undo),
            post("/run/{run_id}/resume", self.resume),
            post("/close", self.end),
            Mount("/static", static),
        ]
        handlers: Any = {BatchError: self._say, HTTPException: self._say, Exception: self._say_bug}
        application = Starlette(routes=[Mount(self.base, routes=routes)], exception_handlers=handlers)
        return Guard(application, self.keys, port)

    def _route(self, method: str, path: str, handler: Callable[..., Any]) -> Route:
        return Route(path, handler, methods=[method])

    # -- 1 File -------------------------------------------------------------------------------------------------

    def start(self, request: Request) -> Response:
        """Show where a file is chosen, and what was run lately."""
        return self._start()

    def _start(self, problem: str = "", status_code: int = 200) -> Response:
        accounts = offered(self.desk.environment)
        shown = newest_runs(SHOWN_RUNS)
        return self._show(
            "start.html", status_code=status_code, step="file", problem=problem, accounts=accounts,
            chosen=views.default_account(accounts), variables=self._variables(), endings=uploads.ENDINGS,
            runs=[views.run_line(one) for one in shown.runs], older=shown.older,
            kept=[views.kept_line(one) for one in self._kept()],
            works=[one for one in reversed(list(self.desk.works.values())) if one.is_busy or not one.is_sent],
        )  # fmt: skip

    def _variables(self) -> dict[str, Any]:
        return {name: kind.variables for name, kind in self.desk.environment.endpoints.items()}

    async def upload(self, request: Request) -> Response:
        """Keep a file that was chosen, and read its headers."""
        async with request.form(max_files=2, max_fields=100, max_part_size=FORM_BYTES) as form:
            try:
                texts = _texts(form) | await _key_file(form)
                chosen = await to_thread.run_sync(choose, texts.get("account", ""), texts, self.desk.environment)
                work = await to_thread.run_sync(self._open_chosen, form, texts.get("kept", ""), chosen)
            except UsageError as error:
                return await to_thread.run_sync(self._start, views.plain(str(error)), 400)
        return self._to(f"/w/{work.id}")

    async def upload_corrected(self, request: Request) -> Response:
        """Open the corrected rows of a sheet as a sheet of their own, with the same account."""
        work = self._work(request)
        async with request.form(max_files=1, max_fields=100, max_part_size=FORM_BYTES) as form:
            others = work if not work.is_sent else None
            corrected = await to_thread.run_sync(self._open, _file_of(form), work.chosen, others, work)
        return self._to(f"/w/{corrected.id}/columns")

    def _open_chosen(self, form: FormData, kept: str, chosen: Chosen) -> Work:
        """Open the file of a form, or where it has none the one that was uploaded earlier."""
        sent = form.get("file")
        if not kept or (isinstance(sent, UploadFile) and sent.filename):
            return self._open(_file_of(form), chosen, None)
        found = next((one for one in self._kept() if one.place == kept), None)
        if found is None:
            raise UsageError("This sheet is not here any more, or is open or was sent already. Choose its file.")
        return self.desk.open_file(found.path, found.path.name, found.path.parents[2], chosen)

    def _kept(self) -> list[uploads.KeptUpload]:
        used = {one.input for one in index.all_runs()} | {one.settings.input for one in self.desk.works.values()}
        return uploads.list_kept(self.desk.runs, used, SHOWN_RUNS)

    def _open(self, file: UploadFile, chosen: Chosen, others: Work | None, before: Work | None = None) -> Work:
        name = uploads.safe_name(file.filename or "")
        runs = self.desk.runs
        folder = (before and before.settings.parent) or uploads.folder_of(runs, name)
        path = uploads.keep_upload(file.file, folder, name)
        if path.suffix.casefold() == ".zip":
            return self.desk.open_approval(path, name, folder, chosen)
        return self.desk.open_file(path, name, folder, chosen, others)

    # -- 2 Columns ----------------------------------------------------------------------------------------------

    def current(self, request: Request) -> Response:
        """Lead to the step at which a sheet is."""
        work = self._work(request)
        return self._to(f"/w/{work.id}/{work.step}")

    def columns(self, request: Request) -> Response:
        """Show what each column is taken for."""
        work = self._work(request)
        if work.is_busy or work.columns is None:
            return self._show_task(work, "columns")
        fields = views.field_choices(work.columns, work.environment)
        return self._show("columns.html", work, step="columns", columns=work.columns, fields=fields,
                          problem=views.error_of(work, "check"))  # fmt: skip

    async def match(self, request: Request) -> Response:
        """Take what was said of each column, and validate the rows where all are known."""
        work = self._work(request)
        form = _texts(await request.form(max_fields=MOST_FIELDS, max_part_size=FORM_BYTES))
        targets, changes = views.read_columns(work, form)
        remember = form.get("name", "").strip() if form.get("remember") else None
        await to_thread.run_sync(partial(work.match, targets, changes, remember_as=remember))
        return self._to(f"/w/{work.id}/problems")

    # -- 3 Problems ---------------------------------------------------------------------------------------------

    def problems(self, request: Request) -> Response:
        """Show what is wrong with rows, by repair."""
        work = self._work(request)
        if not work.is_busy and work.task is not None and isinstance(work.task.error, NotationError):
            return self._show("notation.html", work, step="problems", error=work.task.error)
        if not work.is_busy and work.columns is not None and not work.columns.is_settled:
            return self._to(f"/w/{work.id}/columns")
        if work.is_busy or work.checked is None:
            return self._show_task(work, "problems")
        return self._show("problems.html", work, step="problems", checked=work.checked,
                          groups=views.problem_groups(work.checked))  # fmt: skip

    async def read_as(self, request: Request) -> Response:
        """Take how numbers or dates are written, and validate again."""
        work, form = self._work(request), _texts(await request.form(max_fields=10))
        formats = {
            name: form[name] for name in ("decimal", "date_format") if form.get(name) in (".", ",", "dmy", "mdy")
        }
        if not formats:
            raise UsageError("Choose how the cells are to be read.")
        await to_thread.run_sync(work.read_as, formats)
        return self._to(f"/w/{work.id}/problems")

    # -- 4 Changes ----------------------------------------------------------------------------------------------

    async def compare(self, request: Request) -> Response:
        """Read the API, and find out what would change."""
        work, form = self._work(request), _texts(await request.form(max_fields=10))
        await to_thread.run_sync(partial(work.compare, only_empty=bool(form.get("only_empty"))))
        return self._to(f"/w/{work.id}/changes")

    def changes(self, request: Request) -> Response:
        """Show the old and the new value of every cell, a page at a time."""
        work = self._work(request)
        if work.is_busy or work.opened is None:
            return self._show_task(work, "changes")
        text, number = request.query_params.get("q", "")[:200], request.query_params.get("page", "1")
        page = work.opened.page(text, int(number) if number.isdecimal() and len(number) < 9 else 1)
        return self._show("changes.html", work, step="changes", page=page, text=text,
                          about=views.plan_view(work))  # fmt: skip

    async def save_for_approval(self, request: Request) -> Response:
        """Write the plan as one file for a colleague, and give it to be saved."""
        work, form = self._work(request), _texts(await request.form(max_fields=10))
        made = await to_thread.run_sync(work.save_for_approval, form.get("remark", ""))
        return _download(str(made), "")

    # -- 5 Send -------------------------------------------------------------------------------------------------

    def before_sending(self, request: Request) -> Response:
        """Show the button that sends, or how far it is."""
        work = self._work(request)
        if work.is_sent and work.end is not None and not work.is_busy:
            return self._to(f"/w/{work.id}/result")
        if work.is_sent or work.is_busy or work.opened is None:
            return self._show_task(work, "send")
        about = views.plan_view(work)
        problem = views.error_of(work, "update")
        return self._show("send.html", work, step="send", checksum=work.opened.checksum, about=about, problem=problem)

    async def send(self, request: Request) -> Response:
        """Send the changes that were shown."""
        work, form = self._work(request), _texts(await request.form(max_fields=10))
        how: Any = "first" if form.get("how") == "first" else "all"
        if not work.is_sent:  # another window was faster: it shows the same run
            await to_thread.run_sync(work.send, form.get("checksum", ""), how)
        return self._to(f"/w/{work.id}/send")

    async def answer(self, request: Request) -> Response:
        """Answer what a command asks."""
        work, form = self._work(request), _texts(await request.form(max_fields=10))
        number = form.get("number", "")
        if work.task is not None and number.isdecimal():
            work.task.answer(int(number), views.read_answer(work.task.question, form, CANARY))
        return self._to(f"/w/{work.id}")

    async def stop(self, request: Request) -> Response:
        """Stop what goes on, as Ctrl-C does."""
        work = self._work(request)
        if work.task is not None and work.is_busy:
            work.task.stop()
        return self._to(f"/w/{work.id}")

    async def live(self, request: Request) -> Response:
        """Tell an open window what changes, as server-sent events."""
        work = self._work(request)
        events = self._events(work, request.is_disconnected)
        return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def _events(self, work: Work, is_gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
        seen, quiet = None, 0.0
        while not self.desk.is_closing and not await is_gone():
            task = work.task
            now = (id(task), task.changed if task is not None else 0)
            if now != seen:
                seen, quiet = now, 0.0
                shown = await to_thread.run_sync(self._live_part, work)
                yield f"data: {json.dumps(shown)}\n\n"
                if shown["is_over"]:
                    return
            elif quiet >= ALIVE_SECONDS:
                quiet = 0.0
                yield ": still here\n\n"
            await anyio.sleep(LIVE_SECONDS)
            quiet += LIVE_SECONDS

    def _live_part(self, work: Work) -> dict[str, Any]:
        """Return the part of a page that changes, and whether the page itself is to be shown anew."""
        task = work.task
        if task is None or task.is_over:
            return {"is_over": True, "question": 0, "part": ""}
        part = self.templates.get_template("progress.html").render(work=work, task=task, now=views.task_view(task))
        return {"is_over": False, "question": task.question.number if task.question else 0, "part": part}

    # -- 6 Result -----------------------------------------------------------------------------------------------

    def result_of_work(self, request: Request) -> Response:
        """Lead to the run that a sheet made."""
        work = self._work(request)
        if work.end is None or not work.end.summary.run_id:
            return self._to(f"/w/{work.id}")
        return self._to(f"/run/{work.end.summary.run_id}")

    def run(self, request: Request) -> Response:
        """Show what became of a run."""
        listed = self._listed(request)
        folder = listed.run.folder
        work = self.desk.work_of(folder)
        now = None
        if listed.state == "running" and listed.metadata is not None:
            with suppress(BatchError):
                now = status(folder)
        return self._show(
            "result.html", work, step="result", listed=listed, about=views.run_view(listed, read_summary(folder)),
            now=now, mark=views.mark_of_run(listed), name=views.name_of(listed),
            accounts=views.accounts_for(listed, offered(self.desk.environment)), variables=self._variables(),
            is_live=now is not None,
        )  # fmt: skip

    async def undo(self, request: Request) -> Response:
        """Take a run back: what that would put back is shown, and asked about first."""
        work = await self._open_run(request)
        await to_thread.run_sync(work.take_back)
        return self._to(f"/w/{work.id}/send")

    async def resume(self, request: Request) -> Response:
        """Go on with a run that was not finished."""
        work = await self._open_run(request)
        await to_thread.run_sync(work.go_on)
        return self._to(f"/w/{work.id}/send")

    async def _open_run(self, request: Request) -> Work:
        async with request.form(max_files=1, max_fields=50) as form:
            texts = _texts(form) | await _key_file(form)
        return await to_thread.run_sync(self._opened_run, request, texts)

    def _opened_run(self, request: Request, form: Mapping[str, str]) -> Work:
        listed = self._listed(request)
        before = self.desk.work_of(listed.run.folder)
        chosen = before.chosen if before is not None else choose(form.get("account", ""), form, self.desk.environment)
        given = views.settings_of_run(listed) if not request.url.path.endswith("/undo") else {}
        return self.desk.open_run(listed.run.folder, listed.run.run_id, views.name_of(listed), chosen, given)

    # -- files --------------------------------------------------------------------------------------------------

    def file_of_work(self, request: Request) -> Response:
        """Give a file of a check or a plan to be saved."""
        work, what = self._work(request), request.path_params["what"]
        path: str | None = None
        if what == "failures" and work.checked is not None:
            path = work.checked.summary.files.failures
        elif what == "cells" and work.plan is not None:
            path = work.plan.summary.files.get("cells")
        return _download(path, work.name)

    def file_of_run(self, request: Request) -> Response:
        """Give a file of a run to be saved."""
        listed, what = self._listed(request), request.path_params["what"]
        files = views.files_of(listed, read_summary(listed.run.folder))
        return _download(files.get(what), short_name(listed.run.input))

    def report(self, request: Request) -> Response:
        """Show the report of a run, as a page that can do nothing."""
        listed = self._listed(request)
        path = views.files_of(listed, read_summary(listed.run.folder)).get("report")
        if path is None:
            raise HTTPException(404, "There is no report of this run.")
        text = Path(path).read_text(encoding="utf-8")
        return HTMLResponse(text, headers={"Content-Security-Policy": REPORT_POLICY})

    # -- the rest -----------------------------------------------------------------------------------------------

    async def end(self, request: Request) -> Response:
        """Close the page: what goes on is stopped as by Ctrl-C."""
        answer = self._show("closed.html", step="")
        self.close()
        return answer

    def _work(self, request: Request) -> Work:
        work = self.desk.works.get(request.path_params["id"])
        if work is None:
            raise HTTPException(404, "This sheet is not open any more. Its runs are on the first page.")
        return work

    def _listed(self, request: Request) -> ListedRun:
        known = index.get(request.path_params["run_id"])
        if known is None:
            raise HTTPException(404, "This run is not known here any more.")
        return look(known)

    def _show_task(self, work: Work, step: str) -> Response:
        """Show a command that goes on, asks or has failed; where none is at this step, the step that is."""
        task = work.task
        if task is None or (not work.is_busy and task.error is None) or work.step != step:
            if work.step == step:
                return self._to("/")
            return self._to(f"/w/{work.id}/{work.step}")
        return self._show("task.html", work, step=step, task=task, now=views.task_view(task), is_live=work.is_busy)

    def _show(self, template: str, work: Work | None = None, *, status_code: int = 200, **values: Any) -> Response:
        about: dict[str, Any] = {
            "base": self.base, "work": work, "steps": views.steps(work, values["step"]), "is_live": False,
            "mark": views.mark_of(work.account, work.company) if work is not None else None,
            "name": work.name if work is not None else "",
        }  # fmt: skip
        text = self.templates.get_template(template).render(about | values)
        return HTMLResponse(text, status_code)

    def _to(self, path: str) -> Response:
        return RedirectResponse(self.base + path, 303)

    async def _say(self, request: Request, error: Exception) -> Response:
        """Say what is wrong as a sentence, with a way back."""
        code = error.status_code if isinstance(error, HTTPException) else 400
        said = error.detail if isinstance(error, HTTPException) else views.plain(str(error))
        work = self.desk.works.get(request.path_params.get("id", ""))
        answer = self._show("error.html", work, status_code=code, step=work.step if work else "", said=said)
        answer.headers.update(error.headers or {} if isinstance(error, HTTPException) else {})
        return answer

    async def _say_bug(self, request: Request, error: Exception) -> Response:
        said = "This is a bug in batch. What was sent is written down. Please report it."
        return self._show("error.html", status_code=500, step="", said=said)


def make_templates() -> Templates:
    """Make what renders the pages; whatever is put into one is escaped."""
    made = Templates(
        loader=PackageLoader("batch.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(views.FILTERS)
    made.globals.update(STEPS=STEPS, LEAVE_OUT=views.LEAVE_OUT)
    return made


def _texts(form: FormData) -> dict[str, str]:
    return {name: value for name, value in form.multi_items() if isinstance(value, str)}


async def _key_file(form: FormData) -> dict[str, str]:
    """Return the text of the file with a key, where one was chosen; raises CredentialError where it is none."""
    file = form.get(KEY_FILE)
    if not isinstance(file, UploadFile) or not file.filename:
        return {}
    try:
        text = (await file.read(KEY_BYTES + 1)).decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
    if not text.strip() or (file.size or 0) > KEY_BYTES:
        raise CredentialError("The file with the key is empty, or is something else: it is a text with the key alone.")
    return {KEY_FILE: text}


def _file_of(form: FormData) -> UploadFile:
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise UsageError("Choose a file first.")
    if not file.size:
        raise UsageError(f"{file.filename}: the file is empty.")
    return file


def _download(path: str | None, name: str) -> Response:
    """Give a file under the name of the sheet that it belongs to, as something to be saved and never to be shown."""
    if path is None or not Path(path).is_file():
        raise HTTPException(404, "This file is not there any more.")
    found = Path(path)
    shown = quote(f"{Path(name).stem} {found.name}".strip())
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{shown}"}
    return FileResponse(found, media_type="application/octet-stream", headers=headers)
