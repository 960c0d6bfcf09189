/**
 * Where the passphrase of the encrypted-file tier comes from, in exact priority (docs/threat-model.md):
 * `AUTH_MESH_PASSPHRASE`; the file that `AMESH_PASSPHRASE_FILE` names, else systemd's credential
 * `amesh-passphrase`, else `.passphrase` in the amesh directory; the `passphrase` field of an old identity.json.
 *
 * A source that the operator named is the only one that is tried: it is never skipped in silence.
 */
import { type Bytes, equalBytes, utf8, wipe } from "../bytes.ts";
import { AmeshError, errorText } from "../errors.ts";
import {
  findInfo,
  formatMode,
  PASSPHRASE_MODE,
  readPrivateFile,
  writeFileAtomic,
} from "../platform/files.ts";
import { type FileInfo, host } from "../platform/host.ts";
import { findInput, openInput, readSmallInput } from "../platform/input.ts";
import { hasEnvironmentVariable, takeEnvironmentSecret } from "../platform/libc.ts";
import { absolutePath, joinPath, type Layout, shellQuote } from "../platform/paths.ts";

/** Longest passphrase in bytes. */
export const MAX_PASSPHRASE_BYTES = 4096;
/** Random bytes of a generated passphrase; it is written as hex. */
const GENERATED_BYTES = 32;
const HEX_DIGITS = utf8("0123456789abcdef");

const VARIABLE = "AUTH_MESH_PASSPHRASE";
const FILE_VARIABLE = "AMESH_PASSPHRASE_FILE";
const CREDENTIAL = "amesh-passphrase";

/** One place that a passphrase can come from. */
export type PassphraseSource =
  | { readonly kind: "environment" }
  | { readonly kind: "named-file" | "credential" | "default-file"; readonly path: string }
  | { readonly kind: "legacy-field" };

/** A passphrase and where it came from; the receiver wipes the bytes. */
export interface Passphrase {
  readonly source: PassphraseSource;
  readonly bytes: Bytes;
}

/** Passphrase for a key that is being made; wiped when the `Passphrases` it came from are disposed of. */
export interface NewPassphrase extends Passphrase {
  /** Writes it to its file when it is not there yet; call it when the key is proven and before it is committed. */
  persist(): void;
}

/** A source as a person would name it. */
export function describeSource(source: PassphraseSource): string {
  switch (source.kind) {
    case "environment":
      return VARIABLE;
    case "named-file":
      return `file ${source.path} (${FILE_VARIABLE})`;
    case "credential":
      return `systemd credential ${source.path}`;
    case "default-file":
      return `file ${source.path}`;
    case "legacy-field":
      return 'field "passphrase" of identity.json';
  }
}

/** Absolute path of the file that `AMESH_PASSPHRASE_FILE` names; `null` when it is not set. */
export function namedPassphraseFile(): string | null {
  const named = host.env(FILE_VARIABLE);
  return named ? absolutePath(named) : null;
}

/**
 * The sources in force, first the one that is tried first; more than one only where the default file and the
 * field of an old identity.json both exist. Reads no secret.
 */
export function findSources(layout: Layout, hasLegacyField: boolean): PassphraseSource[] {
  if (hasEnvironmentVariable(VARIABLE)) return [{ kind: "environment" }];
  const named = namedPassphraseFile();
  if (named !== null) return [{ kind: "named-file", path: named }];
  const credentials = host.env("CREDENTIALS_DIRECTORY");
  if (credentials) {
    const source = { kind: "credential", path: joinPath(credentials, CREDENTIAL) } as const;
    if (exists(source)) return [source];
  }
  const found: PassphraseSource[] = [];
  if (findInfo(layout.passphrase) !== null) found.push({ kind: "default-file", path: layout.passphrase });
  if (hasLegacyField) found.push({ kind: "legacy-field" });
  return found;
}

/** @throws {AmeshError} `ERR_UNLOCK_FAILED` when that cannot be told: it may be there, so it is not skipped. */
function exists(source: PassphraseSource & { path: string }): boolean {
  try {
    return findInput(source.path) !== null;
  } catch (error) {
    throw unreadable(source, error);
  }
}

/**
 * What keeps a source from being used, as far as that shows without reading it.
 *
 * @returns a predicate, or `null`.
 */
export function findSourceProblem(source: PassphraseSource): string | null {
  if (source.kind === "environment" || source.kind === "legacy-field") return null;
  try {
    const info = findInput(source.path);
    if (info === null) return "cannot be used: no such file or directory";
    if (info.kind === "directory") return "is a directory";
    // A pipe would wait for its writer.
    if (info.kind !== "file") return null;
    openInput(source.path).handle.close();
    return info.size === 0 || info.size > MAX_FILE_BYTES ? "does not have 1 to 4096 bytes" : null;
  } catch (error) {
    return `cannot be used: ${errorText(error instanceof AmeshError ? error.cause : error)}`;
  }
}

/** The passphrases of one command. Dispose of it to wipe what it still holds. */
export class Passphrases implements Disposable {
  #legacy: Bytes | undefined;
  #opened: Passphrase | undefined;
  #new: NewPassphrase | undefined;

  /**
   * @param legacyField the `passphrase` field of identity.json.
   * @param warn shows a line to the user.
   */
  constructor(
    readonly layout: Layout,
    legacyField: string | undefined,
    readonly warn: (message: string) => void,
  ) {
    this.#legacy = legacyField === undefined || legacyField === "" ? undefined : utf8(legacyField);
  }

  /**
   * What may open the key, in order.
   *
   * @throws {AmeshError} `ERR_UNLOCK_FAILED`: no source, or the one in force cannot be read, is empty or too long;
   *   `ERR_UNSAFE_PERMISSIONS` for our own file.
   */
  *candidates(): Generator<Passphrase> {
    const sources = findSources(this.layout, this.#legacy !== undefined);
    if (sources.length === 0) {
      throw new AmeshError("ERR_UNLOCK_FAILED", "cannot unlock the key: there is no passphrase", {
        hint:
          `set ${VARIABLE}, or ${FILE_VARIABLE} to a file, or provide the systemd credential ${CREDENTIAL}, ` +
          `or put the passphrase into ${this.layout.passphrase} (mode ${formatMode(PASSPHRASE_MODE)})`,
      });
    }
    for (const source of sources) {
      yield { source, bytes: this.#read(source) };
    }
  }

  /** Remembers which passphrase opened the key; copies the bytes only where they are to be moved. */
  opened(source: PassphraseSource, bytes: Bytes): void {
    this.#opened = {
      source,
      bytes: source.kind === "legacy-field" ? Uint8Array.from(bytes) : new Uint8Array(0),
    };
  }

  /** What {@linkcode opened} was told last; the bytes only of a legacy field. */
  get openedBy(): Passphrase | undefined {
    return this.#opened;
  }

  /**
   * The passphrase in force, or a new random one: 256 bits as hex.
   *
   * @throws {AmeshError} as {@linkcode candidates}, except that a missing file is made, not refused.
   */
  forNewKey(): NewPassphrase {
    const passphrase = this.#findOrGenerate();
    this.#new = passphrase;
    return passphrase;
  }

  #findOrGenerate(): NewPassphrase {
    const [source] = findSources(this.layout, this.#legacy !== undefined);
    if (source === undefined) return this.#generate({ kind: "default-file", path: this.layout.passphrase });
    if (source.kind === "named-file" && !exists(source)) return this.#generate(source);
    const bytes = this.#read(source);
    // A new identity has no passphrase field, so what the old one held goes where it belongs.
    if (source.kind === "legacy-field") {
      return this.#toBeWritten({ kind: "default-file", path: this.layout.passphrase }, bytes);
    }
    return { source, bytes, persist: () => {} };
  }

  /** Where {@linkcode forNewKey} took the passphrase from; `undefined` when no new key needed one. */
  get newKeySource(): PassphraseSource | undefined {
    return this.#new?.source;
  }

  [Symbol.dispose](): void {
    wipe(this.#legacy, this.#opened?.bytes, this.#new?.bytes);
    this.#opened = undefined;
  }

  #generate(source: PassphraseSource & { path: string }): NewPassphrase {
    const random = crypto.getRandomValues(new Uint8Array(GENERATED_BYTES));
    // Not through a string, which could not be wiped.
    const bytes = new Uint8Array(2 * GENERATED_BYTES);
    random.forEach((byte, i) =>
      bytes.set([HEX_DIGITS[byte >> 4] as number, HEX_DIGITS[byte & 15] as number], 2 * i)
    );
    wipe(random);
    return this.#toBeWritten(source, bytes);
  }

  #toBeWritten(source: PassphraseSource & { path: string }, bytes: Bytes): NewPassphrase {
    return { source, bytes, persist: () => writePassphraseFile(source.path, bytes) };
  }

  #read(source: PassphraseSource): Bytes {
    const name = describeSource(source);
    switch (source.kind) {
      case "environment":
        return requireLength(takeEnvironmentSecret(VARIABLE), name);
      case "legacy-field":
        return requireLength(Uint8Array.from(this.#legacy ?? []), name);
      case "default-file":
        return requireLength(readOwnFile(source.path), name);
      case "named-file":
      case "credential":
        return requireLength(this.#readOperatorFile(source), name);
    }
  }

  /** The operator's file may be a link or wider than ours: a Kubernetes secret is both. */
  #readOperatorFile(source: PassphraseSource & { path: string }): Bytes {
    try {
      const { bytes, info } = readSmallInput(source.path, MAX_FILE_BYTES);
      const excess = exposure(info, source.kind === "credential");
      if (excess !== null) {
        this.warn(`${describeSource(source)} is ${excess}; run: chmod 0400 ${shellQuote(source.path)}`);
      }
      return withoutFinalNewline(bytes);
    } catch (error) {
      throw unreadable(source, error);
    }
  }
}

const TOO_LONG = `it is longer than ${MAX_PASSPHRASE_BYTES} bytes, or no regular file`;
/** Room for the longest passphrase and its newline. */
const MAX_FILE_BYTES = MAX_PASSPHRASE_BYTES + 2;

/**
 * Writes a passphrase file: the bytes and a newline (none after a `\r`, with which it would be taken for the end
 * of the line), mode 0400, never over an existing one.
 *
 * @throws {AmeshError} `ERR_UNLOCK_FAILED` when there is one already; `ERR_SYSTEM`.
 */
export function writePassphraseFile(path: string, bytes: Bytes): void {
  const newline = bytes.at(-1) === 0x0d ? 0 : 1;
  const content = new Uint8Array(bytes.length + newline).fill(0x0a);
  content.set(bytes);
  try {
    if (!writeFileAtomic(path, content, PASSPHRASE_MODE, "refuse")) {
      throw new AmeshError("ERR_UNLOCK_FAILED", `cannot write passphrase file "${path}": it exists already`, {
        hint: "run the command again to use what is in it",
      });
    }
  } finally {
    wipe(content);
  }
}

function readOwnFile(path: string): Bytes {
  try {
    const bytes = readPrivateFile(path, MAX_FILE_BYTES, PASSPHRASE_MODE);
    return withoutFinalNewline(bytes ?? new Uint8Array(0));
  } catch (error) {
    if (error instanceof AmeshError && error.code === "ERR_UNSAFE_PERMISSIONS") throw error;
    throw unreadable({ kind: "default-file", path }, error);
  }
}

function unreadable(source: PassphraseSource, error: unknown): AmeshError {
  const isTooLarge = error instanceof AmeshError && error.code === "ERR_CORRUPT";
  const cause = error instanceof AmeshError ? error.cause ?? error : error;
  const reason = isTooLarge ? TOO_LONG : errorText(cause);
  return new AmeshError(
    "ERR_UNLOCK_FAILED",
    `cannot use the passphrase of ${describeSource(source)}: ${reason}`,
    {
      hint: "no other source is tried while this one is set",
      cause: error,
    },
  );
}

function requireLength(bytes: Bytes, name: string): Bytes {
  if (bytes.length > 0 && bytes.length <= MAX_PASSPHRASE_BYTES) return bytes;
  wipe(bytes);
  throw new AmeshError(
    "ERR_UNLOCK_FAILED",
    `cannot use the passphrase of ${name}: ${bytes.length === 0 ? "it is empty" : TOO_LONG}`,
    { hint: "a passphrase has 1 to 4096 bytes" },
  );
}

/** `\n` or `\r\n` at the end is the editor's, not the passphrase's. The longer buffer is wiped. */
function withoutFinalNewline(bytes: Bytes): Bytes {
  let end = bytes.length;
  if (bytes[end - 1] === 0x0a) end -= bytes[end - 2] === 0x0d ? 2 : 1;
  const passphrase = bytes.slice(0, end);
  wipe(bytes);
  return passphrase;
}

/** systemd shows the access list of a credential as group bits, so those say nothing there. */
function exposure(info: FileInfo | null, isCredential: boolean): string | null {
  if (info === null || info.mode === null) return null;
  const mode = formatMode(info.mode);
  if (info.mode & 0o007) return `readable by every user (mode ${mode})`;
  if (isCredential || host.env("AMESH_ALLOW_GROUP_READ") === "1" || !(info.mode & 0o070)) return null;
  return `readable by its group (mode ${mode})`;
}

/** The form that amesh 0.7 used: the UTF-8 text without white space at its ends; `null` when it is the same. */
export function trimmedForm(bytes: Bytes): Bytes | null {
  const trimmed = utf8(new TextDecoder().decode(bytes).trim());
  return trimmed.length === 0 || equalBytes(trimmed, bytes) ? null : trimmed;
}
