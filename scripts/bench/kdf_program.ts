/** A program that stretches a passphrase by amesh's own code, with amesh's default cost, and does nothing else. */
import { utf8 } from "../../src/bytes.ts";
import { stretchPassphrase } from "../../src/crypto/argon2id.ts";

const passphrase = utf8("0123456789abcdef".repeat(4));
await stretchPassphrase(
  { passphrase, salt: utf8("sixteen bytes :)"), params: { t: 3, m: 65_536, p: 1 } },
  false,
);
