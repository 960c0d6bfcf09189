/** Moves a finished release to its place. */
import { join } from "node:path";
import { SIGNATURE, SUMS } from "./checksums.ts";

/**
 * Replaces the release in `dist` by that in `output`, on the same file system. What an earlier release listed there
 * goes; what others have put there stays. The list of checksums is removed first and comes back last: while it is
 * there, everything that it lists is.
 */
export async function publish(output: string, dist: string): Promise<void> {
  const before = await listed(join(dist, SUMS));
  for (const name of [SIGNATURE, SUMS, ...before]) await removeFile(join(dist, name));
  for (const name of await listed(join(output, SUMS))) {
    await Deno.rename(join(output, name), join(dist, name));
  }
  await move(SIGNATURE, output, dist);
  await Deno.rename(join(output, SUMS), join(dist, SUMS));
}

/** Names in a list of checksums; none when there is no list. */
async function listed(path: string): Promise<string[]> {
  const text = await Deno.readTextFile(path).catch(unlessMissing(""));
  return [...text.matchAll(/^[0-9a-f]{64} {2}([\w.-]+)$/gm)].map(([, name]) => name as string);
}

async function removeFile(path: string): Promise<void> {
  await Deno.remove(path).catch(unlessMissing(undefined));
}

/** A release that nobody signed has no signature. */
async function move(name: string, from: string, to: string): Promise<void> {
  await Deno.rename(join(from, name), join(to, name)).catch(unlessMissing(undefined));
}

function unlessMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof Deno.errors.NotFound) return value;
    throw error;
  };
}
