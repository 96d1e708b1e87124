"""RQ, the real one: its queue, and a `Worker` a job, which forks a work horse as it does in production.

The keys it was seen to write (3.0.0 and 2.12.0):

    enqueue     set `rq:queues` {rq:queue:Q}; hash `rq:job:<id>` (`status`, `created_at`, `enqueued_at`: ISO 8601 with
                microseconds and Z; `origin` Q); RPUSH list `rq:queue:Q`
    enqueue_in  zset `rq:scheduled:Q`: score = due, in whole seconds, rounded down: due up to a second early; no
                `enqueued_at` yet
    take        BLMOVE to list `rq:queue:Q:intermediate`; then zset `rq:wip:Q`: `<job>:<execution>`, score = expiry (now
                + 90 s, renewed by heartbeats); then LREM from `intermediate`: for some milliseconds a job is in both.
                `rq:worker:<name>`: `state` busy, up to 2.12 `current_job`; instead, from 3.0 on, set
                `rq:worker:<name>:executions` {<job>:<execution>}
    finish      gone from `rq:wip:Q`; zset `rq:finished:Q`, stream `rq:results:<id>`
    suspend     string `rq:suspended` "1"
"""

import datetime
import multiprocessing
import os
import signal

import protocol

given = protocol.arguments()

import redis  # noqa: E402
import rq  # noqa: E402
import rq.registry  # noqa: E402
import rq.suspension  # noqa: E402

QUEUE = given["queue"]


def connect():
    return redis.Redis(port=given["port"], db=given.get("database", 0))


def work(gate):
    """In a process of its own: one job, and that is it."""
    gate.forget()
    # The driver's end ends the job; this ends a worker that never got one.
    signal.alarm(int(given.get("seconds", 120)))
    connection = connect()
    rq.Worker([QUEUE], connection=connection).work(max_jobs=1, logging_level="WARNING")
    os._exit(0)


class Driver:
    def __init__(self):
        self.gate = protocol.Gate()
        self.connection = connect()
        self.queue = rq.Queue(QUEUE, connection=self.connection)
        self.workers = []

    def enqueue(self, count, delay_s=None):
        for _ in range(count):
            if delay_s is None:
                self.queue.enqueue("protocol.hold")
            else:
                self.queue.enqueue_in(datetime.timedelta(seconds=delay_s), "protocol.hold")

    def take(self, count, expect=None):
        context = multiprocessing.get_context("fork")
        for _ in range(count):
            worker = context.Process(target=work, args=(self.gate,), daemon=False)
            worker.start()
            self.workers.append(worker)
        self.gate.await_started(count if expect is None else expect)

    def finish(self, count):
        before = sum(worker.is_alive() for worker in self.workers)
        self.gate.let_go(count)
        protocol.wait_for("workers to end", lambda: sum(w.is_alive() for w in self.workers) <= before - count)

    def promote(self):
        """What a worker with a scheduler does every second: due jobs go to the queue."""
        scheduler = rq.scheduler.RQScheduler([QUEUE], connection=self.connection)
        scheduler.acquire_locks()
        scheduler.enqueue_scheduled_jobs()
        scheduler.release_locks()

    def report(self):
        scheduled = rq.registry.ScheduledJobRegistry(queue=self.queue)
        oldest = self.queue.get_jobs(0, 1)
        age = None
        if oldest:
            now = datetime.datetime.now(datetime.timezone.utc)
            enqueued = oldest[0].enqueued_at
            # RQ before 3 leaves the time zone, which is UTC, unsaid.
            age = (now - enqueued.replace(tzinfo=enqueued.tzinfo or now.tzinfo)).total_seconds()
        return {
            "depth": self.queue.count,
            "in_flight": rq.registry.StartedJobRegistry(queue=self.queue).count,
            "due": len(scheduled.get_jobs_to_schedule()),
            "oldest_age_s": age,
            "scheduled": scheduled.count,
            "paused": bool(rq.suspension.is_suspended(self.connection)),
        }

    def pause(self):
        rq.suspension.suspend(self.connection)

    def resume(self):
        rq.suspension.resume(self.connection)

    def close(self):
        self.gate.close()
        for worker in self.workers:
            worker.kill()


if __name__ == "__main__":
    protocol.serve(Driver(), "rq", rq.__version__)
