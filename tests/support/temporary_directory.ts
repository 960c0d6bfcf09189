/** A directory of a test's own. */
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A new empty directory with mode 0700; disposing of it removes it with all that is in it. */
export interface TemporaryDirectory extends Disposable {
  /** Absolute, without symbolic links. */
  readonly path: string;
  /** The absolute path of a name in it. */
  file(name: string): string;
}

/** Makes one: `using directory = temporaryDirectory()`. */
export function temporaryDirectory(): TemporaryDirectory {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "amesh-unit-")));
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}
