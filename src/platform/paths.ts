/** Where amesh keeps its files. Nothing here touches them. */
import { AmeshError } from "../errors.ts";
import { host } from "./host.ts";

/** The files of one amesh directory, all absolute. */
export interface Layout {
  readonly directory: string;
  readonly identity: string;
  readonly keys: string;
  readonly passphrase: string;
  readonly lock: string;
  /** Continuity statements of this machine's keys. */
  readonly history: string;
  /** The certificate chain that a CA has given for the key. */
  readonly certificate: string;
  /** Socket of the agent, where there is no XDG_RUNTIME_DIR. */
  readonly run: string;
  /** Keys that nothing refers to, moved here by `doctor --fix`. */
  readonly orphans: string;
  /** The identity that a command is replacing. */
  readonly replaced: string;
  /** Names a key that is being made where no file tells of it. */
  readonly uncommitted: string;
  /** The identity that `delete` is deleting. */
  readonly deleted: string;
}

/** Names inside `directory`. */
export function layoutOf(directory: string): Layout {
  return {
    directory,
    identity: joinPath(directory, "identity.json"),
    keys: joinPath(directory, "keys"),
    passphrase: joinPath(directory, ".passphrase"),
    lock: joinPath(directory, ".lock"),
    history: joinPath(directory, "history"),
    certificate: joinPath(directory, "certificate.pem"),
    run: joinPath(directory, "run"),
    orphans: joinPath(directory, "orphans"),
    replaced: joinPath(directory, ".identity.replaced"),
    uncommitted: joinPath(joinPath(directory, "keys"), ".keychain.new"),
    deleted: joinPath(directory, ".identity.deleted"),
  };
}

/**
 * The directory in force: `AUTH_MESH_DIR`, else `.amesh` in HOME (on Windows USERPROFILE), else in the home that
 * the account database names. An empty variable counts as unset.
 *
 * @throws {AmeshError} `ERR_SYSTEM` when there is no home at all.
 */
export async function ameshLayout(): Promise<Layout> {
  const moved = host.env("AUTH_MESH_DIR");
  if (moved) return layoutOf(absolutePath(moved));
  const home = host.env(host.os === "windows" ? "USERPROFILE" : "HOME") || await host.accountHome();
  if (!home) {
    throw new AmeshError("ERR_SYSTEM", "cannot find the home directory: HOME is not set", {
      hint: "set HOME, or AUTH_MESH_DIR to the directory that amesh shall use",
    });
  }
  return layoutOf(joinPath(absolutePath(home), ".amesh"));
}

/** `name` inside `directory`. */
export function joinPath(directory: string, name: string): string {
  return directory.endsWith("/") ? directory + name : `${directory}/${name}`;
}

/** The directory that holds `path`; `/` for a name at the root. */
export function parentPath(path: string): string {
  const at = path.lastIndexOf("/");
  return at < 0 ? "." : path.slice(0, at) || "/";
}

/** The last component of `path`. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** `path` itself when absolute, else below the working directory; trailing slashes are dropped. */
export function absolutePath(path: string): string {
  const unified = host.os === "windows" ? path.replaceAll("\\", "/") : path;
  const isAbsolute = unified.startsWith("/") || (host.os === "windows" && /^[A-Za-z]:\//.test(unified));
  const full = isAbsolute ? unified : joinPath(host.cwd().replaceAll("\\", "/"), unified);
  return full.length > 1 ? full.replace(/\/+$/, "") || "/" : full;
}

/** A path as one word of a POSIX shell, for commands that a hint tells to run. */
export function shellQuote(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
