/**
 * Signs with this machine's key, and verifies as a machine would that has nothing but the public key.
 *
 *     deno run --allow-read --allow-env --allow-sys=uid --allow-ffi docs/examples/sign.ts
 *     bun docs/examples/sign.ts
 */
import { AmeshError, openIdentity, parsePublicKey } from "../../src/mod.ts";

try {
  using identity = await openIdentity({ onWarning: (message) => console.error(message) });
  using _rotations = identity.onRotation(({ previous, current }) => {
    console.error(`${previous.deviceId} is now ${current.deviceId}`);
  });
  const signature = await identity.sign("a message");

  const publicKey = await parsePublicKey(identity.publicKey.pem);
  console.log(`${identity.deviceId} (${identity.name}, ${identity.backend})`);
  console.log(`signed: ${await publicKey.verify(signature, "a message")}`);
  console.log(`signed something else: ${await publicKey.verify(signature, "another message")}`);
} catch (error) {
  if (!(error instanceof AmeshError)) throw error;
  // What went wrong, and what a person can do about it.
  console.error([error.message, error.hint].filter(Boolean).join("\n"));
}
