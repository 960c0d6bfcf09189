/**
 * An SSH server of OpenSSH that only this test knows: on a free port of 127.0.0.1, as the user that runs the test, without
 * PAM and without what the machine's own server has, and ended by the kernel when the test ends, in whatever way.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { end, hasEnded, startTied, waitUntil } from "./swtpm.ts";

/** `ssh-keygen -t … -b …` of each host key, by the file that it lies in. */
const HOST_KEYS = {
  host_ed25519: ["ed25519"],
  host_ecdsa_256: ["ecdsa", "-b", "256"],
  host_ecdsa_384: ["ecdsa", "-b", "384"],
  host_ecdsa_521: ["ecdsa", "-b", "521"],
  host_rsa: ["rsa", "-b", "2048"],
} as const;
/** sshd demands it, empty, where it runs as root; a running system has it. */
const EMPTY_DIRECTORY = "/run/sshd";

/** A running server. Its host keys, `known_hosts` and `log` lie in its directory. */
export interface Sshd extends Disposable {
  readonly pid: number;
  readonly port: number;
}

/**
 * Starts a server that lets in whoever has a key of `directory/../authorized_keys`.
 *
 * @param program absolute path of sshd: it starts itself again for each connection.
 * @param directory to be made; its parent is HOME of those who log in.
 * @param variables the environment of the server, and of those who log in.
 * @throws {Error} it ended, with its log.
 */
export async function startSshd(
  program: string,
  directory: string,
  variables: Readonly<Record<string, string>>,
): Promise<Sshd> {
  mkdirSync(directory, { mode: 0o700 });
  if (process.getuid?.() === 0) mkdirSync(EMPTY_DIRECTORY, { recursive: true });
  const hostKeys = Object.keys(HOST_KEYS).map((name) => join(directory, name));
  Object.values(HOST_KEYS).forEach((type, index) => makeKey(hostKeys[index]!, type));
  const port = await freePort();
  const home = join(directory, "..");
  const settings = [
    `ListenAddress 127.0.0.1:${port}`,
    ...hostKeys.map((path) => `HostKey ${path}`),
    `AuthorizedKeysFile ${join(home, "authorized_keys")}`,
    "AuthenticationMethods publickey",
    "PermitRootLogin prohibit-password",
    "StrictModes no",
    "UsePAM no",
    "PidFile none",
    `SetEnv ${
      Object.entries({ ...variables, HOME: home }).map(([name, value]) => `"${name}=${value}"`).join(" ")
    }`,
  ];
  const [config, log] = [join(directory, "sshd_config"), join(directory, "log")];
  writeFileSync(config, settings.join("\n") + "\n");
  const known = hostKeys.map((path) => `[127.0.0.1]:${port} ${readFileSync(`${path}.pub`, "utf8")}`);
  writeFileSync(join(directory, "known_hosts"), known.join(""));
  const environment = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const pid = startTied(["env", "-i", ...environment, program, "-D", "-e", "-f", config], log);
  waitUntil(() => {
    const text = existsSync(log) ? readFileSync(log, "utf8") : "";
    if (hasEnded(pid)) throw new Error(`sshd ended: ${text}`);
    return text.includes("Server listening on 127.0.0.1");
  }, "start of sshd");
  return { pid, port, [Symbol.dispose]: () => end(pid, directory) };
}

function makeKey(path: string, type: readonly string[]): void {
  const { status, stderr } = spawnSync("ssh-keygen", ["-q", "-N", "", "-f", path, "-t", ...type], {
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (status !== 0) throw new Error(`ssh-keygen: ${stderr}`);
}

/** A port that nobody listens on. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
