"""Dramatiq, the real one: its Redis broker, and a `Worker` with its threads for each take.

The keys it was seen to write (2.2.1), N being the namespace:

    enqueue  hash `N:Q.msgs`: id -> JSON with `message_timestamp` (ms); RPUSH list `N:Q` of the ids; zset
             `N:__heartbeats__` broker -> ms, with every command of anybody
    delay    list `N:Q.DQ`, hash `N:Q.DQ.msgs`, whose JSON has `options.eta` (ms), when it is due; in order of enqueueing
    fetch    LPOP, and set `N:__acks__.<broker>.Q` of ids; the hash keeps the message. Delayed ones are fetched too, up
             to a thousand a thread, long before they are due: list `N:Q.DQ` empties, hash `N:Q.DQ.msgs` does not
    due      the worker that has it enqueues it anew, with its old `message_timestamp`; without a worker nobody does
    ack      gone from `N:__acks__...` and from the hash
"""

import threading

import protocol

given = protocol.arguments()

import dramatiq  # noqa: E402
import dramatiq.brokers.redis  # noqa: E402

QUEUE = given["queue"]


class Hold:
    """Jobs of this process wait here."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.release = threading.Semaphore(0)

    def job(self):
        self.begun.release()
        self.release.acquire()


class Ended(dramatiq.Middleware):
    """Counts what the library has acknowledged."""

    def __init__(self):
        self.count = 0

    def after_ack(self, broker, message):
        if message.queue_name == QUEUE:
            self.count += 1


class Driver:
    def __init__(self):
        self.hold = Hold()
        self.ended = Ended()
        self.broker, self.actor = self.make_broker()
        self.workers = []

    def make_broker(self):
        broker = dramatiq.brokers.redis.RedisBroker(
            host="127.0.0.1", port=given["port"], db=given.get("database", 0),
            namespace=given.get("namespace", "dramatiq"), middleware=[self.ended],
        )
        return broker, dramatiq.actor(self.hold.job, actor_name="hold", queue_name=QUEUE, broker=broker)

    def enqueue(self, count, delay_s=None):
        for _ in range(count):
            self.actor.send_with_options(delay=None if delay_s is None else int(delay_s * 1000))

    def take(self, count, expect=None, prefetch=None):
        # A broker of its own for each worker: it counts apart what was fetched in its name.
        broker, _ = self.make_broker()
        worker = dramatiq.Worker(broker, worker_threads=count, worker_timeout=100)
        # By default twice the threads, of which half then only waits in the worker's memory.
        worker.queue_prefetch = prefetch or count
        worker.start()
        self.workers.append(worker)
        for begun in range(count if expect is None else expect):
            if not self.hold.begun.acquire(timeout=protocol.PATIENCE_S):
                raise TimeoutError(f"{begun} of {count} jobs began")

    def finish(self, count):
        # Not Worker.pause: it waits for busy threads too.
        consumers = [consumer for worker in self.workers for consumer in worker.consumers.values()]
        for consumer in consumers:
            consumer.pause()
        for consumer in consumers:
            consumer.paused_event.wait(protocol.PATIENCE_S)
        before = self.ended.count
        self.hold.release.release(count)
        protocol.wait_for("acknowledgements", lambda: self.ended.count >= before + count)

    def report(self):
        """The library counts one thing: `qsize`, all messages not yet acknowledged, delayed ones too, and those that
        the asking broker has fetched once more. So the difference of two brokers' answers is what one has fetched."""
        total = self.broker.do_qsize(QUEUE)
        in_flight = sum(worker.broker.do_qsize(QUEUE) - total for worker in self.workers)
        return {"depth": total - in_flight, "in_flight": in_flight, "due": None, "oldest_age_s": None}

    def close(self):
        pass


if __name__ == "__main__":
    protocol.serve(Driver(), "dramatiq", dramatiq.__version__)
