/**
 * The one error type of amesh, its stable codes and the exit code of each.
 *
 * Messages are lower case, name the action first, quote values and end without a full stop: they follow
 * `amesh: error: `. They never hold key bytes, passphrases or the contents of a file.
 */

/** Stable names of the conditions that amesh reports; printed with `--json`. */
export type AmeshErrorCode = keyof typeof EXIT_CODES;

/** Exit code of every error code; a missing one is a type error. */
export const EXIT_CODES = {
  ERR_INTERNAL: 1,
  ERR_SYSTEM: 1,
  ERR_NOT_CONFIRMED: 1,
  ERR_USAGE: 2,
  ERR_NO_IDENTITY: 3,
  ERR_TIER_UNAVAILABLE: 4,
  ERR_UNLOCK_FAILED: 5,
  ERR_IDENTITY_EXISTS: 6,
  ERR_SIGNATURE_INVALID: 7,
  ERR_UNSAFE_PERMISSIONS: 8,
  ERR_CORRUPT: 9,
  ERR_BUSY: 10,
  ERR_CERTIFICATE_DUE: 11,
  ERR_NO_AGENT: 12,
} as const;

/** What {@linkcode AmeshError} takes besides code and message. */
export interface AmeshErrorOptions {
  /** What the user can do next, one line; printed after `amesh: hint: `. */
  readonly hint?: string;
  /** The error that this one explains; never printed. */
  readonly cause?: unknown;
}

/** A condition that the user can act on. Programming mistakes stay TypeError and RangeError. */
export class AmeshError extends Error {
  /** `AmeshError`. */
  // A literal: `constructor.name` does not survive minification.
  override readonly name: string = "AmeshError";
  /** What the user can do next, one line. */
  readonly hint: string | undefined;

  /** An error of this code. @param message see the head of this file. */
  constructor(readonly code: AmeshErrorCode, message: string, options: AmeshErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.hint = options.hint;
  }

  /** The exit code of the process that ends with this error. */
  get exitCode(): number {
    return EXIT_CODES[this.code];
  }
}

/** A signal that asks a program to end came while it waited for an answer. Nothing is left to say. */
export class Interrupted extends Error {
  override readonly name: string = "Interrupted";

  /** @param signalNumber see signal(7). */
  constructor(readonly signalNumber: number) {
    super(`interrupted by signal ${signalNumber}`);
  }
}

const ERRNO_TEXT: Readonly<Record<string, string>> = {
  E2BIG: "argument list too long",
  EACCES: "permission denied",
  EADDRINUSE: "address in use",
  EAGAIN: "not possible now",
  EBADF: "not open",
  EBUSY: "in use",
  ECONNABORTED: "connection aborted",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EDQUOT: "disk quota exceeded",
  EEXIST: "already exists",
  EFBIG: "file too large",
  EINVAL: "not possible here",
  EIO: "input/output error",
  EISDIR: "is a directory",
  ELOOP: "too many symbolic links",
  EMFILE: "too many open files",
  ENAMETOOLONG: "name too long",
  ENFILE: "too many open files on this system",
  ENOBUFS: "no buffer space",
  ENODEV: "no such device",
  ENOENT: "no such file or directory",
  ENOEXEC: "not a program",
  ENOMEM: "out of memory",
  ENOSPC: "no space left on device",
  ENOTCONN: "not connected",
  ENOTDIR: "a part of the path is not a directory",
  ENOTEMPTY: "directory not empty",
  ENOTSOCK: "not a socket",
  ENXIO: "no such device or address",
  EPERM: "operation not permitted",
  EPIPE: "broken pipe",
  EPROTOTYPE: "a socket of another kind",
  EROFS: "read-only file system",
  ETIMEDOUT: "timed out",
  ETXTBSY: "file is being executed",
  EXDEV: "crosses file systems",
};

/** The `errno` name (`ENOENT` …) of an operating system error of either runtime, or `undefined`. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** Whether Deno refused something because the permissions of this program do not cover it. */
export function isNotCapable(error: unknown): boolean {
  return error instanceof Error && error.name === "NotCapable";
}

/** What an operating system error means, in a few words. */
export function errorText(error: unknown): string {
  const errno = errnoOf(error);
  if (errno !== undefined) return ERRNO_TEXT[errno] ?? `operating system error ${errno}`;
  // Deno's own text would tell the user to give up all permissions.
  if (isNotCapable(error)) return "Deno keeps programs out of /dev, /proc and /sys; use a place elsewhere";
  return error instanceof Error ? error.message : String(error);
}

/**
 * Explains an operating system error.
 *
 * @param action what was tried, with the path quoted: `read "/etc/x"`.
 * @returns an `ERR_SYSTEM`; the error itself when it is an {@linkcode AmeshError} already.
 */
export function systemError(action: string, error: unknown, hint?: string): AmeshError {
  if (error instanceof AmeshError) return error;
  return new AmeshError("ERR_SYSTEM", `cannot ${action}: ${errorText(error)}`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

/**
 * Explains an error that came after a change was in force.
 *
 * @param state what is so now.
 * @param command what finishes the rest.
 */
export function afterCommit(error: unknown, state: string, command: string): unknown {
  if (!(error instanceof AmeshError)) return error;
  const { code, message, hint } = error;
  const why = hint === undefined ? "" : `${hint}; then `;
  return new AmeshError(code, `${state}: ${message}`, { hint: `${why}run: ${command}`, cause: error });
}
