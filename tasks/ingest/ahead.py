"""Reading and writing at the same time: a thread prepares the next block while the last one is written."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
END = object()


def one_ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """The items in their order; while one is used, the next is made. At most three are alive at a time.

    What goes wrong while an item is made is raised where the item would have come. A caller that stops early stops the
    thread, too: nothing goes on reading behind its back.
    """
    handed: queue.Queue[object] = queue.Queue(maxsize=1)
    stopped = threading.Event()
    failed: list[BaseException] = []

    def hand(item: object) -> None:
        while not stopped.is_set():
            try:
                handed.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def make() -> None:
        made = iter(items)
        try:
            for item in made:
                hand(item)
                if stopped.is_set():
                    break
        except BaseException as error:  # noqa: BLE001  (raised again by the thread that waits for it)
            failed.append(error)
        finally:
            if hasattr(made, "close"):
                made.close()
            hand(END)

    maker = threading.Thread(target=make, name="reads ahead", daemon=True)
    maker.start()
    try:
        while (item := handed.get()) is not END:
            yield item  # type: ignore[misc]  # only items and END are handed over
        if failed:
            raise failed[0]
    finally:
        stopped.set()
        maker.join()
