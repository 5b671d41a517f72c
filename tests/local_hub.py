"""A small Hub on localhost: model info, file metadata and files, as huggingface_hub asks for them.

with LocalHub({"user/repo": folder}) as url: ...   # HF_ENDPOINT=url in a fresh process
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse


def run_fresh(code, place, *words, **environment):
    """A fresh process in a folder that cannot import this package unless told; it must succeed.

    Args:
        code: of Python.
        place: folder that it runs in; what it downloads goes into its ``home``.
        words: its arguments.
        environment: as ``HF_ENDPOINT``, the address of a Hub.
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=place,
        env={
            **os.environ,
            "HF_HOME": str(place / "home"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": "",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


class LocalHub:
    """Serves folders as model repos; every revision is the one commit, 40 hex digits of content.

    Args:
        repos: {repo id: folder}.

    Attributes:
        requests: list of "METHOD path" in the order they came.
    """

    def __init__(self, repos):
        self.repos = {name: Path(folder) for name, folder in repos.items()}
        self.requests = []
        self._commits = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub._answer(self, body=True)

            def do_HEAD(self):
                hub._answer(self, body=False)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def files(self, name):
        """Names of a repo's files, relative to it, sorted."""
        folder = self.repos[name]
        return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())

    def commit(self, name):
        """The repo's only commit, a digest of its content when it was first asked for."""
        if name not in self._commits:
            digest = hashlib.sha1()
            for file in self.files(name):
                digest.update(file.encode() + (self.repos[name] / file).read_bytes())
            self._commits[name] = digest.hexdigest()
        return self._commits[name]

    def _answer(self, request, body):
        path = unquote(urlparse(request.path).path).strip("/")
        self.requests.append(f"{request.command} {path}")
        for name in self.repos:
            if path == f"api/models/{name}" or path.startswith(f"api/models/{name}/revision/"):
                return self._send(request, body, json.dumps(self._info(name)).encode())
            if path.startswith(f"api/models/{name}/tree/"):
                return self._send(request, body, json.dumps(self._tree(name)).encode())
            if path.startswith(f"{name}/resolve/"):
                file = path.removeprefix(f"{name}/resolve/").split("/", 1)[1]
                if file in self.files(name):
                    content = (self.repos[name] / file).read_bytes()
                    return self._send(request, body, content, commit=self.commit(name))
                return self._send(request, body, b"", 404, {"X-Error-Code": "EntryNotFound"})
        return self._send(request, body, b"", 404, {"X-Error-Code": "RepoNotFound"})

    def _info(self, name):
        siblings = [{"rfilename": file} for file in self.files(name)]
        commit = self.commit(name)
        return {"id": name, "sha": commit, "siblings": siblings, "private": False, "tags": []}

    def _tree(self, name):
        return [
            {
                "type": "file",
                "path": file,
                "size": (self.repos[name] / file).stat().st_size,
                "oid": hashlib.sha1((self.repos[name] / file).read_bytes()).hexdigest(),
            }
            for file in self.files(name)
        ]

    @staticmethod
    def _send(request, body, content, status=200, headers=None, commit=None):
        headers = dict(headers or {})
        if commit is not None:
            headers |= {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        request.send_response(status)
        for key, value in headers.items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if body:
            request.wfile.write(content)
