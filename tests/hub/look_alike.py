"""A small Hub on 127.0.0.1, of what `huggingface_hub` asks for to make repositories, to upload and to download.

Every file is uploaded within its commit, as the Hub takes small ones, so nothing of LFS and Xet is here.
"""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_owner"  # of the one who may write everywhere, and read what is private
OWNER = "you"


@dataclass
class Repository:
    """Its files after each commit."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # sha -> {path: bytes}, in order

    def commit(self, changes: dict[str, bytes | None]) -> str:
        """Write files, or remove those whose bytes are None; the commit's sha."""
        files = {**self.files("main"), **changes}
        sha = hashlib.sha1(repr((len(self.commits), files)).encode()).hexdigest()
        self.commits[sha] = {path: content for path, content in files.items() if content is not None}
        return sha

    def files(self, revision: str) -> dict[str, bytes]:
        return self.commits[self.resolve(revision)] if self.commits else {}

    def resolve(self, revision: str) -> str | None:
        """The sha of a revision; None if there is no such revision."""
        if revision == "main" and self.commits:
            return list(self.commits)[-1]
        return revision if revision in self.commits else None


class Answer(Exception):
    """What a request is answered with."""

    def __init__(self, status: int, body: bytes | dict | list = b"", **headers: str):
        super().__init__(status)
        self.status, self.headers = status, headers
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


class LookAlike:
    """The server: `with LookAlike() as hub: ... hub.url`; `requests` lists what it was asked, as "GET /path".

    `answer_all_with` is a status that it gives to every request instead, as a Hub that is out of order does.
    """

    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.answer_all_with: int | None = None

    def __enter__(self) -> "LookAlike":
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hub.requests.append(f"{self.command} {self.path}")
                known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                try:
                    hub.answer(self.command, unquote(urlsplit(self.path).path), body, known)
                except Answer as answer:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name.replace("_", "-"), value)
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(answer.body)

            do_GET = do_HEAD = do_POST = handle_any

            def log_message(self, *arguments) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method: str, path: str, body: bytes, known: bool) -> None:
        """Raise the [`Answer`] to a request; `known` says whether it came with the owner's token."""
        if self.answer_all_with is not None:
            raise Answer(self.answer_all_with)
        parts = path.strip("/").split("/")
        if path == "/api/validate-yaml":
            raise Answer(200, {"errors": [], "warnings": []})
        if path == "/api/whoami-v2":
            raise Answer(200, {"type": "user", "name": OWNER, "orgs": []}) if known else Answer(401)
        if path == "/api/repos/create":
            self.create(json.loads(body), known)
        if parts[:2] == ["api", "models"]:
            name, action = "/".join(parts[2:4]), parts[4:]
            repository = self.find(name, known)
            if method == "POST" and not known:
                raise Answer(403, X_Error_Message="you may not write here")
            if action[:1] == ["preupload"]:
                asked = json.loads(body)["files"]
                regular = {"uploadMode": "regular", "shouldIgnore": False}
                raise Answer(200, {"files": [{"path": file["path"], **regular} for file in asked]})
            if action[:1] == ["commit"]:
                self.commit(name, repository, body)
            revision = action[1] if len(action) > 1 else "main"
            sha, files = self.look(repository, revision)
            if action[:1] == ["tree"]:
                folder = "/".join([*action[2:], ""])
                raise Answer(
                    200, [describe(path, files[path]) for path in files if path.startswith(folder.lstrip("/"))]
                )
            if action[:1] in ([], ["revision"]):
                siblings = [{"rfilename": path} for path in files]
                about = {"_id": sha, "id": name, "sha": sha, "private": repository.private, "tags": []}
                raise Answer(200, {**about, "downloads": 0, "siblings": siblings, "gated": False})
        if len(parts) > 4 and parts[2] == "resolve":
            repository = self.find("/".join(parts[:2]), known)
            if repository.gated:
                raise Answer(403, X_Error_Code="GatedRepo")
            sha, files = self.look(repository, parts[3])
            content = files.get("/".join(parts[4:]))
            if content is None:
                raise Answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            raise Answer(200, content, ETag=etag, X_Repo_Commit=sha, Content_Type="application/octet-stream")
        raise Answer(404, {"error": f"the look-alike has no {method} {path}"})

    def find(self, name: str, known: bool) -> Repository:
        """As the Hub does, who shows no token can't tell what is private from what does not exist."""
        repository = self.repositories.get(name)
        if repository is None or (repository.private and not known):
            raise Answer(404 if known else 401, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        return repository

    def look(self, repository: Repository, revision: str) -> tuple[str, dict[str, bytes]]:
        sha = repository.resolve(revision)
        if sha is None:
            raise Answer(404, X_Error_Code="RevisionNotFound", X_Error_Message=f"Invalid rev id: {revision}")
        return sha, repository.files(sha)

    def create(self, asked: dict, known: bool) -> None:
        if not known:
            raise Answer(401, X_Error_Message="Invalid username or password.")
        if asked.get("organization") not in (None, OWNER):
            raise Answer(403, X_Error_Message=f"you may not create a model under {asked['organization']}")
        name = f"{asked.get('organization') or OWNER}/{asked['name']}"
        url = {"url": f"{self.url}/{name}", "name": name, "id": name}
        if name in self.repositories:
            raise Answer(409, {"error": "You already created this model repo", **url})
        self.repositories[name] = Repository(private=asked.get("visibility") == "private")
        self.repositories[name].commit({".gitattributes": b""})
        raise Answer(200, url)

    def commit(self, name: str, repository: Repository, body: bytes) -> None:
        changes: dict[str, bytes | None] = {}
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                changes[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                changes[line["value"]["path"]] = None
        sha = repository.commit(changes)
        url = f"{self.url}/{name}/commit/{sha}"
        raise Answer(200, {"success": True, "commitOid": sha, "commitUrl": url})


def describe(path: str, content: bytes) -> dict:
    """An entry of a repository's tree."""
    return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
