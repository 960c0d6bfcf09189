/** Descriptors as a shell passes them: numbers of the system, which one runtime's `node:fs` does not give. */
import process from "node:process";
import { library } from "../../src/ffi/ffi.ts";

const libc = library(
  () =>
    process.platform === "darwin"
      ? ["/usr/lib/libSystem.B.dylib"]
      : [`/lib/${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu/libc.so.6`],
  {
    close: { parameters: ["i32"], result: "i32" },
    dup2: { parameters: ["i32", "i32"], result: "i32" },
    open: { parameters: ["buffer", "i32"], result: "i32" },
  },
);

/** An open descriptor; disposing of it closes it, unless somebody else has. */
export interface Descriptor extends Disposable {
  readonly fd: number;
}

/** Opens a file for reading, without waiting for the writer of a pipe. */
export function openDescriptor(path: string): Descriptor {
  const nonblocking = process.platform === "darwin" ? 0x4 : 0x800;
  const fd = libc.open(new TextEncoder().encode(`${path}\0`), nonblocking);
  if (fd < 0) throw new Error(`cannot open ${path}`);
  return { fd, [Symbol.dispose]: () => void libc.close(fd) };
}

/** Makes a number that is in use another open file. */
export function replaceDescriptor(fd: number, path: string): void {
  using other = openDescriptor(path);
  if (libc.dup2(other.fd, fd) !== fd) throw new Error(`cannot replace descriptor ${fd}`);
}
