// ioredis: types, pipelines, transactions, scripts, pub/sub, streams, scans, blocking, sentinels; RESP2 and RESP3.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import Redis from "ioredis";
import { group, port, sentinels, until } from "./common.mjs";

for (const protocol of [2, 3]) {
  describe(`ioredis, RESP${protocol}`, { timeout: 100_000 }, () => {
    let redis;
    const connect = (options = {}) => new Redis({ port, host: "127.0.0.1", protocol, ...options });
    before(async () => {
      redis = connect({ connectionName: `io${protocol}` });
      await redis.flushall();
    });
    after(() => redis.quit());

    test("connects, is ready, has a name", { timeout: 20_000 }, async () => {
      assert.equal(await redis.ping(), "PONG");
      assert.equal(redis.status, "ready");
      assert.equal(await redis.client("GETNAME"), `io${protocol}`);
      const info = await redis.client("INFO");
      assert.match(info, new RegExp(` resp=${protocol}`));
    });

    test("strings, hashes, lists, sets, sorted sets", { timeout: 20_000 }, async () => {
      assert.equal(await redis.set("s", "v", "EX", 100, "NX"), "OK");
      assert.equal(await redis.set("s", "w", "NX"), null);
      assert.equal(await redis.get("s"), "v");
      assert.deepEqual(await redis.getBuffer("s"), Buffer.from("v"));
      assert.equal(await redis.hset("h", { a: 1, b: 2 }), 2);
      assert.deepEqual({ ...(await redis.hgetall("h")) }, { a: "1", b: "2" });
      assert.equal(await redis.rpush("l", 1, 2, 3), 3);
      assert.deepEqual(await redis.lrange("l", 0, -1), ["1", "2", "3"]);
      assert.equal(await redis.sadd("t", "x", "y"), 2);
      assert.deepEqual((await redis.smembers("t")).sort(), ["x", "y"]);
      assert.equal(await redis.zadd("z", 1, "one", 0.5, "half"), 2);
      assert.deepEqual(await redis.zrange("z", 0, -1), ["half", "one"]);
      assert.equal(Number(await redis.zscore("z", "half")), 0.5);
      assert.deepEqual((await redis.zrangebyscore("z", "-inf", "+inf", "WITHSCORES")).flat().map(String), ["half", "0.5", "one", "1"]);
      await assert.rejects(redis.lpush("s", 1), /WRONGTYPE/);
    });

    test("pipelines and transactions", { timeout: 20_000 }, async () => {
      const piped = await redis.pipeline().set("p", 1).incr("p").lpush("p", "x").get("p").exec();
      assert.deepEqual(piped.map(([error]) => error?.message?.slice(0, 9) ?? null), [null, null, "WRONGTYPE", null]);
      assert.equal(piped[3][1], "2");
      assert.deepEqual(await redis.multi().set("m", 1).incr("m").get("m").exec(), [[null, "OK"], [null, 2], [null, "2"]]);
      const other = connect();
      await other.watch("w");
      await redis.set("w", 1);
      assert.equal(await other.multi().set("w", 2).exec(), null);
      await assert.rejects(redis.multi().set("x").exec(), /EXECABORT/);
      await other.quit();
    });

    test("a hundred concurrent commands are pipelined by the client itself", { timeout: 20_000 }, async () => {
      const auto = connect({ enableAutoPipelining: true });
      await Promise.all(Array.from({ length: 100 }, (_, n) => auto.set(`auto:${n}`, n)));
      const back = await Promise.all(Array.from({ length: 100 }, (_, n) => auto.get(`auto:${n}`)));
      assert.deepEqual(back, Array.from({ length: 100 }, (_, n) => String(n)));
      await auto.quit();
    });

    test("a script defined as a command, also after SCRIPT FLUSH", { timeout: 20_000 }, async () => {
      redis.defineCommand("both", { numberOfKeys: 2, lua: "return {KEYS[1],KEYS[2],ARGV[1],redis.call('incr',KEYS[1])}" });
      assert.deepEqual(await redis.both("n1", "n2", "x"), ["n1", "n2", "x", 1]);
      await redis.script("FLUSH");
      assert.deepEqual(await redis.both("n1", "n2", "x"), ["n1", "n2", "x", 2]);
      const piped = await redis.pipeline().both("n1", "n2", "y").exec();
      assert.deepEqual(piped, [[null, ["n1", "n2", "y", 3]]]);
    });

    test("messages and patterns", { timeout: 20_000 }, async () => {
      const listener = connect();
      const heard = [];
      listener.on("message", (channel, text) => heard.push([channel, text]));
      listener.on("pmessage", (pattern, channel, text) => heard.push([pattern, channel, text]));
      assert.equal(await listener.subscribe("news", "weather"), 2);
      assert.equal(await listener.psubscribe("n?ws"), 3);
      assert.equal(await redis.publish("news", "hello"), 2);
      await until(() => heard.length === 2, "both messages");
      assert.deepEqual(heard, [["news", "hello"], ["n?ws", "news", "hello"]]);
      assert.equal(await listener.unsubscribe("news", "weather"), 1);
      assert.equal(await listener.punsubscribe("n?ws"), 0);
      assert.equal(await listener.get("s"), "v");
      const sharded = connect();
      sharded.on("smessage", (channel, text) => heard.push([channel, text]));
      await sharded.ssubscribe("shard");
      assert.equal(await redis.spublish("shard", "s"), 1);
      await until(() => heard.length === 3, "the sharded message");
      await Promise.all([listener.quit(), sharded.quit()]);
    });

    test("streams and groups", { timeout: 20_000 }, async () => {
      await redis.xgroup("CREATE", "st", "g", "$", "MKSTREAM");
      const id = await redis.xadd("st", "*", "a", 1, "b", 2);
      const read = await redis.xreadgroup("GROUP", "g", "c", "COUNT", 10, "STREAMS", "st", ">");
      const [, entries] = Array.isArray(read) ? read[0] : Object.entries(read)[0];
      assert.deepEqual(entries, [[id, ["a", "1", "b", "2"]]]);
      assert.equal(await redis.xack("st", "g", id), 1);
      const waiting = connect();
      const blocked = waiting.xread("BLOCK", 20000, "STREAMS", "st", "$");
      await until(async () => /flags=b/.test(await redis.client("LIST")), "somebody is blocked");
      await redis.xadd("st", "*", "late", 1);
      assert.ok(await blocked);
      await waiting.quit();
    });

    test("scans as streams", { timeout: 20_000 }, async () => {
      const pipe = redis.pipeline();
      for (let n = 0; n < 500; n++) pipe.set(`scan:${n}`, n);
      await pipe.exec();
      const seen = new Set();
      for await (const keys of redis.scanStream({ match: "scan:*", count: 50 })) keys.forEach((key) => seen.add(key));
      assert.equal(seen.size, 500);
      await redis.hset("bigh", Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`f${n}`, n])));
      let fields = 0;
      for await (const part of redis.hscanStream("bigh")) fields += part.length / 2;
      assert.equal(fields, 300);
    });

    test("blocking pops and MONITOR", { timeout: 20_000 }, async () => {
      const waiting = connect();
      const popped = waiting.blpop("queue", 20);
      await until(async () => /flags=b/.test(await redis.client("LIST")), "somebody is blocked");
      await redis.rpush("queue", "job");
      assert.deepEqual(await popped, ["queue", "job"]);
      await waiting.quit();
      const monitor = await connect().monitor();
      const seen = [];
      monitor.on("monitor", (time, args) => seen.push(args));
      await until(async () => {
        await redis.set("watched", 1);
        return seen.some((args) => args[0].toLowerCase() === "set" && args[1] === "watched");
      }, "MONITOR shows the command");
      monitor.disconnect();
    });

    test("binary keys and values", { timeout: 20_000 }, async () => {
      const every = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
      await redis.set(every, every);
      assert.deepEqual(await redis.getBuffer(every), every);
      assert.deepEqual(await redis.mgetBuffer(every, "nothing"), [every, null]);
    });

    test("finds the master through sentinels, and its replicas", { timeout: 20_000, skip: sentinels.length === 0 }, async () => {
      const master = new Redis({ sentinels, name: group, protocol });
      assert.equal((await master.role())[0], "master");
      await master.set("through-sentinel", protocol);
      const replica = new Redis({ sentinels, name: group, role: "slave", protocol });
      assert.equal((await replica.role())[0], "slave");
      await until(async () => (await replica.get("through-sentinel")) === String(protocol), "the replica has it");
      await Promise.all([master.quit(), replica.quit()]);
    });
  });
}
