"""A part that runs until it is told to stop, in a thread of its own while a test looks on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_background(run: Callable[[threading.Event], object]) -> Iterator[None]:
    """Run it, as ``wonttrade up`` does; it must end within ten seconds of being told to."""
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
