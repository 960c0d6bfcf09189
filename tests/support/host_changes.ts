/** The changes that amesh makes to names in a directory, one after the other, and failures in the midst of them. */
import { relative } from "node:path";
import { host } from "../../src/platform/host.ts";

/** When a change fails: nothing of it was made, or it was and could not be made durable. */
export type Failure = "before" | "after";

/** Made by {@linkcode watchChanges}; disposing of it ends the watching. */
export interface Changes extends Disposable {
  /** `mkdir NAME`, `write NAME`, `move NAME to NAME`, `unlink NAME`; temporary files and the lock are no changes. */
  readonly made: readonly string[];
}

const IS_TEMPORARY = /\.[0-9a-f]{16}\.tmp$/;

/**
 * Watches this process.
 *
 * @param directory names are relative to it.
 * @param failure tells which changes fail, with EIO; of a sort that no file system reports of itself.
 */
export function watchChanges(
  directory: string,
  failure: (change: string, index: number) => Failure | null = () => null,
): Changes {
  const { rename, link, unlink, mkdir } = host;
  const made: string[] = [];
  const name = (path: string) => relative(directory, path);
  const change = (what: string, make: () => void) => {
    const fails = failure(what, made.length);
    made.push(what);
    if (fails !== "before") make();
    if (fails !== null) throw Object.assign(new Error("as the test wants it"), { code: "EIO" });
  };
  host.rename = (from, to) =>
    change(
      IS_TEMPORARY.test(from) ? `write ${name(to)}` : `move ${name(from)} to ${name(to)}`,
      () => rename(from, to),
    );
  host.link = (from, to) => change(`write ${name(to)}`, () => link(from, to));
  host.mkdir = (path, mode) => change(`mkdir ${name(path)}`, () => mkdir(path, mode));
  host.unlink = (path) =>
    IS_TEMPORARY.test(path) ? unlink(path) : change(`unlink ${name(path)}`, () => unlink(path));
  return {
    made,
    [Symbol.dispose]: () => void Object.assign(host, { rename, link, unlink, mkdir }),
  };
}
