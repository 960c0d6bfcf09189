/** A place for the tests of passphrase sources. */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { Passphrases } from "../../src/passphrase/passphrases.ts";
import { type Layout, layoutOf } from "../../src/platform/paths.ts";
import { temporaryDirectory } from "./temporary_directory.ts";

/** An empty amesh directory, and room beside it for the operator's files. */
export interface PassphrasePlace extends Disposable {
  readonly layout: Layout;
  /** What has been warned of. */
  readonly warnings: readonly string[];
  /** The absolute path of a name beside the amesh directory, which is `amesh`. */
  file(name: string): string;
  /** The passphrases of one command. @param legacy the `passphrase` field of identity.json. */
  passphrases(legacy?: string): Passphrases;
}

/** Makes one: `using place = passphrasePlace()`. */
export function passphrasePlace(): PassphrasePlace {
  const directory = temporaryDirectory();
  const warnings: string[] = [];
  const layout = layoutOf(directory.file("amesh"));
  mkdirSync(layout.directory, { mode: 0o700 });
  return {
    layout,
    warnings,
    file: directory.file,
    passphrases: (legacy) => new Passphrases(layout, legacy, (message) => warnings.push(message)),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}

/** What the sources give, in order: kind and text of each. */
export function collect(passphrases: Passphrases): [kind: string, text: string][] {
  return [...passphrases.candidates()].map((
    { source, bytes },
  ) => [source.kind, new TextDecoder().decode(bytes)]);
}

/** Puts a passphrase file into the amesh directory. */
export function writeOwn(layout: Layout, content: string, mode = 0o400): void {
  rmSync(layout.passphrase, { force: true });
  writeFileSync(layout.passphrase, content);
  chmodSync(layout.passphrase, mode);
}
