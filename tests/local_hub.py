"""A Hugging Face hub on this machine, with faults on request."""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Dict, Iterator, List, Optional, Tuple

API = "/api/datasets/Xu-SII-BNU/MMHCL/tree/main/"
FILES = "/datasets/Xu-SII-BNU/MMHCL/resolve/main/"


class LocalHub:
    """What the server serves, and what it has been asked for.

    Args:
        files (Dict[str, bytes]): The content of each file, by its path.
        cut (Dict[str, List[int]]): How many bytes of a file are sent by the
            next responses, one after the other, before the connection ends.
        status (Dict[str, int]): What is answered in place of a file.
        sent (Dict[str, bytes]): What is sent in place of a file's content.
        ranges (bool): Whether a part of a file may be asked for.
        lengths (bool): Whether answers tell their length.
        asked (List[Tuple[str, str]]): The paths and ranges asked for.
    """

    def __init__(self, files: Dict[str, bytes]) -> None:
        self.files = files
        self.cut: Dict[str, List[int]] = {}
        self.status: Dict[str, int] = {}
        self.sent: Dict[str, bytes] = {}
        self.ranges = self.lengths = True
        self.asked: List[Tuple[str, Optional[str]]] = []

    def listing(self, folder: str) -> bytes:
        entries: List[dict] = [{"type": "directory", "path": folder, "size": 0}]
        for path, content in self.files.items():
            if not path.startswith(f"{folder}/"):
                continue
            blob = b"blob %d\0" % len(content) + content
            entry = {
                "type": "file",
                "path": path,
                "size": len(content),
                "oid": hashlib.sha1(blob).hexdigest(),
            }
            if path.endswith(".npy"):
                entry["oid"] = "0" * 40  # Of the pointer.
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha256, "size": len(content)}
            entries.append(entry)
        return json.dumps(entries).encode()


@contextmanager
def serve(hub: LocalHub) -> Iterator[str]:
    """Yields the address of the hub."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith(API):
                folder = self.path.removeprefix(API).partition("?")[0]
                self.answer(200, hub.listing(folder))
                return
            path = self.path.removeprefix(FILES)
            hub.asked.append((path, self.headers["Range"]))
            if path in hub.status:
                self.send_error(hub.status[path])
                return
            content = hub.sent.get(path, hub.files[path])
            match = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            start = int(match[1]) if match and hub.ranges else 0
            bounds = f"bytes {start}-{len(content) - 1}/{len(content)}"
            cut = hub.cut.get(path) or [len(content)]
            self.answer(
                206 if match and hub.ranges else 200,
                content[start:],
                cut.pop(0),
                **({"Content-Range": bounds} if match and hub.ranges else {}),
            )

        def answer(
            self,
            status: int,
            content: bytes,
            cut: Optional[int] = None,
            **headers: str,
        ) -> None:
            self.send_response(status)
            if hub.lengths:
                self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content[:cut])

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
