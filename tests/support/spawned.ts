/** Programs that `src/platform/spawn.ts` starts, followed to their end. */
import assert from "node:assert/strict";
import { type Fd, receive } from "../../src/platform/socket.ts";
import { endProcess, type Exit, spawn, waitExit } from "../../src/platform/spawn.ts";
import { Descriptors } from "./sockets.ts";

/** Lets others go on. @param ms milliseconds. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits for the end of a child, which is killed when it takes too long. */
export async function ended(pid: number): Promise<Exit> {
  for (let tries = 0; tries < 3_000; tries++) {
    const exit = waitExit(pid);
    if (exit !== null) return exit;
    await pause(2);
  }
  endProcess(pid, 9);
  throw new Error(`process ${pid} does not end`);
}

/** Runs a program, which must end with 0. @returns what it wrote to its standard output. */
export async function outputOf(
  path: string,
  argv: readonly string[],
  descriptors: Readonly<Record<number, Fd>> = {},
  without: readonly string[] = [],
): Promise<string> {
  using pipes = new Descriptors();
  const { read, write } = pipes.pipe();
  const pid = spawn({ path, argv, descriptors: { ...descriptors, 1: write }, without });
  pipes.close(write);
  const exit = await ended(pid);
  const buffer = new Uint8Array(65_536);
  let text = "";
  for (let count; (count = receive(read, buffer)) !== 0;) {
    assert.ok(typeof count === "number");
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
  assert.deepEqual(exit, { code: 0, signal: null }, text);
  return text;
}
