/**
 * Where the passphrase of the encrypted-file tier comes from, in exact priority (docs/threat-model.md): the descriptor
 * of `--passphrase-fd`; `AUTH_MESH_PASSPHRASE`; the file that `AMESH_PASSPHRASE_FILE` names, else systemd's credential
 * `amesh-passphrase`, else `.passphrase` in the amesh directory; the `passphrase` field of an old identity.json. Where
 * there is none of them, commands that change the key ask a person at the terminal; the others never wait for one.
 *
 * A source that the operator named is the only one that is tried: it is never skipped in silence.
 */
import { AmeshError, errorText } from "../errors.ts";
import { findInfo, findProblem, PASSPHRASE_MODE } from "../platform/files.ts";
import { host } from "../platform/host.ts";
import { findInput, openInput } from "../platform/input.ts";
import { hasEnvironmentVariable } from "../platform/libc.ts";
import { absolutePath, joinPath, type Layout } from "../platform/paths.ts";
import { MAX_PASSPHRASE_FILE_BYTES, nextPath, unreadable } from "./files.ts";

/** The variable that holds a passphrase. */
export const PASSPHRASE_VARIABLE = "AUTH_MESH_PASSPHRASE";
/** The variable that names a passphrase file. */
export const PASSPHRASE_FILE_VARIABLE = "AMESH_PASSPHRASE_FILE";
/** Name of systemd's credential (systemd.exec(5), LoadCredential=). */
export const PASSPHRASE_CREDENTIAL = "amesh-passphrase";

/** A file that holds a passphrase. */
export type FileSource = {
  readonly kind: "named-file" | "credential" | "default-file";
  readonly path: string;
};

/** One place that a passphrase can come from. */
export type PassphraseSource =
  /** The program in whose process amesh runs as a library. */
  | { readonly kind: "caller" }
  | { readonly kind: "descriptor"; readonly fd: number }
  | { readonly kind: "environment" }
  | FileSource
  /** What an interrupted `passphrase change` was going to put at `replaces`. */
  | { readonly kind: "next-file"; readonly path: string; readonly replaces: string }
  | { readonly kind: "legacy-field" }
  | { readonly kind: "terminal" };

/** A source as a person would name it. */
export function describeSource(source: PassphraseSource): string {
  switch (source.kind) {
    case "caller":
      return "the calling program";
    case "descriptor":
      return `descriptor ${source.fd} (--passphrase-fd)`;
    case "environment":
      return PASSPHRASE_VARIABLE;
    case "named-file":
      return `file ${source.path} (${PASSPHRASE_FILE_VARIABLE})`;
    case "credential":
      return `systemd credential ${source.path}`;
    case "default-file":
      return `file ${source.path}`;
    case "next-file":
      return `file ${source.path} (an interrupted change of ${source.replaces})`;
    case "legacy-field":
      return 'field "passphrase" of identity.json';
    case "terminal":
      return "the terminal";
  }
}

/** Absolute path of the file that `AMESH_PASSPHRASE_FILE` names; `null` when it is not set. */
export function namedPassphraseFile(): string | null {
  const named = host.env(PASSPHRASE_FILE_VARIABLE);
  return named ? absolutePath(named) : null;
}

/**
 * The sources in force that are there without asking anybody, first the one that is tried first; more than one only
 * where a change of the passphrase was interrupted, or where the default file and the field of an old identity.json
 * both exist. Reads no secret.
 */
export function findSources(layout: Layout, hasLegacyField: boolean): PassphraseSource[] {
  if (hasEnvironmentVariable(PASSPHRASE_VARIABLE)) return [{ kind: "environment" }];
  const named = namedPassphraseFile();
  if (named !== null) return [{ kind: "named-file", path: named }, ...findNext(named)];
  const credentials = host.env("CREDENTIALS_DIRECTORY");
  if (credentials) {
    const source = { kind: "credential", path: joinPath(credentials, PASSPHRASE_CREDENTIAL) } as const;
    if (sourceExists(source)) return [source];
  }
  const found: PassphraseSource[] = [];
  if (findInfo(layout.passphrase) !== null) found.push({ kind: "default-file", path: layout.passphrase });
  found.push(...findNext(layout.passphrase));
  if (hasLegacyField) found.push({ kind: "legacy-field" });
  return found;
}

/** What an interrupted change left beside a passphrase file. */
function findNext(replaces: string): PassphraseSource[] {
  return hasNext(replaces) ? [{ kind: "next-file", path: nextPath(replaces), replaces }] : [];
}

/**
 * Whether a change of a passphrase file was interrupted: there is a file of ours beside it. Where that cannot be told, the
 * file itself cannot be read either.
 */
export function hasNext(path: string): boolean {
  const next = nextPath(path);
  try {
    const info = findInfo(next);
    return info?.kind === "file" && findProblem(next, info, PASSPHRASE_MODE) === null;
  } catch (error) {
    if (error instanceof AmeshError) return false;
    throw error;
  }
}

/** @throws {AmeshError} `ERR_UNLOCK_FAILED` when that cannot be told: it may be there, so it is not skipped. */
export function sourceExists(source: FileSource): boolean {
  try {
    return findInput(source.path) !== null;
  } catch (error) {
    throw unreadable(describeSource(source), error);
  }
}

/**
 * What keeps a source from being used, as far as that shows without reading it.
 *
 * @returns a predicate, or `null`.
 */
export function findSourceProblem(source: PassphraseSource): string | null {
  if (!("path" in source)) return null;
  try {
    const info = findInput(source.path);
    if (info === null) return "cannot be used: no such file or directory";
    if (info.kind === "directory") return "is a directory";
    // A pipe would wait for its writer.
    if (info.kind !== "file") return null;
    openInput(source.path).handle.close();
    return info.size === 0 || info.size > MAX_PASSPHRASE_FILE_BYTES ? "does not have 1 to 4096 bytes" : null;
  } catch (error) {
    return `cannot be used: ${errorText(error instanceof AmeshError ? error.cause : error)}`;
  }
}
