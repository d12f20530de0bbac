// node-redis: types, transactions, scripts, functions, pub/sub, streams, scans, client-side caching, pools, sentinels.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createClient, createClientPool, createSentinel, defineScript, ErrorReply, WatchError, RESP_TYPES } from "redis";
import { group, port, sentinels, until } from "./common.mjs";

const url = `redis://127.0.0.1:${port}/1`;
const twice = defineScript({
  NUMBER_OF_KEYS: 1,
  SCRIPT: "return redis.call('INCRBY', KEYS[1], ARGV[1] * 2)",
  parseCommand(parser, key, by) {
    parser.pushKey(key);
    parser.push(String(by));
  },
  transformReply: (reply) => reply,
});

for (const RESP of [2, 3]) {
  describe(`node-redis, RESP${RESP}`, { timeout: 100_000 }, () => {
    let client;
    const connect = (options = {}) => createClient({ url, RESP, ...options }).on("error", () => {}).connect();
    before(async () => {
      client = await connect({ name: `node${RESP}`, scripts: { twice } });
      await client.flushAll();
    });
    after(() => client.close());

    test("says who it is", { timeout: 20_000 }, async () => {
      const info = await client.clientInfo();
      assert.equal(info.name, `node${RESP}`);
      assert.equal(info.db, 1);
      if (process.env.E2E_AGAINST !== "redis") assert.equal(info.libName, "node-redis"); // 7.0 knows no CLIENT SETINFO
    });

    test("types", { timeout: 20_000 }, async () => {
      assert.equal(await client.set("s", "v", { expiration: { type: "EX", value: 100 }, condition: "NX" }), "OK");
      assert.equal(await client.set("s", "w", { condition: "NX" }), null);
      assert.equal(await client.get("s"), "v");
      assert.deepEqual(await client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).get("s"), Buffer.from("v"));
      assert.equal(await client.hSet("h", { a: "1", b: "2" }), 2);
      assert.deepEqual({ ...(await client.hGetAll("h")) }, { a: "1", b: "2" });
      assert.equal(await client.zAdd("z", [{ score: 1, value: "one" }, { score: 0.5, value: "half" }]), 2);
      assert.deepEqual(await client.zRangeWithScores("z", 0, -1), [{ value: "half", score: 0.5 }, { value: "one", score: 1 }]);
      assert.equal(await client.zScore("z", "half"), 0.5);
      assert.equal(await client.sAdd("t", ["x", "y"]), 2);
      assert.deepEqual([...(await client.sMembers("t"))].sort(), ["x", "y"]);
      assert.equal(await client.incrByFloat("f", 1.5), "1.5");
      assert.equal(await client.geoAdd("g", { longitude: 13.36, latitude: 38.11, member: "Palermo" }), 1);
      assert.deepEqual(await client.geoSearch("g", "Palermo", { radius: 1, unit: "km" }), ["Palermo"]);
      assert.equal(await client.pfAdd("hll", ["a", "b"]), 1);
      assert.equal(await client.pfCount("hll"), 2);
      assert.equal(await client.setBit("bits", 7, 1), 0);
      assert.equal(await client.bitCount("bits"), 1);
      await assert.rejects(client.lPush("s", "1"), (error) => error instanceof ErrorReply && /WRONGTYPE/.test(error.message));
      assert.deepEqual({ ...(await client.configGet("maxmemory")) }, { maxmemory: "0" });
      assert.equal((await client.commandInfo(["get"]))[0].name, "get");
      assert.ok((await client.memoryUsage("s")) > 0);
    });

    test("transactions", { timeout: 20_000 }, async () => {
      assert.deepEqual(await client.multi().set("m", "1").incr("m").get("m").exec(), ["OK", 2, "2"]);
      const other = await connect();
      await other.watch("m");
      await client.set("m", "5");
      await assert.rejects(other.multi().incr("m").exec(), WatchError);
      await assert.rejects(client.multi().set("m", "1").addCommand(["NOSUCH"]).exec());
      assert.equal(await client.get("m"), "5");
      other.destroy();
    });

    test("scripts and functions", { timeout: 20_000 }, async () => {
      assert.equal(await client.twice("n", 2), 4);
      await client.scriptFlush();
      assert.equal(await client.twice("n", 2), 8);
      assert.equal(await client.eval("return KEYS[1]..ARGV[1]", { keys: ["k"], arguments: ["a"] }), "ka");
      const code = "#!lua name=nodelib\nredis.register_function{function_name='nodefn', callback=function(k, a) return a[1] end, flags={'no-writes'}}";
      assert.equal(await client.functionLoad(code, { REPLACE: true }), "nodelib");
      assert.equal(await client.fCallRo("nodefn", { keys: ["k"], arguments: ["x"] }), "x");
      assert.equal((await client.functionList({ LIBRARYNAME: "nodelib" }))[0].library_name, "nodelib");
      assert.equal(await client.functionDelete("nodelib"), "OK");
    });

    test("messages", { timeout: 20_000 }, async () => {
      const listener = await connect();
      const heard = [];
      await listener.subscribe("news", (text, channel) => heard.push([channel, text]));
      await listener.pSubscribe("n*", (text, channel) => heard.push(["p", channel, text]));
      await listener.sSubscribe("shard", (text, channel) => heard.push(["s", channel, text]));
      assert.equal(await client.publish("news", "hello"), 2);
      assert.equal(await client.sPublish("shard", "hi"), 1);
      await until(() => heard.length === 3, "three messages");
      assert.deepEqual(heard.map((h) => h.join()).sort(), ["news,hello", "p,news,hello", "s,shard,hi"]);
      if (RESP === 3) assert.equal(await listener.get("s"), "v");
      await listener.unsubscribe();
      await listener.pUnsubscribe();
      await listener.sUnsubscribe();
      assert.equal(String(await listener.get("s")), "v");
      await listener.close();
    });

    test("streams", { timeout: 20_000 }, async () => {
      await client.xGroupCreate("st", "g", "$", { MKSTREAM: true });
      const id = await client.xAdd("st", "*", { a: "1" });
      const read = await client.xReadGroup("g", "c", { key: "st", id: ">" }, { COUNT: 5 });
      assert.deepEqual(read.map((s) => [s.name, s.messages.map((m) => [m.id, { ...m.message }])]), [["st", [[id, { a: "1" }]]]]);
      const pending = await client.xPending("st", "g");
      assert.equal(pending.pending, 1);
      assert.equal(pending.consumers[0].name, "c");
      const claimed = await client.xAutoClaim("st", "g", "d", 0, "-");
      assert.equal(claimed.messages[0].id, id);
      assert.equal(await client.xAck("st", "g", id), 1);
      const info = await client.xInfoStream("st");
      assert.equal(info.length, 1);
      assert.equal((await client.xInfoGroups("st"))[0].name, "g");
      assert.equal((await client.xInfoConsumers("st", "g")).length, 2);
    });

    test("scans", { timeout: 20_000 }, async () => {
      await client.mSet(Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`scan:${n}`, String(n)])));
      const seen = new Set();
      for await (const keys of client.scanIterator({ MATCH: "scan:*", COUNT: 50 })) keys.forEach((key) => seen.add(key));
      assert.equal(seen.size, 500);
      await client.zAdd("bigz", Array.from({ length: 300 }, (_, n) => ({ value: `m${n}`, score: n })));
      let members = 0;
      for await (const part of client.zScanIterator("bigz")) members += part.length;
      assert.equal(members, 300);
    });

    test("a pool blocks and works at once", { timeout: 20_000 }, async () => {
      const pool = await createClientPool({ url, RESP }, { minimum: 2, maximum: 4 }).connect();
      const [popped] = await Promise.all([pool.blPop("queue", 20), (async () => {
        await until(async () => /flags=b/.test(await client.sendCommand(["CLIENT", "LIST"])), "somebody is blocked");
        return pool.rPush("queue", "job");
      })()]);
      assert.deepEqual({ ...popped }, { key: "queue", element: "job" });
      const numbers = await Promise.all(Array.from({ length: 100 }, () => pool.incr("pooled")));
      assert.deepEqual(numbers.sort((a, b) => a - b), Array.from({ length: 100 }, (_, n) => n + 1));
      await pool.close();
    });

    test("client-side caching hears of changes", { timeout: 20_000, skip: RESP === 2 }, async () => {
      const cached = await connect({ clientSideCache: { ttl: 0, maxEntries: 100, evictPolicy: "LRU" } });
      await client.set("cached", "1");
      assert.equal(await cached.get("cached"), "1");
      assert.equal(await cached.get("cached"), "1");
      await client.set("cached", "2");
      await until(async () => (await cached.get("cached")) === "2", "the new value is read");
      await client.flushDb();
      await until(async () => (await cached.get("cached")) === null, "the key is gone");
      cached.destroy();
    });

    test("finds the master through sentinels", { timeout: 20_000, skip: sentinels.length === 0 }, async () => {
      const sentinel = await createSentinel({
        name: group, sentinelRootNodes: sentinels, nodeClientOptions: { RESP }, RESP,
      }).on("error", () => {}).connect();
      assert.equal(await sentinel.set("through", String(RESP)), "OK");
      assert.equal(await sentinel.get("through"), String(RESP));
      const lease = await sentinel.acquire();
      await lease.watch("through");
      assert.deepEqual(await lease.multi().set("through", "x").get("through").exec(), ["OK", "x"]);
      lease.release();
      await sentinel.close();
    });
  });
}
