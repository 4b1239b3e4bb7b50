"""Visitors take turns, at the queue and at the networks, and are told their place."""

import asyncio
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from fastapi import HTTPException
from gradio.data_classes import PredictBodyInternal

from landmark_model.web import fair_queue
from landmark_model.web.cleanup import Lasting, drop_uncollected
from landmark_model.web.fair_queue import FairQueue, place_of
from landmark_model.web.i18n import say
from landmark_model.web.models import Turns


class Line:
    """A queue of events, and who joined it; or several, which have `at_once` places each."""

    def __init__(self, at_once: int = 1, count: int = 1) -> None:
        with gr.Blocks() as page:
            for number in range(count):
                gr.Button().click(lambda: None, concurrency_id=str(number))
        self.queue = FairQueue(page, at_once)
        self.queue.active_jobs = [None] * page.max_threads

    def join(
        self, visitor: str | None, address: str = "1.2.3.4", language: str = "en", line: int = 0
    ) -> None:
        body = PredictBodyInternal(data=[], fn_index=line, session_hash=visitor)
        client, headers = SimpleNamespace(host=address), {"accept-language": language}
        request = SimpleNamespace(client=client, headers=headers)
        asyncio.run(self.queue.push(body, request, ""))

    @property
    def order(self) -> str:
        (line,) = self.queue.event_queue_per_concurrency_id.values()
        return "".join(event.visitor for event in line.queue)

    def start(self) -> str:
        """Lets gradio start the events that may run, and gives their visitors."""
        started = []

        async def note(events: list, *_: object) -> None:
            started.append(events[0].visitor)

        async def start_all() -> None:
            self.queue.stopped, self.queue.process_events = False, note
            task = asyncio.create_task(self.queue.start_processing())
            await asyncio.sleep(0)  # it goes on until nothing is left to be started
            self.queue.stopped = True
            await task

        asyncio.run(start_all())
        return "".join(started)

    def end(self, visitor: str) -> None:
        """Ends one of a visitor's events."""
        jobs = self.queue.active_jobs
        job = next(job for job in jobs if job and job[0].visitor == visitor)
        jobs[jobs.index(job)] = None
        name = job[0].concurrency_id
        self.queue.event_queue_per_concurrency_id[name].current_concurrency -= 1


@pytest.fixture
def line():
    return Line()


@pytest.mark.parametrize(
    ("visitor", "waiting", "place"),
    [("b", "", 0), ("b", "aaaa", 1), ("a", "abab", 4), ("c", "ababab", 2), ("b", "abaa", 3)],
)
def test_a_request_is_the_last_of_its_visitors_round(visitor, waiting, place):
    assert place_of(visitor, waiting) == place


def test_whoever_asks_once_does_not_wait_for_all_that_another_asked(line):
    for visitor in "aaaaabac":
        line.join(visitor)
    assert line.order == "abcaaaaa"
    told = [line.queue.pending_messages_per_session["b"].get_nowait() for _ in range(2)]
    assert told[-1].rank == 1, "the place that it moved up to"


def test_a_visitor_has_a_few_requests_running_and_leaves_the_other_places_free():
    line = Line(at_once=8)
    for visitor in "aaaaaa":
        line.join(visitor)
    assert line.start() == "aa"
    line.join("b")
    assert line.start() == "b", "it passes those of a, who came before"
    line.end("b")
    assert line.start() == ""
    for left in ("a", "a", "a", "a", ""):
        line.end("a")
        assert line.start() == left, "one goes on as soon as another ends"
    assert len(line.queue) == 0


def test_many_visitors_have_all_places():
    line = Line(at_once=8)
    for visitor in "abcdefghij":
        line.join(visitor)
    assert line.start() == "abcdefgh"


def test_a_visitor_who_asks_in_every_line_leaves_a_decoder_to_the_others():
    line = Line(at_once=8, count=5)
    for number in range(5):
        line.join("a", line=number)
    assert line.start() == "aaa"
    line.join("b")
    assert line.start() == "b"
    line.end("a")
    assert line.start() == "a"


def test_programs_without_a_session_are_one_visitor_for_each_address(line):
    for address in ("9", "9", "9", "8"):
        line.join(None, address)
    assert line.order == "9899"


def test_no_room_is_said_in_the_visitors_language_and_never_by_one_address_to_another(
    line, monkeypatch
):
    monkeypatch.setattr(fair_queue, "PLACES_OF_ONE", 2)
    monkeypatch.setattr(fair_queue, "PLACES", 3)
    line.join("a")
    line.join("b")  # another session, as who floods the queue would make up
    with pytest.raises(HTTPException) as refused:
        line.join("c", language="de-DE")
    assert (refused.value.status_code, refused.value.detail) == (429, say("queue_full", "de"))
    line.join("d", address="5.6.7.8")
    with pytest.raises(HTTPException, match=say("queue_full", "en")):
        line.join("e", address="8.7.6.5")
    assert line.order == "abd"


def test_a_visitor_who_has_just_left_does_not_end_the_queue_for_the_others(line):
    line.join("a")
    line.join("b")
    del line.queue.pending_messages_per_session["a"]
    (name,) = line.queue.event_queue_per_concurrency_id
    line.queue.broadcast_estimations(name)
    assert line.queue.pending_messages_per_session["b"].qsize() > 1


def test_a_visitor_who_listens_slowly_is_kept_and_one_who_awaits_nothing_forgotten():
    async def listen() -> set[str]:
        queue, lasting = gr.queueing.Queue(False, 1, 1.0, None, None), Lasting(0.05)
        lines = queue.pending_messages_per_session
        for session in ("slow", "left", "idle"):
            lines[session] = asyncio.Queue()
            queue.pending_event_ids_session[session] = set() if session == "idle" else {"event"}
        for session in ("slow", "left"):
            lines[session].put_nowait(["first"])
        for _ in range(2):
            await drop_uncollected(queue, lasting)
            lines["slow"].put_nowait(["next"])
            lines["slow"].get_nowait()  # always one behind
            time.sleep(0.06)
        await drop_uncollected(queue, lasting)
        return set(lines)

    assert asyncio.run(listen()) == {"slow"}


def test_a_network_answers_in_the_order_in_which_it_was_asked():
    turns, answered, threads = Turns(1), [], []

    def ask(name: int) -> None:
        with turns:
            answered.append(name)

    with turns:
        for name in range(5):
            threads.append(threading.Thread(target=ask, args=(name,)))
            threads[-1].start()
            while len(turns._waiting) <= name:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert answered == [0, 1, 2, 3, 4]


def test_gradio_still_says_places_as_the_page_reads_them():
    assets = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
    scripts = [path.read_text(encoding="utf-8") for path in assets.glob("statustracker-*.js")]
    assert any("`queue: ${" in text for text in scripts)
    page = (Path(fair_queue.__file__).parent / "static" / "page.js").read_text(encoding="utf-8")
    assert r"/queue: (\d+)\/(\d+)/" in page
