"""Downloads from a server of our own: whole files arrive, everything else leaves nothing behind."""

import hashlib
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from tinygen.data.download import DownloadError, download, npm_pack

BODY = bytes(range(256)) * 1000
MD5 = hashlib.md5(BODY).hexdigest()
HEADERS = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)


@contextmanager
def server(answer):
    """The URL of a server that reads a request and lets `answer(connection, over)` reply; `over` is set at the end."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def serve():
            try:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    answer(connection, over)
            except OSError:  # the client went away, as it should
                pass
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/data.tar.gz"
        over.set()
        thread.join(5)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def send(*parts):
    return lambda connection, over: connection.sendall(b"".join(parts))


def stall(connection, over):
    connection.sendall(HEADERS + BODY[:1000])
    over.wait(30)


def say_nothing(connection, over):
    over.wait(30)


def trickle(connection, over):
    connection.sendall(HEADERS)
    for _ in range(200):  # never silent for long, unless this thread is kept waiting
        connection.sendall(b"x")
        if over.wait(0.02):
            return


def test_a_whole_file_arrives(tmp_path, capsys):
    with server(send(HEADERS, BODY)) as url:
        path = download(url, tmp_path / "file", MD5)
    assert path.read_bytes() == BODY and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("answer, reason", [
    (stall, "silent for 0.4 s"), (say_nothing, "0.4 s"), (trickle, "sends only 0 kB/s|silent"),
    (send(HEADERS, BODY[:5000]), "cut short or damaged"), (send(HEADERS, BODY[:-1], b"?"), "cut short or damaged"),
    (send(b"HTTP/1.0 503 Busy\r\n\r\n"), "503")])
def test_a_bad_server_is_given_up_soon(tmp_path, answer, reason):
    start = time.monotonic()
    with server(answer) as url:
        with pytest.raises(DownloadError, match=reason):
            download(url, tmp_path / "file", MD5, patience=0.4)
    assert time.monotonic() - start < 20 and not list(tmp_path.iterdir())


def test_no_server(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DownloadError, match="refused"):
        download(f"http://127.0.0.1:{port}/", tmp_path / "file", MD5, patience=2)


def fake_npm(folder, monkeypatch, script):
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_npm_brings_its_archive(tmp_path, monkeypatch):
    fake_npm(tmp_path / "bin", monkeypatch, 'echo "$2" > found-1.0.tgz')
    assert npm_pack("found@1.0", tmp_path).read_text() == "found@1.0\n"


@pytest.mark.parametrize("script, reason", [("echo 'npm error E404 no such thing' >&2; exit 1", "E404"),
                                            ("exit 0", "no reason"), ("sleep 30", "more than 1 s")])
def test_npm_fails_in_one_line(tmp_path, monkeypatch, script, reason):
    fake_npm(tmp_path / "bin", monkeypatch, script)
    start = time.monotonic()
    with pytest.raises(DownloadError, match=reason):
        npm_pack("lost", tmp_path, patience=1)
    assert time.monotonic() - start < 20


def test_without_npm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match="not installed"):
        npm_pack("any", tmp_path)
