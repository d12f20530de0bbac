// BullMQ: workers, delays, priorities, retries, rate limits, schedulers, flows, events, stalled jobs, cleaning; on both of its clients.
//
// Nearly all that BullMQ does is done by its own Lua scripts (about sixty): every test here runs several of them.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DelayedError, FlowProducer, Queue, QueueEvents, UnrecoverableError, Worker } from "bullmq";
import Redis from "ioredis";
import { createClient } from "redis";
import { port, until } from "./common.mjs";

const sleep = (ms) => new Promise((resume) => setTimeout(resume, ms));

const kinds = {
  ioredis: async () => ({ host: "127.0.0.1", port, maxRetriesPerRequest: null }),
  "node-redis": async () => createClient({ url: `redis://127.0.0.1:${port}` }).on("error", () => {}),
};

for (const [kind, connecting] of Object.entries(kinds)) {
  describe(`BullMQ over ${kind}`, { timeout: 150_000 }, () => {
    let redis, connection;
    const opened = [];
    const keep = (thing) => (opened.push(thing), thing);
    const queue = (name, options = {}) => keep(new Queue(name, { connection, ...options }));
    const worker = (name, process, options = {}) => keep(new Worker(name, process, { connection, ...options }).on("error", () => {}));
    const events = async (name) => {
      const listener = keep(new QueueEvents(name, { connection }));
      await listener.waitUntilReady();
      return listener;
    };
    before(async () => {
      redis = new Redis({ host: "127.0.0.1", port });
      await redis.flushall();
      connection = await connecting();
    });
    after(async () => {
      await Promise.all(opened.map((thing) => thing.close().catch(() => {})));
      await redis.quit();
    });

    test("fifty jobs are worked off, with results, progress and logs", { timeout: 60_000 }, async () => {
      const jobs = queue("plain");
      const listener = await events("plain");
      const progress = [];
      listener.on("progress", ({ data }) => progress.push(data));
      await jobs.addBulk(Array.from({ length: 49 }, (_, n) => ({ name: "square", data: { n } })));
      const last = await jobs.add("square", { n: 49 }, { jobId: "the-last" });
      assert.equal((await jobs.add("square", { n: 0 }, { jobId: "the-last" })).id, "the-last");
      assert.equal((await jobs.getJobCounts("waiting")).waiting, 50);
      worker("plain", async (job) => {
        await job.updateProgress(job.data.n);
        await job.log(`working on ${job.data.n}`);
        return job.data.n ** 2;
      }, { concurrency: 5 });
      assert.equal(await last.waitUntilFinished(listener, 30_000), 2401);
      await until(async () => (await jobs.getJobCounts("completed")).completed === 50, "all are completed");
      const done = await jobs.getCompleted();
      assert.deepEqual(done.map((job) => job.returnvalue).sort((a, b) => a - b), Array.from({ length: 50 }, (_, n) => n * n));
      assert.deepEqual((await jobs.getJobLogs("the-last")).logs, ["working on 49"]);
      await until(() => progress.length === 50, "all progress was heard of");
    });

    test("delayed jobs wait, and by priority", { timeout: 60_000 }, async () => {
      const jobs = queue("delayed");
      const started = Date.now();
      await jobs.add("late", {}, { delay: 600 });
      await jobs.add("sooner", {}, { delay: 200 });
      const far = await jobs.add("never", {}, { delay: 3_600_000 });
      assert.equal((await jobs.getJobCounts("delayed")).delayed, 3);
      const seen = [];
      worker("delayed", async (job) => seen.push([job.name, Date.now() - started]));
      await until(() => seen.length === 2, "both came");
      assert.deepEqual(seen.map(([name]) => name), ["sooner", "late"]);
      assert.ok(seen[0][1] >= 200 && seen[1][1] >= 600, JSON.stringify(seen));
      await far.changeDelay(1);
      await until(() => seen.length === 3, "the delay was changed");
      const later = await jobs.add("promoted", {}, { delay: 3_600_000 });
      await later.promote();
      await until(() => seen.length === 4, "it was promoted");

      const ranked = queue("ranked");
      for (const priority of [5, 1, 3]) await ranked.add(`p${priority}`, {}, { priority });
      await ranked.add("first", {});
      await ranked.add("front", {}, { lifo: true });
      const order = [];
      worker("ranked", async (job) => order.push(job.name));
      await until(() => order.length === 5, "all five");
      assert.deepEqual(order, ["front", "first", "p1", "p3", "p5"]);
    });

    test("failures are tried again with backoff, or kept", { timeout: 60_000 }, async () => {
      const jobs = queue("failing");
      const listener = await events("failing");
      worker("failing", async (job) => {
        if (job.name === "hopeless") throw new UnrecoverableError("no");
        if (job.attemptsMade < 2) throw new Error(`attempt ${job.attemptsMade}`);
        return "at last";
      });
      const job = await jobs.add("flaky", {}, { attempts: 3, backoff: { type: "exponential", delay: 50 } });
      assert.equal(await job.waitUntilFinished(listener, 30_000), "at last");
      assert.equal((await jobs.getJob(job.id)).attemptsMade, 3);
      const hopeless = await jobs.add("hopeless", {}, { attempts: 5 });
      await assert.rejects(hopeless.waitUntilFinished(listener, 30_000), /no/);
      const [failed] = await jobs.getFailed();
      assert.equal(failed.failedReason, "no");
      assert.equal(await failed.getState(), "failed");
      await failed.remove();
      assert.equal((await jobs.getJobCounts("failed")).failed, 0);
    });

    test("a rate limit holds", { timeout: 60_000 }, async () => {
      const jobs = queue("limited");
      await jobs.addBulk(Array.from({ length: 6 }, (_, n) => ({ name: "x", data: n })));
      const times = [];
      const limited = worker("limited", async () => times.push(Date.now()), { limiter: { max: 2, duration: 400 }, concurrency: 6 });
      await until(() => times.length === 6, "all six");
      assert.ok(times[5] - times[0] >= 700, `six jobs, two each 400 ms, took ${times[5] - times[0]} ms`);
      await limited.rateLimit(300);
      assert.ok((await jobs.getRateLimitTtl(1)) !== undefined);
    });

    test("schedulers repeat jobs, by time and by cron", { timeout: 60_000 }, async () => {
      const jobs = queue("repeated");
      await jobs.upsertJobScheduler("tick", { every: 200 }, { name: "tick", data: { a: 1 } });
      await jobs.upsertJobScheduler("nightly", { pattern: "0 3 * * *" }, { name: "nightly" });
      assert.equal(await jobs.getJobSchedulersCount(), 2);
      let ticks = 0;
      worker("repeated", async (job) => void (job.name === "tick" && ticks++));
      await until(() => ticks >= 3, "three ticks");
      assert.equal(await jobs.removeJobScheduler("tick"), true);
      assert.deepEqual((await jobs.getJobSchedulers()).map((s) => s.key), ["nightly"]);
      const limited = await jobs.upsertJobScheduler("twice", { every: 100, limit: 2 }, { name: "tick" });
      assert.ok(limited.id);
    });

    test("a flow's parent waits for its children", { timeout: 60_000 }, async () => {
      const flows = keep(new FlowProducer({ connection }));
      const parents = queue("parents");
      const listener = await events("parents");
      worker("children", async (job) => job.data.n * 10);
      worker("parents", async (job) => Object.values(await job.getChildrenValues()).reduce((a, b) => a + b, 0));
      const tree = await flows.add({
        name: "sum", queueName: "parents", data: {},
        children: [1, 2, 3].map((n) => ({ name: "part", data: { n }, queueName: "children" })),
      });
      assert.equal(await tree.job.waitUntilFinished(listener, 30_000), 60);
      assert.equal((await tree.job.getDependencies()).processed && Object.keys((await tree.job.getDependencies()).processed).length, 3);
      const waiting = await flows.add({
        name: "kept", queueName: "parents",
        children: [{ name: "held", queueName: "nobody", data: {}, opts: { failParentOnFailure: true } }],
      });
      assert.equal(await waiting.job.getState(), "waiting-children");
      const nobody = queue("nobody");
      await nobody.obliterate({ force: true });
    });

    test("pausing, draining, cleaning, retrying, moving", { timeout: 60_000 }, async () => {
      const jobs = queue("managed");
      await jobs.pause();
      await jobs.addBulk(Array.from({ length: 5 }, (_, n) => ({ name: "x", data: n })));
      assert.equal(await jobs.isPaused(), true);
      let worked = 0;
      let fail = true;
      worker("managed", async (job, token) => {
        if (job.name === "moved" && !job.data.moved) {
          await job.updateData({ moved: true });
          await job.moveToDelayed(Date.now() + 50, token);
          throw new DelayedError();
        }
        if (job.name === "bad" && fail) throw new Error("bad");
        worked++;
      });
      await sleep(100);
      assert.equal(worked, 0);
      await jobs.resume();
      await until(() => worked === 5, "all five, once it goes on");
      await jobs.add("moved", {});
      await until(() => worked === 6, "the job that put itself off");
      const bad = await jobs.add("bad", {});
      await until(async () => (await bad.getState()) === "failed", "it failed");
      fail = false;
      await bad.retry();
      await until(() => worked === 7, "it was tried again");
      await until(async () => (await jobs.getJobCounts("completed")).completed === 7, "seven are completed");
      assert.equal((await jobs.clean(0, 100, "completed")).length, 7);
      await jobs.add("stays", {}, { delay: 100_000 });
      await jobs.drain(true);
      assert.deepEqual(await jobs.getJobCounts("waiting", "delayed", "active"), { waiting: 0, delayed: 0, active: 0 });
      await jobs.obliterate({ force: true });
      assert.deepEqual(await redis.keys("bull:managed:*").then((keys) => keys.filter((key) => !/:(meta|marker|events)$/.test(key))), []);
    });

    test("duplicates are left out, and old results removed", { timeout: 60_000 }, async () => {
      const jobs = queue("once", { defaultJobOptions: { removeOnComplete: 2 } });
      const first = await jobs.add("a", {}, { deduplication: { id: "same", ttl: 60_000 } });
      const second = await jobs.add("a", {}, { deduplication: { id: "same", ttl: 60_000 } });
      assert.equal(second.id, first.id);
      for (let n = 0; n < 5; n++) await jobs.add("b", { n });
      let worked = 0;
      worker("once", async () => worked++);
      await until(() => worked === 6, "six");
      await until(async () => (await jobs.getJobCounts("completed")).completed === 2, "two are kept");
    });

    test("the jobs of a worker that died are taken up", { timeout: 60_000 }, async () => {
      const jobs = queue("stalling");
      const dying = worker("stalling", () => new Promise(() => {}), { lockDuration: 500, skipLockRenewal: true, skipStalledCheck: true });
      const job = await jobs.add("x", {});
      await until(async () => (await job.getState()) === "active", "it is being worked on");
      await dying.close(true);
      let rescued = false;
      worker("stalling", async () => { rescued = true; }, { stalledInterval: 300, maxStalledCount: 2 });
      await until(() => rescued, "another worker took it");
    });
  });
}
