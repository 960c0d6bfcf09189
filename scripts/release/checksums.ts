/** `SHA256SUMS` and its signature by minisign. */
import { join } from "node:path";
import { CompileError, runProgram, sha256 } from "../build.ts";

/** Name of the list of checksums. */
export const SUMS = "SHA256SUMS";
/** Name of its signature. */
export const SIGNATURE = `${SUMS}.minisig`;

/** A key pair of minisign. */
export interface SigningKey {
  /** Absolute path of the secret key. */
  readonly secretKeyFile: string;
  /** Base64 of 42 bytes, as minisign's `-P` takes it. */
  readonly publicKey: string;
}

/**
 * Finds the public key that belongs to a secret one. It is asked for, not derived: a signature that verifies under
 * it is one that verifies for everybody who has it.
 *
 * @throws {CompileError} when one of the two is not there or is no key.
 */
export async function readSigningKey(secretKeyFile: string): Promise<SigningKey> {
  const publicKeyFile = secretKeyFile.replace(/\.key$/, "") + ".pub";
  await readKey(secretKeyFile);
  const publicKey = (await readKey(publicKeyFile)).split("\n")[1]?.trim() ?? "";
  if (!/^RW[A-Za-z0-9+/]{54}$/.test(publicKey)) {
    throw new CompileError(`"${publicKeyFile}" is no public key of minisign`);
  }
  return { secretKeyFile, publicKey };
}

async function readKey(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw new CompileError(`cannot read the key "${path}": ${(error as Error).message}`);
  }
}

/**
 * Lists every file of a directory, in the form of sha256sum, sorted by name.
 *
 * @returns the checksums in lower-case hex, by file name.
 */
export async function writeSums(directory: string): Promise<ReadonlyMap<string, string>> {
  const names = (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name);
  const listed = names.filter((name) => name !== SUMS && name !== SIGNATURE).sort();
  const sums = new Map<string, string>();
  for (const name of listed) sums.set(name, (await sha256(join(directory, name))).sha256);
  await Deno.writeTextFile(join(directory, SUMS), formatSums(sums));
  return sums;
}

function formatSums(sums: ReadonlyMap<string, string>): string {
  return [...sums].map(([name, sum]) => `${sum}  ${name}\n`).join("");
}

/**
 * Signs the list and verifies the signature. minisign asks for the password of a key that has one.
 *
 * @param comment is signed as well, and shown to whoever verifies.
 * @throws {CompileError} when it is not signed, or the public key does not belong to the secret one.
 */
export async function signSums(directory: string, key: SigningKey, comment: string): Promise<void> {
  const files = ["-m", join(directory, SUMS), "-x", join(directory, SIGNATURE)];
  const { success } = await new Deno.Command("minisign", {
    args: ["-S", "-s", key.secretKeyFile, "-t", comment, ...files],
    stdin: "inherit",
    stdout: "null",
    stderr: "inherit",
  }).spawn().status;
  if (!success) throw new CompileError(`minisign does not sign with "${key.secretKeyFile}"`);
  const verified = await runProgram(["minisign", "-V", "-Q", "-P", key.publicKey, ...files]);
  if (!verified.success || verified.stdout.trim() !== comment) {
    const said = verified.text.trim().replaceAll(/\s+/g, " ");
    throw new CompileError(`the signature does not verify with the public key: ${said}`);
  }
}
