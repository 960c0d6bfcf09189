/** struct sockaddr_un of Linux (linux/un.h) and macOS (sys/un.h). */
import { type Bytes, concatBytes, utf8 } from "../bytes.ts";
import { host } from "./host.ts";

const AF_UNIX = 1;
/** Bytes of sun_path; one is for the zero at its end. */
const PATH_BYTES = { linux: 108, darwin: 104 } as const;

const withCode = (code: string) => Object.assign(new Error(`socket address: ${code}`), { code });

/**
 * The address of a socket file.
 *
 * @throws {Error} with `code`: `ENAMETOOLONG` for more than 107 bytes (macOS: 103); `EINVAL` for an empty
 *   path, which Linux would take for any abstract name, and for one with a zero byte, which would end it.
 */
export function pathAddress(path: string): Bytes {
  if (path === "" || path.includes("\0")) throw withCode("EINVAL");
  return address(concatBytes(utf8(path), Uint8Array.of(0)));
}

/**
 * The address of an abstract socket, which is no file (unix(7), Linux only).
 *
 * @throws {Error} `ENAMETOOLONG`.
 */
export function abstractAddress(name: string): Bytes {
  return address(concatBytes(Uint8Array.of(0), utf8(name)));
}

function address(name: Bytes): Bytes {
  if (name.length > PATH_BYTES[host.os === "darwin" ? "darwin" : "linux"]) throw withCode("ENAMETOOLONG");
  // The family: two bytes on Linux; on macOS one, behind the length of it all.
  const head = host.os === "darwin" ? [2 + name.length, AF_UNIX] : [AF_UNIX, 0];
  return concatBytes(Uint8Array.from(head), name);
}
