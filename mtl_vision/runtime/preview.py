"""Frames as they are made, for a browser on this machine: an MJPEG stream at http://localhost:PORT."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Self

import cv2
import numpy as np

HOST = "127.0.0.1"
NAMES = ("localhost", HOST)  # a page elsewhere that has its own name lead here is refused
BOUNDARY = "frame"
QUALITY = 80
WAIT = 1.0  # seconds after which a viewer's connection is looked at again


class Preview:
    """A server of the newest frame, within a `with` block. Viewers that are slow miss frames; nothing is queued.

    port: 0 for any that is free; `port` then says which. Raises OSError where the port is taken.
    """

    def __init__(self, port: int) -> None:
        self._newest: np.ndarray | None = None
        self._count, self._ended, self._changed = 0, False, Condition()
        self._server = ThreadingHTTPServer((HOST, port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, name="preview", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def show(self, rgb: np.ndarray) -> None:
        """Put a frame (H, W, 3) uint8 RGB in the place of the one before; it must not change afterwards."""
        with self._changed:
            self._newest, self._count = rgb, self._count + 1
            self._changed.notify_all()

    def _next(self, seen: int) -> tuple[int, np.ndarray | None]:
        """The newest frame and its number, once there is one after `seen`; after WAIT seconds, or at the end, None."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._count > seen, WAIT)
            return self._count, self._newest if self._count > seen and not self._ended else None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        preview = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if (self.headers.get("Host") or "").partition(":")[0] not in NAMES or self.path != "/":
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                seen = 0
                while not preview._ended:
                    seen, rgb = preview._next(seen)
                    if rgb is not None and not self._send(rgb):
                        return

            def _send(self, rgb: np.ndarray) -> bool:
                """Whether the viewer is still there."""
                bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
                data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + data + b"\r\n")
                except OSError:
                    return False
                return True

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
