"""Processes that work for another one end when it does, however it ends."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """In a process that multiprocessing has started: end it as soon as the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), name="end with parent", daemon=True).start()
