/** The passphrases of one command: what opens the key that is there, and what a new key is put under. */
import { type Bytes, utf8, wipe } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { formatMode, PASSPHRASE_MODE } from "../platform/files.ts";
import { host } from "../platform/host.ts";
import { copyEnvironmentSecret, hasEnvironmentVariable, takeEnvironmentSecret } from "../platform/libc.ts";
import { type Layout, shellQuote } from "../platform/paths.ts";
import {
  findExposure,
  readDescriptorPassphrase,
  readOperatorPassphrase,
  readOwnPassphrase,
  requireLength,
  writePassphraseFile,
} from "./files.ts";
import {
  describeSource,
  type FileSource,
  findSources,
  PASSPHRASE_CREDENTIAL,
  PASSPHRASE_FILE_VARIABLE,
  PASSPHRASE_VARIABLE,
  type PassphraseSource,
  sourceExists,
} from "./sources.ts";

/** Random bytes of a generated passphrase; it is written as hex. */
const GENERATED_BYTES = 32;
const HEX_DIGITS = utf8("0123456789abcdef");

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

/** What a command adds to the sources that are found. */
export interface PassphraseInput {
  /** Number of the descriptor that `--passphrase-fd` names. */
  readonly descriptor?: number | undefined;
  /** Asks a person where there is no source; `null` where there is no terminal. */
  readonly ask?: () => Promise<Bytes | null>;
  /** The passphrase that the calling program gives: no other source is used. The receiver wipes the bytes. */
  readonly given?: (() => Promise<Bytes>) | undefined;
  /** The environment is that of the calling program, and left as it is. */
  readonly keepsEnvironment?: boolean;
  /** These sources and no others, whatever is set. */
  readonly only?: readonly PassphraseSource[];
}

/** 256 random bits as 64 hex digits; the receiver wipes them. */
export function generatePassphrase(): Bytes {
  const random = crypto.getRandomValues(new Uint8Array(GENERATED_BYTES));
  // Not through a string, which could not be wiped.
  const bytes = new Uint8Array(2 * GENERATED_BYTES);
  random.forEach((byte, i) =>
    bytes.set([HEX_DIGITS[byte >> 4] as number, HEX_DIGITS[byte & 15] as number], 2 * i)
  );
  wipe(random);
  return bytes;
}

/** The passphrases of one command. Dispose of it to wipe what it still holds. */
export class Passphrases implements Disposable {
  #legacy: Bytes | undefined;
  /** Of a source that can be read once only: a variable that is taken away, a stream, a person. */
  #kept: Passphrase | undefined;
  #opened: Passphrase | undefined;
  #new: NewPassphrase | undefined;
  readonly #warned = new Set<string>();

  /**
   * @param legacyField the `passphrase` field of identity.json.
   * @param warn shows a line to the user.
   */
  constructor(
    readonly layout: Layout,
    legacyField: string | undefined,
    readonly warn: (message: string) => void,
    readonly input: PassphraseInput = {},
  ) {
    this.useLegacyField(legacyField);
    if (input.descriptor !== undefined) this.forgetVariable();
  }

  /** Takes the variable out of the environment, where another source or none is used. */
  forgetVariable(): void {
    if (this.input.keepsEnvironment) return;
    if (hasEnvironmentVariable(PASSPHRASE_VARIABLE)) wipe(takeEnvironmentSecret(PASSPHRASE_VARIABLE));
  }

  /** Takes the `passphrase` field of another identity.json in place of the one that was given. */
  useLegacyField(field: string | undefined): void {
    wipe(this.#legacy);
    this.#legacy = field === undefined || field === "" ? undefined : utf8(field);
  }

  /**
   * Asks the calling program, or a person when there is no source; call it before {@linkcode candidates} and
   * {@linkcode forNewKey}.
   *
   * @throws {AmeshError} `ERR_UNLOCK_FAILED`: what was typed or given is empty or too long; what the program throws.
   */
  async prepare(): Promise<void> {
    const { given } = this.input;
    if (given !== undefined) {
      const source = { kind: "caller" } as const;
      // The first key was replaced while it was being opened.
      wipe(this.#kept?.bytes);
      this.#kept = { source, bytes: requireLength(await given(), describeSource(source)) };
      return;
    }
    if (this.input.ask === undefined || this.current !== undefined) return;
    const bytes = await this.input.ask();
    if (bytes === null) return;
    const source = { kind: "terminal" } as const;
    this.#kept = { source, bytes: requireLength(bytes, describeSource(source)) };
  }

  /**
   * What may open the key, in order. A second round reads again what can be read again.
   *
   * @throws {AmeshError} `ERR_UNLOCK_FAILED`: no source, or the one in force cannot be read, is empty or too long;
   *   `ERR_UNSAFE_PERMISSIONS` for our own file.
   */
  *candidates(): Generator<Passphrase> {
    this.requireAny();
    for (const source of this.#sources()) {
      const bytes = this.#read(source);
      // A change that went on meanwhile has taken it; the next round finds it in the other file.
      if (bytes !== null) yield { source, bytes };
    }
  }

  /** @throws {AmeshError} `ERR_UNLOCK_FAILED`: no source. */
  requireAny(): void {
    if (this.#sources().length === 0) throw noPassphrase(this.layout);
  }

  /** The source in force; `undefined` when there is none. */
  get current(): PassphraseSource | undefined {
    return this.#sources().find(({ kind }) => kind !== "next-file");
  }

  /** What the first source in force gives; the receiver wipes it. As {@linkcode candidates}. */
  readCurrent(): Passphrase {
    for (const passphrase of this.candidates()) return passphrase;
    throw noPassphrase(this.layout);
  }

  #sources(): readonly PassphraseSource[] {
    const kept = this.#kept?.source;
    const { descriptor, only } = this.input;
    // A person is asked where there is nothing else; what turns up after that comes first.
    if (kept !== undefined && kept.kind !== "terminal") return [kept];
    if (only !== undefined) return only;
    if (descriptor !== undefined) return [{ kind: "descriptor", fd: descriptor }];
    const found = findSources(this.layout, this.#legacy !== undefined);
    return kept === undefined ? found : [...found, kept];
  }

  /** Remembers which passphrase opened the key; copies the bytes only where they are to be moved. */
  opened(source: PassphraseSource, bytes: Bytes): void {
    wipe(this.#opened?.bytes);
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
    const source = this.current;
    const defaultFile = { kind: "default-file", path: this.layout.passphrase } as const;
    if (source === undefined) return toBeWritten(defaultFile, generatePassphrase());
    if (source.kind === "named-file" && !sourceExists(source)) {
      return toBeWritten(source, generatePassphrase());
    }
    const bytes = requireLength(this.#read(source) ?? new Uint8Array(0), describeSource(source));
    // A new identity has no passphrase field, so what the old one held goes where it belongs.
    return source.kind === "legacy-field"
      ? toBeWritten(defaultFile, bytes)
      : { source, bytes, persist: () => {} };
  }

  /** Where {@linkcode forNewKey} took the passphrase from; `undefined` when no new key needed one. */
  get newKeySource(): PassphraseSource | undefined {
    return this.#new?.source;
  }

  [Symbol.dispose](): void {
    wipe(this.#legacy, this.#kept?.bytes, this.#opened?.bytes, this.#new?.bytes);
    this.#opened = undefined;
  }

  /** @returns `null` when a file of our own, which was there, is not there any more. */
  #read(source: PassphraseSource): Bytes | null {
    if (this.#kept?.source === source) return Uint8Array.from(this.#kept.bytes);
    const name = describeSource(source);
    switch (source.kind) {
      case "environment":
        if (this.input.keepsEnvironment) {
          return requireLength(copyEnvironmentSecret(PASSPHRASE_VARIABLE), name);
        }
        return this.#keep(source, requireLength(takeEnvironmentSecret(PASSPHRASE_VARIABLE), name));
      case "descriptor":
        return this.#keep(source, readDescriptorPassphrase(source.fd, name));
      case "legacy-field":
        return requireLength(Uint8Array.from(this.#legacy ?? []), name);
      case "default-file":
      case "next-file":
        return readOwnPassphrase(source.path, name);
      case "named-file":
      case "credential":
        return this.#readOperatorFile(source, name);
      case "caller":
      case "terminal":
        throw new TypeError("who is asked is asked by prepare()");
    }
  }

  #readOperatorFile(source: FileSource, name: string): Bytes {
    const { bytes, info } = readOperatorPassphrase(source.path, name);
    const excess = findExposure(info, source.kind === "credential");
    if (excess !== null && !this.#warned.has(name)) {
      this.#warned.add(name);
      // In a container the engine owns it, and decides by its own settings.
      const remedy = info?.uid === host.euid()
        ? `run: chmod 0400 ${shellQuote(source.path)}`
        : `whoever provides it should give it mode 0400 and user ${host.euid()} as its owner`;
      this.warn(`${name} is ${excess}; ${remedy}`);
    }
    return info === null ? this.#keep(source, bytes) : bytes;
  }

  #keep(source: PassphraseSource, bytes: Bytes): Bytes {
    this.#kept = { source, bytes };
    return Uint8Array.from(bytes);
  }
}

function noPassphrase({ passphrase }: Layout): AmeshError {
  return new AmeshError("ERR_UNLOCK_FAILED", "cannot unlock the key: there is no passphrase", {
    hint: `set ${PASSPHRASE_VARIABLE}, or ${PASSPHRASE_FILE_VARIABLE} to a file, or provide the systemd ` +
      `credential ${PASSPHRASE_CREDENTIAL}, or put the passphrase into ${passphrase} ` +
      `(mode ${formatMode(PASSPHRASE_MODE)}), or give it by --passphrase-fd`,
  });
}

function toBeWritten(source: FileSource, bytes: Bytes): NewPassphrase {
  return { source, bytes, persist: () => writePassphraseFile(source.path, bytes) };
}
