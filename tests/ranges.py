"""A server of one folder's files that answers requests for parts of them; ``/sent`` tells how many bytes it gave."""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Ranges(SimpleHTTPRequestHandler):
    sent = 0

    def do_GET(self) -> None:
        path, span = Path(self.translate_path(self.path)), self.headers["Range"]
        if self.path == "/sent":
            self.answer(200, str(Ranges.sent).encode(), {})
        elif path.is_file() and span:
            content = path.read_bytes()
            first, last = (int(number) for number in span.removeprefix("bytes=").split("-"))
            part = content[first : last + 1]
            Ranges.sent += len(part)
            self.answer(206, part, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"})
        else:
            self.send_error(404)

    def answer(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=sys.argv[1])) as server:
        print(server.server_port, flush=True)  # noqa: T201 - where to find it
        server.serve_forever()
