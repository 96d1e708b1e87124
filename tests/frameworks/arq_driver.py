"""arq, the real one: its pool, and a `Worker` for each take, all in one event loop.

The keys it was seen to write (0.28.0); `Q` is the whole key, by default `arq:queue`:

    enqueue  string `arq:job:<id>` (pickle, TTL a day); zset `Q`: id, score = due, ms: the time of enqueueing, or later
    take     string `arq:in-progress:<id>` (TTL of the job's timeout and 10 s), `arq:retry:<id>`; the id stays in `Q`
    finish   gone from `Q` and from `arq:in-progress:`; string `arq:result:<id>`
    worker   string `Q:health-check`: `j_ongoing=2 queued=7` and more, where `queued` is ZCARD Q: running and delayed too
"""

import asyncio
import threading
import time

import protocol

given = protocol.arguments()

import arq  # noqa: E402
import arq.connections  # noqa: E402
import arq.jobs  # noqa: E402
import arq.worker  # noqa: E402

QUEUE = given["queue"]
SERVER = arq.connections.RedisSettings(port=given["port"], database=given.get("database", 0))


class Driver:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.pool = self.run(arq.create_pool(SERVER, default_queue_name=QUEUE))
        self.begun = 0
        self.release = self.run(self.make_semaphore())
        self.workers = []

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(protocol.PATIENCE_S)

    async def make_semaphore(self):
        return asyncio.Semaphore(0)

    async def hold(self, context):
        self.begun += 1
        await self.release.acquire()

    def enqueue(self, count, delay_s=None):
        for _ in range(count):
            self.run(self.pool.enqueue_job("hold", _defer_by=delay_s))

    def take(self, count, expect=None):
        expected = self.begun + (count if expect is None else expect)
        self.workers.append(self.run(self.start_worker(count)))
        protocol.wait_for("jobs to begin", lambda: self.begun >= expected)

    async def start_worker(self, count):
        worker = arq.Worker(
            functions=[arq.worker.func(self.hold, name="hold")],
            redis_settings=SERVER, queue_name=QUEUE, max_jobs=count,
            poll_delay=0.05, health_check_interval=1, handle_signals=False,
        )
        # Kept, since the loop itself keeps no task alive.
        worker.running = asyncio.ensure_future(worker.async_run())
        return worker

    def finish(self, count):
        for worker in self.workers:
            # As at a worker's shutdown: jobs go on, none is picked up.
            worker.allow_pick_jobs = False
        before = self.complete()
        for _ in range(count):
            self.loop.call_soon_threadsafe(self.release.release)
        protocol.wait_for("jobs to end", lambda: self.complete() >= before + count)

    def complete(self):
        return sum(worker.jobs_complete for worker in self.workers)

    def report(self):
        return self.run(self.ask())

    async def ask(self):
        """Every job that the pool lists, by the status that the library gives it."""
        jobs = await self.pool.queued_jobs()
        statuses = [await arq.jobs.Job(job.job_id, self.pool, QUEUE).status() for job in jobs]
        waiting = [job for job, status in zip(jobs, statuses) if status is arq.jobs.JobStatus.queued]
        oldest = min((job.score for job in waiting), default=None)
        return {
            "depth": len(waiting),
            "in_flight": statuses.count(arq.jobs.JobStatus.in_progress),
            # Due jobs are in the queue like any other.
            "due": None,
            "oldest_age_s": None if oldest is None else time.time() - oldest / 1000,
            "deferred": statuses.count(arq.jobs.JobStatus.deferred),
            "health": (await self.pool.get(f"{QUEUE}:health-check") or b"").decode(),
        }

    def close(self):
        pass


if __name__ == "__main__":
    protocol.serve(Driver(), "arq", arq.VERSION)
