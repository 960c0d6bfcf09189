/** The environment of the process that runs the tests. Files run one after the other, so a test may change it. */
import process from "node:process";
import { library } from "../../src/ffi/ffi.ts";

const libc = library(
  () =>
    process.platform === "darwin"
      ? ["/usr/lib/libSystem.B.dylib"]
      : [`/lib/${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu/libc.so.6`],
  {
    setenv: { parameters: ["buffer", "buffer", "i32"], result: "i32" },
    unsetenv: { parameters: ["buffer"], result: "i32" },
  },
);
const cString = (text: string) => new TextEncoder().encode(`${text}\0`);

/** Every variable that amesh reads and a developer may have set; {@linkcode setEnvironment} hides them. */
const READ_BY_AMESH = [
  "AUTH_MESH_DIR",
  "AUTH_MESH_PASSPHRASE",
  "AMESH_PASSPHRASE_FILE",
  "AMESH_ALLOW_GROUP_READ",
  "CREDENTIALS_DIRECTORY",
  "NOTIFY_SOCKET",
  "SSH_ASKPASS",
  "SSH_AUTH_SOCK",
  "XDG_RUNTIME_DIR",
  "AMESH_TEST_SECURITY_LIB",
  "AMESH_TEST_SE_HELPER",
  "AMESH_FAKE_HELPER",
  "AMESH_FAKE_ENCLAVE",
];

/** Sets one variable for the runtime and for C: Bun keeps an environment besides that of libc. */
function set(name: string, value: string | undefined): void {
  if (value === undefined) {
    delete process.env[name];
    libc.unsetenv(cString(name));
  } else {
    process.env[name] = value;
    libc.setenv(cString(name), cString(value), 1);
  }
}

/** A way to a TPM that is on no machine: a developer's own takes no part in the tests. */
export const NO_TPM = "device:/dev/amesh-no-tpm";

/** Gives these variables to amesh, and no other of its own; disposing of it brings back what was there. */
export function setEnvironment(given: Readonly<Record<string, string>> = {}): Disposable {
  const values: Readonly<Record<string, string>> = { AMESH_TPM_TCTI: NO_TPM, ...given };
  const names = new Set([...READ_BY_AMESH, ...Object.keys(values)]);
  const before = [...names].map((name) => [name, process.env[name]] as const);
  for (const name of names) set(name, values[name]);
  return {
    [Symbol.dispose]: () => {
      for (const [name, value] of before) set(name, value);
    },
  };
}
