"""The queue of requests, in which visitors take turns; `models.Turns` is that of the networks."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from fastapi import HTTPException
from gradio.blocks import Blocks
from gradio.queueing import Event, Queue
from gradio.server_messages import EstimationMessage
from gradio.utils import LRUCache

from landmark_model.web.i18n import pick_language, say

PLACES = 300  # requests that wait for their turn
MANY_AT_ONCE = 4  # visitors with many photos, which take turns one by one
PLACES_OF_ONE = 200  # of them, from one address: a school, or somebody who wants all of them
RUNNING_OF_ONE = 3  # requests of a visitor at once, fewer than there are decoders on any machine
RUNNING_IN_LINE = 2  # of them, in one line
SESSIONS = 20_000  # whose results are kept for a minute; beyond, the oldest are forgotten
TOLD_EVERY_S = 1  # how often visitors learn their place in the queue


class FairQueue(Queue):
    """gradio's queue, in which visitors take turns, however many requests each of them has.

    A visitor is a page that is open, or the address of a program. A few of its requests run at
    once; more of them wait even where a place is free, for whoever comes next. Where there is no
    room, the answer is 429 with a sentence in the visitor's language, which the page shows.
    """

    def __init__(self, page: Blocks, at_once: int) -> None:
        # Not live: each start of a request would send everybody who waits a message.
        super().__init__(
            live_updates=False,
            concurrency_count=page.max_threads,
            update_intervals=TOLD_EVERY_S,
            max_size=PLACES,
            blocks=page,
            default_concurrency_limit=at_once,
        )
        self.pending_messages_per_session = LRUCache(SESSIONS)

    async def push(self, body, request, username):
        """gradio's; the request goes before those whose visitors have more of them waiting."""
        address = request.client.host if request.client else ""
        visitor = body.session_hash or address
        if len(self) >= PLACES or self._count_of(address) >= PLACES_OF_ONE:
            language = pick_language(request.headers.get("accept-language"))
            raise HTTPException(429, say("queue_full", language))
        is_in, number, state = await super().push(body, request, username)
        event = self.event_ids_to_events.get(number) if is_in else None
        if event:
            event.visitor, event.address = visitor, address
            self._move_up(event)
        return is_in, number, state

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """gradio's; passes over whoever has enough running, until one of theirs ends."""
        running = [event for job in self.active_jobs if job for event in job]
        lines = list(self.event_queue_per_concurrency_id.values())
        random.shuffle(lines)
        for line in lines:
            if line.queue and line.current_concurrency < (line.concurrency_limit or PLACES):
                busy = busy_visitors(running, line.concurrency_id)
                event = next((one for one in line.queue if one.visitor not in busy), None)
                if event:
                    line.queue.remove(event)
                    return [event], event.fn.batch, line.concurrency_id
        return None

    def send_message(self, event, event_message):
        """gradio's, which raises where the visitor has just left; that would end the queue."""
        if event.session_hash in self.pending_messages_per_session:
            super().send_message(event, event_message)

    def _count_of(self, address: str) -> int:
        lines = self.event_queue_per_concurrency_id.values()
        return sum(event.address == address for line in lines for event in line.queue)

    def _move_up(self, event: Event) -> None:
        waiting = self.event_queue_per_concurrency_id[event.concurrency_id].queue
        waiting.remove(event)
        place = place_of(event.visitor, [other.visitor for other in waiting])
        waiting.insert(place, event)
        self.send_message(event, EstimationMessage(rank=place, queue_size=len(waiting)))


def place_of(visitor: str, waiting: Sequence[str]) -> int:
    """Where a request goes among those of the visitors in `waiting`, first to last.

    They wait in rounds, in each of which a visitor has one request; it is the last of its round.
    """
    mine, rounds = waiting.count(visitor) + 1, Counter()
    for place, other in enumerate(waiting):
        rounds[other] += 1
        if rounds[other] > mine:
            return place
    return len(waiting)


def busy_visitors(running: Sequence[Event], line: str) -> set[str]:
    """The visitors who may have no more running in a line."""
    everywhere = Counter(event.visitor for event in running)
    here = Counter(event.visitor for event in running if event.concurrency_id == line)
    return {
        visitor
        for visitor, count in everywhere.items()
        if count >= RUNNING_OF_ONE or here[visitor] >= RUNNING_IN_LINE
    }
