/** No command ever opens a socket to another machine, nor one that it listens on: every call is watched. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { absentTargets, targets } from "../support/executables.ts";
import { cannotTrace, everyCommand, Scratch, trace } from "./harness.ts";

const skip = cannotTrace();

/** Calls that make or use a socket of any network; pairs of sockets within the process are none. */
function networkCalls(calls: readonly string[]): string[] {
  return calls.filter((call) => /\b(socket|connect|bind|listen|sendto|sendmsg)\(/.test(call));
}

test("the trace sees a socket that is opened", { skip }, () => {
  using scratch = new Scratch();
  const listen = `Deno.listen({ hostname: "127.0.0.1", port: 0 }).close()`;
  const argv = [Deno.execPath(), "eval", "--no-config", listen];
  const { code, calls } = trace("network", argv, { cwd: scratch.path, env: { DENO_DIR: scratch.path } });
  assert.equal(code, 0);
  assert.match(networkCalls(calls).join("\n"), /socket\(AF_INET/);
});

for (const target of targets()) {
  test(`${target.name}: no command opens a socket`, { skip }, () => {
    using scratch = new Scratch();
    const setting = { cwd: scratch.directory(), env: { HOME: scratch.directory(), ...target.env } };
    for (const [args, expected] of everyCommand(scratch.path)) {
      const { code, stderr, calls } = trace("network", [...target.argv, ...args], setting);
      assert.equal(code, expected, `${args.join(" ")}: ${stderr}`);
      assert.deepEqual(networkCalls(calls), [], args.join(" "));
    }
  });
}

for (const { name, reason } of absentTargets()) {
  test(`${name}: no command opens a socket (${reason})`, { skip: reason }, () => {});
}
