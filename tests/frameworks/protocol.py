"""How a test talks to a driver: one JSON object a line, in on stdin, out on stdout; here for the drivers in Python.

A driver is a small program around one real queue library. It is started with one argument, a JSON object:
`port` (the only server it may touch, on loopback), `queue`, `seconds` (it ends by itself after that) and options of its
own. It says `{"ready": ...}` once, then answers each command with `{"ok": true, ...}` or `{"error": "..."}`, and it ends
when stdin closes. The commands, where the library has what they are about:

    {"do": "enqueue", "count": 3, "delay_s": 1.5, "priority": 5}
    {"do": "take", "count": 2}       real workers take so many jobs and hold them; "expect" says so if fewer can start
    {"do": "finish", "count": 1}     so many of the held jobs end, as successes; nothing else is taken meanwhile
    {"do": "report"}                 what the library itself says: depth, in_flight, due, oldest_age_s; null: no word
    {"do": "pause"}, {"do": "resume"}
    {"do": "quit"}

Nothing is laid out by hand: every key on the server was written by the library.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

# Nothing that a driver waits for takes longer on a machine that is merely busy.
PATIENCE_S = 30


def arguments():
    """What the driver was started with."""
    given = json.loads(sys.argv[1])
    # The default action of the signal ends the process, whatever it is doing.
    signal.alarm(int(given.get("seconds", 120)))
    return given


def serve(driver, library, version):
    """Answers commands until stdin closes; `driver` has a method for each."""
    # Libraries and workers print as they like; what they print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer):
        print(json.dumps(answer), file=answers, flush=True)

    say({"ready": library, "version": version})
    for line in sys.stdin:
        command = json.loads(line)
        name = command.pop("do")
        if name == "quit":
            break
        try:
            method = getattr(driver, name, None)
            if method is None:
                raise NotImplementedError(f"{library} has no {name}")
            say({"ok": True, **(method(**command) or {})})
        except Exception as error:  # the test shows it, whatever it is
            say({"error": f"{type(error).__name__}: {error}"})
    driver.close()
    say({"ok": True})
    # Threads of libraries do not keep the process.
    os._exit(0)


def wait_for(what, condition):
    """Until `condition()` holds; its value."""
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE_S} s for {what}")
        time.sleep(0.02)
    return value


class Gate:
    """Holds jobs that run in other processes until they are let go: two named pipes, away from the server.

    A job writes a byte to `started` and reads one from `release`. The driver alone keeps `release` open for writing,
    so that a driver that is gone lets every job end.
    """

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="tidegate-gate-")
        self._pipes = {}
        for name in ("started", "release"):
            path = os.path.join(self._folder.name, name)
            os.mkfifo(path)
            os.environ[f"GATE_{name.upper()}"] = path
            self._pipes[name] = os.open(path, os.O_RDWR)

    def await_started(self, count):
        """Until so many more jobs have begun."""
        end = time.monotonic() + PATIENCE_S
        for begun in range(count):
            ready, _, _ = select.select([self._pipes["started"]], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{begun} of {count} jobs began within {PATIENCE_S} s")
            os.read(self._pipes["started"], 1)

    def let_go(self, count):
        os.write(self._pipes["release"], b"." * count)

    def forget(self):
        """In a child of the driver: its copies of the pipes would outlive the driver."""
        for pipe in self._pipes.values():
            os.close(pipe)

    def close(self):
        self.forget()
        self._folder.cleanup()


def hold():
    """The job: says that it has begun, and waits."""
    with open(os.environ["GATE_STARTED"], "wb", buffering=0) as started:
        started.write(b".")
    with open(os.environ["GATE_RELEASE"], "rb", buffering=0) as release:
        release.read(1)


def start_worker(given, *more):
    """The driver's own file as another process, a real worker; its stdin is a pipe whose end means: end."""
    argument = json.dumps({**given, "worker": more})
    return subprocess.Popen([sys.executable, sys.argv[0], argument], stdin=subprocess.PIPE, stdout=2)


def end_with_parent():
    """In a worker: a thread that waits for stdin to close, and ends everything."""
    import threading

    def watch():
        while os.read(0, 1):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
