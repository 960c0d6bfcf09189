/**
 * Makes `ssh_host_keys.json` beside it: keys of every type by ssh-keygen, host certificates of them, and what ssh-agent
 * signs with each; a short RSA key by openssl. It imports no part of amesh. The private keys are gone at its end, so a
 * second run makes other keys: `deno run -A tests/vectors/make_ssh_host_keys.ts`.
 */
import { Buffer } from "node:buffer";
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

const PATH = join(import.meta.dirname!, "ssh_host_keys.json");
/** What a host signs in a key exchange: a hash. */
const SESSION_ID = createHash("sha256").update("amesh ssh host key vector").digest();
const TYPES: Readonly<Record<string, readonly string[]>> = {
  ed25519: [],
  ecdsa: ["256", "384", "521"],
  rsa: ["1024", "2048", "3072"],
};
/** draft-ietf-sshm-ssh-agent §5.6: SSH_AGENT_RSA_SHA2_256 and SSH_AGENT_RSA_SHA2_512; none: SHA-1. */
const RSA_FLAGS = [0, 2, 4];

interface Vector {
  readonly name: string;
  readonly hostKey: string;
  readonly signature: string;
}

const directory = mkdtempSync(join(tmpdir(), "ssh-host-keys-"));
const file = (name: string) => join(directory, name);
const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer).reverse();
const string = (value: Uint8Array | string) => {
  const bytes = Buffer.from(value);
  return Buffer.concat([u32(bytes.length), bytes]);
};
const blobOf = (path: string) => Buffer.from(readFileSync(path, "utf8").split(" ")[1]!, "base64");

function run(program: string, ...args: string[]): Buffer {
  const env = { ...process.env, SSH_AUTH_SOCK: file("agent") };
  const { status, stdout, stderr } = spawnSync(program, args, { env });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: ${stderr}`);
  return stdout;
}

/** Asks the agent for one signature. */
function signed(key: Buffer, flags: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(file("agent"));
    let answer = Buffer.alloc(0);
    socket.on("error", reject).on("data", (data) => {
      answer = Buffer.concat([answer, data]);
      if (answer.length < 9 || answer.length < 4 + answer.readUInt32BE(0)) return;
      socket.end();
      if (answer[4] === 14) resolve(answer.subarray(9));
      else reject(new Error(`answer ${answer[4]}`));
    });
    const request = Buffer.concat([Buffer.of(13), string(key), string(SESSION_ID), u32(flags)]);
    socket.write(string(request));
  });
}

/** A key that OpenSSH makes and signs with no more. */
function shortRsa(): Vector {
  run("openssl", "genrsa", "-out", file("short"), "1016");
  const text = run("openssl", "rsa", "-in", file("short"), "-noout", "-modulus").toString();
  const modulus = Buffer.from(text.trim().replace("Modulus=", ""), "hex");
  writeFileSync(file("message"), SESSION_ID);
  const signature = run("openssl", "dgst", "-sha256", "-sign", file("short"), file("message"));
  const key = [string("ssh-rsa"), string(Buffer.of(1, 0, 1)), string(Buffer.concat([Buffer.of(0), modulus]))];
  return {
    name: "rsa 1016 rsa-sha2-256",
    hostKey: Buffer.concat(key).toString("hex"),
    signature: Buffer.concat([string("rsa-sha2-256"), string(signature)]).toString("hex"),
  };
}

const agent = spawn("ssh-agent", ["-D", "-a", file("agent")], { stdio: "ignore" });
try {
  run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file("ca"));
  const vectors: Vector[] = [];
  for (const [type, sizes] of Object.entries(TYPES)) {
    for (const bits of sizes.length > 0 ? sizes : [""]) {
      const key = file(`key${vectors.length}`);
      run("ssh-keygen", "-q", "-t", type, ...bits === "" ? [] : ["-b", bits], "-N", "", "-f", key);
      run("ssh-keygen", "-q", "-s", file("ca"), "-h", "-I", "host", "-n", "host.example.org", `${key}.pub`);
      run("ssh-add", "-q", key);
      for (const flags of type === "rsa" ? RSA_FLAGS : [0]) {
        const signature = await signed(blobOf(`${key}.pub`), flags);
        const algorithm = signature.subarray(4, 4 + signature.readUInt32BE(0)).toString();
        for (const path of [`${key}.pub`, `${key}-cert.pub`]) {
          vectors.push({
            name: [type, bits, algorithm, path.endsWith("-cert.pub") ? "certificate" : ""].filter(Boolean)
              .join(" "),
            hostKey: blobOf(path).toString("hex"),
            signature: signature.toString("hex"),
          });
        }
      }
    }
  }
  vectors.push(shortRsa());
  writeFileSync(PATH, `${JSON.stringify({ sessionId: SESSION_ID.toString("hex"), vectors }, null, 2)}\n`);
} finally {
  agent.kill();
  rmSync(directory, { recursive: true });
}
