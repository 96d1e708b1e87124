"""Celery over Redis, the real one: its producer, and `celery worker` with its default pool of processes.

The keys it was seen to write (Celery 5.7.0, kombu 5.7.0; each with `global_keyprefix` in front, if there is one):

    enqueue    LPUSH list `Q`, or `Q` SEP step for priorities from the second step on; the message is JSON without any
               time. Sets `_kombu.binding.Q` and (new in 5.7) `_kombu.binding_permanent.Q`: {routing key SEP pattern SEP Q}
    take       hash `unacked`: delivery tag -> JSON [message, exchange, routing key], exchange "" and routing key Q for
               the default exchange; zset `unacked_index`: delivery tag -> time of delivery, float seconds
    ack        both entries go: by default as the task begins (then a running task is nowhere, and one more a process is
               kept ready, which is in `unacked`), with `acks_late` as it ends
    countdown  into the queue at once; a worker takes it, long before it is due, does not count it as prefetched, and
               keeps it in its memory and in `unacked`
    worker     sets `_kombu.binding.celery.pidbox`, zset `_kombu.binding_deadlines`; while somebody inspects it, lists
               `<uuid>.reply.celery.pidbox`
"""

import sys

import protocol

given = protocol.arguments()

import celery  # noqa: E402
import kombu  # noqa: E402

QUEUE = given["queue"]

app = celery.Celery("driver", broker=f"redis://127.0.0.1:{given['port']}/{given.get('database', 0)}")
app.conf.update(
    broker_transport_options=given.get("transport", {}),
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_acks_late=given.get("acks_late", False),
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=False,
)


@app.task(name="hold")
def hold():
    protocol.hold()


class Driver:
    def __init__(self):
        self.gate = protocol.Gate()
        self.workers = []

    def enqueue(self, count, priority=None, delay_s=None):
        for _ in range(count):
            hold.apply_async(priority=priority, countdown=delay_s)

    def take(self, count, expect=None):
        name = f"take{len(self.workers)}@driver"
        self.workers.append((name, protocol.start_worker(given, name, count)))
        protocol.wait_for("the worker", lambda: app.control.ping(destination=[name], timeout=1))
        self.gate.await_started(count if expect is None else expect)

    def finish(self, count):
        names = [name for name, _ in self.workers]
        app.control.cancel_consumer(QUEUE, destination=names, reply=True, timeout=protocol.PATIENCE_S)
        before = self.at_workers()
        self.gate.let_go(count)
        protocol.wait_for("jobs to end", lambda: self.at_workers() <= before - count)

    def at_workers(self):
        """What workers run or keep ready: early acknowledgement lets a kept one begin where another has ended."""
        report = self.report()
        return report["running"] + report["reserved"]

    def report(self):
        """The broker's count of the queue; the workers' own lists of what they run, keep ready, and keep for later."""
        with app.connection_for_read() as connection:
            # Not as a passive declaration: that one asks EXISTS without the prefix (kombu 5.7) and finds nothing.
            depth = connection.default_channel.queue_declare(QUEUE).message_count
        answer = {"depth": depth, "running": 0, "reserved": 0, "scheduled": 0}
        if self.workers:
            names = [name for name, _ in self.workers]
            inspect = app.control.inspect(destination=names, timeout=5)
            for field, lists in (
                ("running", inspect.active()),
                ("reserved", inspect.reserved()),
                ("scheduled", inspect.scheduled()),
            ):
                if len(lists or {}) != len(names):
                    raise TimeoutError(f"not all of {names} answered: {lists}")
                answer[field] = sum(len(tasks) for tasks in lists.values())
        answer["in_flight"] = answer["running"]
        return {**answer, "due": None, "oldest_age_s": None}

    def close(self):
        for _, worker in self.workers:
            worker.stdin.close()
        self.gate.close()


def work(name, concurrency):
    protocol.end_with_parent()
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
    app.worker_main(["worker", "--hostname", name, "--concurrency", str(concurrency), *quiet])


if __name__ == "__main__":
    if given.get("worker"):
        sys.exit(work(*given["worker"]))
    protocol.serve(Driver(), "celery", f"{celery.__version__} (kombu {kombu.__version__})")
