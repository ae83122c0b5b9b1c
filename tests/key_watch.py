"""The watch over the whole run of the tests: no key that one of them planted is told to anybody.

Owns the mark that every planted key has, and what is searched for it: each log record of any
library, down to DEBUG; each result; each exception that a test expected, with its causes; what was
printed, warned of or reported. A find fails the run, whatever the tests say. Knows nothing of what
is tested.
"""

from __future__ import annotations

import base64
import http.client
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from image_provider import ImageGenerationResult

MARK = "secret-key"
"""It looks the same in a URL, in JSON and in a repr."""
_WHOLE_SUITE = 1000
"""Tests of a run that has to have planted keys and told things in every way there is."""


def planted(name: str) -> str:
    """A key for a test; that it is told anywhere fails the run."""
    return f"{MARK}-{name}"


def _in_base64(text: str) -> Iterator[str]:
    """What base64 always has for this text, wherever it stands in what is encoded."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + text.encode()).decode()
        # The first and last characters are made of its neighbours, too.
        yield encoded.rstrip("=")[(0, 2, 3)[before] : -1]


_SIGNS = (MARK, *_in_base64(MARK))


def tells_a_key(text: str) -> bool:
    """True when a planted key is in the text, plain or in base64 as in `Basic` credentials."""
    return any(sign in text for sign in _SIGNS)


def told_by(error: BaseException | None) -> str:
    """What an exception and those behind it say, in every way that a log or person may see."""
    told, seen = [], set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        told += [str(error), repr(error), repr(error.args), *getattr(error, "__notes__", ())]
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)
    return "\n".join(told)


class KeyWatch:
    """A plugin of pytest, in the way of all that it looks at until the end of the run."""

    def __init__(self) -> None:
        self.finds: list[str] = []
        self.looks: Counter[str] = Counter()
        """How often there was something to look at, by its kind."""
        self._test = "outside of a test"
        self._patches = pytest.MonkeyPatch()

    def look(self, kind: str, where: str, text: str) -> None:
        """Notes a find when `text` tells a planted key."""
        self.looks[kind] += 1
        if tells_a_key(text):
            self.finds.append(f"{self._test}: {kind} {where}".rstrip())

    # Hooks of pytest

    def pytest_configure(self) -> None:
        self._see_every_record()
        self._after(ImageGenerationResult, "__init__", self._see_result)
        self._after(pytest.ExceptionInfo, "fill_unfilled", self._see_expected)
        self._after(pytest.CaptureFixture, "readouterr", self._see_printed)
        self._after(http.client.HTTPConnection, "putheader", self._see_header)

    def pytest_unconfigure(self) -> None:
        self._patches.undo()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._test = nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = [text for _, text in report.sections]
        self.look("report", f"of {report.when}", "\n".join([*told, report.longreprtext]))

    def pytest_warning_recorded(self, warning_message: Any) -> None:
        self.look("warning", "", str(warning_message.message))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.testscollected >= _WHOLE_SUITE and not session.config.option.collectonly:
            kinds = ("log", "result", "exception", "output", "key that was sent")
            self.finds += [f"no {kind} was seen" for kind in kinds if not self.looks[kind]]
        if self.finds:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.finds:
            terminalreporter.section("planted keys were told", red=True)
            for find in dict.fromkeys(self.finds):
                terminalreporter.line(find)

    # What is looked at

    def _see_every_record(self) -> None:
        """Down to DEBUG, whatever levels are set; handlers get what they would get without it."""
        is_enabled, call_handlers = logging.Logger.isEnabledFor, logging.Logger.callHandlers

        def see_and_call(logger: logging.Logger, record: logging.LogRecord) -> None:
            self._see_record(record)
            if is_enabled(logger, record.levelno):
                call_handlers(logger, record)

        self._patches.setattr(logging.Logger, "isEnabledFor", lambda logger, level: True)
        self._patches.setattr(logging.Logger, "callHandlers", see_and_call)

    def _see_record(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += told_by(record.exc_info[1])
        self.look("log", f"of {record.name} at {record.filename}:{record.lineno}", text)

    def _after(self, owner: type, name: str, see: Callable[..., None]) -> None:
        """Has `see` called with what a method was given and what it returned."""
        method = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            returned = method(*arguments, **options)
            see(returned, *arguments)
            return returned

        self._patches.setattr(owner, name, watched)

    def _see_result(self, _: None, result: ImageGenerationResult, *__: object) -> None:
        told = (result, result.error, result.metadata, result.recipe)
        text = "\n".join(map(repr, told)) + told_by(result.exception)
        self.look("result", f"of {result.provider}", text)

    def _see_expected(self, _: None, info: Any, *__: object) -> None:
        self.look("exception", info.type.__name__, told_by(info.value))

    def _see_printed(self, printed: Any, *_: object) -> None:
        self.look("output", "", f"{printed.out!s}\n{printed.err!s}")

    def _see_header(self, _: None, __: object, name: object, *values: object) -> None:
        if tells_a_key(str(values)):
            self.looks["key that was sent"] += 1
