// What the tests of Node's client libraries share: where the servers are, and waiting.

export const port = Number(process.env.E2E_PORT);
export const sentinels = (process.env.E2E_SENTINELS ?? "").split(",").filter(Boolean).map((text) => {
  const [host, number] = text.split(":");
  return { host, port: Number(number) };
});
export const group = process.env.E2E_GROUP ?? "mymaster";

/// Calls check until it returns something truthy, and returns that.
export async function until(check, what, timeout = 30_000) {
  const end = Date.now() + timeout;
  for (;;) {
    const result = await check();
    if (result) return result;
    if (Date.now() > end) throw new Error(`not within ${timeout} ms: ${what}`);
    await new Promise((resume) => setTimeout(resume, 20));
  }
}
