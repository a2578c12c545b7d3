"""Takes an Alertmanager's notifications on loopback: ``python webhook.py PORT FILE``.

Each becomes one line of JSON in FILE: the path it was sent to, and the body.
"""

from __future__ import annotations

import http.server
import json
import sys
from pathlib import Path


def main(port: int, file: Path) -> None:
    """Serve until the process is ended."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with file.open("a") as output:
                output.write(json.dumps([self.path, body]) + "\n")
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
