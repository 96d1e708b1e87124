// BullMQ, the real one, in the version that its argument `package` names: its `Queue`, and a `Worker` for each take.
// How a test talks to it: protocol.py.
//
// The keys it was seen to write (5.81.5 and 6.7.0), each as `bull:Q:` and this:
//   add         hash `<id>` (`timestamp` ms, `delay`, `priority`), strings `id`, `pc`, stream `events`, zset `marker`;
//               LPUSH list `wait`; with a priority zset `prioritized`, score = priority * 2^32 + counter;
//               hash `meta`: `version` ("bullmq:6.7.0"), `opts.maxLenEvents`
//   delay       zset `delayed`, score = due ms * 4096 + sequence; `delay` of the hash becomes 0 when it is promoted
//   take        a fetch promotes what is due, then wait -> list `active`, `<id>:lock` (TTL 30 s), `stalled-check`
//   finish      zset `completed`
//   pause       hash `meta`: `paused` "1"; up to 5 also RENAME wait paused, and new jobs go to list `paused`, while
//               those with a priority stay in `prioritized`
//   concurrency hash `meta`: `concurrency`
// A worker with a free slot that was told to pause still takes one more: it waits in a blocking call.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const PATIENCE_MS = 30_000;
const given = JSON.parse(process.argv[2]);
setTimeout(() => process.exit(3), (given.seconds ?? 120) * 1000);
// What libraries print goes to stderr.
console.log = console.info = console.warn = console.error;

// The packages are installed away from this file.
const require = createRequire(`${given.modules}/package.json`);
const { Queue, Worker } = require(given.package);
const { version } = require(`${given.package}/package.json`);

const connection = { host: "127.0.0.1", port: given.port, db: given.database ?? 0 };
const prefix = given.prefix ?? "bull";
const queue = new Queue(given.queue, { connection, prefix });
// Connections that are lost as the test ends are nobody's concern.
queue.on("error", () => {});

const workers = [];
let begun = 0;
let ended = 0;
/** What lets the held jobs go, in the order in which they began. */
const held = [];

function waitFor(what, condition) {
    const end = Date.now() + PATIENCE_MS;
    return new Promise((resolve, reject) => {
        const look = () => {
            if (condition()) resolve();
            else if (Date.now() > end) reject(new Error(`waited ${PATIENCE_MS} ms for ${what}`));
            else setTimeout(look, 10);
        };
        look();
    });
}

const commands = {
    async enqueue({ count, priority, delay_s }) {
        const opts = { priority, delay: delay_s === undefined ? undefined : delay_s * 1000 };
        await queue.addBulk(Array.from({ length: count }, () => ({ name: "hold", data: {}, opts })));
    },

    async take({ count, expect }) {
        const expected = begun + (expect ?? count);
        const job = () => new Promise((resolve) => { begun += 1; held.push(resolve); });
        const worker = new Worker(given.queue, job, { connection, prefix, concurrency: count });
        worker.on("completed", () => { ended += 1; });
        worker.on("error", () => {});
        workers.push(worker);
        await waitFor("jobs to begin", () => begun >= expected);
    },

    async finish({ count }) {
        // These workers fetch nothing more; what they run goes on.
        await Promise.all(workers.map((worker) => worker.pause(true)));
        const expected = ended + count;
        for (const release of held.splice(0, count)) release();
        await waitFor("jobs to end", () => ended >= expected);
    },

    async report() {
        const counts = await queue.getJobCounts("wait", "paused", "prioritized", "active", "delayed");
        const now = Date.now();
        const delayed = await queue.getDelayed(0, -1);
        const waiting = await queue.getWaiting(0, 0);
        return {
            depth: counts.wait + (counts.paused ?? 0) + counts.prioritized,
            in_flight: await queue.getActiveCount(),
            due: delayed.filter((job) => job.timestamp + job.delay <= now).length,
            oldest_age_s: waiting.length === 0 ? null : (now - waiting[0].timestamp) / 1000,
            paused: await queue.isPaused(),
            limit: await queue.getGlobalConcurrency(),
            counts,
        };
    },

    pause: () => queue.pause(),
    resume: () => queue.resume(),
    limit: ({ concurrency }) => concurrency === null ? queue.removeGlobalConcurrency() : queue.setGlobalConcurrency(concurrency),
};

function say(answer) {
    process.stdout.write(`${JSON.stringify(answer)}\n`);
}

await queue.waitUntilReady();
say({ ready: "bullmq", version });
for await (const line of createInterface({ input: process.stdin })) {
    const { do: name, ...options } = JSON.parse(line);
    if (name === "quit") break;
    try {
        if (!commands[name]) throw new Error(`bullmq has no ${name}`);
        const answer = await commands[name](options);
        say({ ok: true, ...(typeof answer === "object" ? answer : {}) });
    } catch (error) {
        say({ error: `${error}` });
    }
}
say({ ok: true });
process.exit(0);
