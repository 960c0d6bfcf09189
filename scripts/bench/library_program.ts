/**
 * A program that signs by the library, or by jose with a key in software, and prints how many tokens a second that made.
 *
 * Arguments: the way (a name of WAYS), how many are in flight, how long to measure in milliseconds, the amesh directory.
 */
import process from "node:process";
import { generateKeyPair, SignJWT } from "jose";
import { openIdentity } from "../../src/mod.ts";

const [way = "", inFlight = "1", milliseconds = "1000", directory = ""] = process.argv.slice(2);
/** As long as the signing input of a small token. */
const MESSAGE = new Uint8Array(400).fill(0x41);
const AUDIENCE = "https://service.example";

using identity = await openIdentity({ directory });
const { privateKey } = await generateKeyPair("ES256");
const claims = { iss: identity.deviceId, sub: identity.deviceId };

/** What is measured. */
const WAYS: Readonly<Record<string, () => Promise<unknown>>> = {
  sign: () => identity.sign(MESSAGE),
  token: () => identity.token({ audience: AUDIENCE }),
  jose: () =>
    new SignJWT(claims).setProtectedHeader({ alg: "ES256", typ: "JWT", kid: identity.publicKey.thumbprint })
      .setAudience(AUDIENCE).setIssuedAt().setNotBefore("-60s").setExpirationTime("5m")
      .setJti(crypto.randomUUID()).sign(privateKey),
};
const run = WAYS[way];
if (run === undefined) throw new TypeError(`not one of ${Object.keys(WAYS).join(", ")}: ${way}`);

async function ratePerSecond(durationMs: number): Promise<number> {
  const start = performance.now();
  const end = start + durationMs;
  let count = 0;
  const repeat = async () => {
    for (; performance.now() < end; count++) await run!();
  };
  await Promise.all(Array.from({ length: Number(inFlight) }, repeat));
  return count / (performance.now() - start) * 1000;
}

await ratePerSecond(Number(milliseconds) / 2);
console.log(await ratePerSecond(Number(milliseconds)));
