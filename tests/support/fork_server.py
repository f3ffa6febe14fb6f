"""Runs commands of shell scripts in processes that have everything imported already.

As a server (``fork_server.py SOCKET``) it imports frbench once and forks a process for each
request. As a client (``fork_server.py SOCKET WORDS``) it hands its words, folder, environment and
standard streams to the server, passes signals on, and exits with the status of the process. The
words are those of ``python``: ``-m frbench ...``, ``-c CODE ...`` or ``-`` (code on stdin).
"""

import json
import os
import signal
import socket
import sys
from importlib import import_module


def serve(path: str) -> None:
    import torch

    from frbench.runs.catalogue import import_all

    for name in ("audit", "bench", "debias", "fit", "graph"):
        import_module(f"frbench.commands.{name}")
    torch.set_num_threads(1)
    import_all()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries the middle processes
        print("ready", flush=True)
        while True:
            connection = server.accept()[0]
            if not os.fork():
                server.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                supervise(connection)
                os._exit(0)
            connection.close()


def supervise(connection: socket.socket) -> None:
    """Fork the process of a request, and tell the client its id and its end."""
    message, streams, _, _ = socket.recv_fds(connection, 1 << 22, 3)
    while not message.endswith(b"\n"):
        message += connection.recv(1 << 22)
    request = json.loads(message)
    if not (child := os.fork()):
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os._exit(run(request))
    for stream in streams:
        os.close(stream)
    connection.sendall(f"{child}\n".encode())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(f"{status if status >= 0 else 128 - status}\n".encode())


def run(request: dict) -> int:
    import traceback

    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    words = request["words"]
    sys.stdin = os.fdopen(0, closefd=False)
    for number, name in enumerate(("stdout", "stderr"), 1):
        setattr(sys, name, os.fdopen(number, "w", 1, closefd=False))
    try:
        if words[:2] == ["-m", "frbench"]:
            from frbench.__main__ import main

            return main(words[2:])
        code, sys.argv = (words[1], words[1:]) if words[0] == "-c" else (sys.stdin.read(), words)
        sys.path[0] = ""
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        return 0
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def ask(path: str, words: list[str]) -> int:
    request = {"cwd": os.getcwd(), "environment": dict(os.environ), "words": words}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        message = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(connection, [message], [0, 1, 2])
        connection.sendall(message[sent:])
        with connection.makefile() as answers:
            child = int(next(answers))
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, lambda number, _: os.kill(child, number))
            return int(next(answers))


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])
