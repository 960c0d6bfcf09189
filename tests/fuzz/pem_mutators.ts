/** Mutations of PEM: its armour, the base64 in it, and the DER in that. */
import { type Bytes, decodeBase64, encodeBase64, utf8 } from "../../src/bytes.ts";
import { respell } from "./base64_mutators.ts";
import type { Mutator } from "./bytes_mutators.ts";
import { mutateDer } from "./der_mutators.ts";
import type { Random } from "./random.ts";

/** RFC 7468 §2: lines of 64 characters. */
export function pem(label: string, der: Uint8Array): string {
  const body = encodeBase64(der).replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}

const LABELS = [
  "PUBLIC KEY",
  "TSS2 PRIVATE KEY",
  "PRIVATE KEY",
  "EC PRIVATE KEY",
  "EC PUBLIC KEY",
  "CERTIFICATE",
  "",
];

const ARMOUR: readonly ((random: Random, text: string) => string)[] = [
  (_, text) => text.replaceAll("\n", "\r\n"),
  (_, text) => text.replaceAll("\n", "\r"),
  (_, text) => text.replaceAll("\n", "\n\n"),
  (_, text) => text.replace(/\n$/, ""),
  (random, text) => `${random.pick(["\n", " ", "\ufeff", "text before\n", "x"])}${text}`,
  (random, text) => `${text}${random.pick(["\n\n", " ", "text behind\n", "\0", "-"])}`,
  (_, text) => text + text,
  (random, text) => text.replaceAll(/(?<=BEGIN |END )[A-Z0-9 ]*/g, random.pick(LABELS)),
  (random, text) => text.replace(/(?<=END )[A-Z0-9 ]*/, random.pick(LABELS)),
  (_, text) => text.replace("-----BEGIN", "----BEGIN"),
  (_, text) => text.replace("-----END", "------END"),
  (_, text) => text.replace(/-----END[^]*/, ""),
  (_, text) => text.replace("\n", "\nProc-Type: 4,ENCRYPTED\n\n"),
  (_, text) => text.toLowerCase(),
  (random, text) => text.replaceAll("\n", () => random.pick(["\n", "\n", " \n", "\n ", "\t\n"])),
  (random, text) =>
    text.replaceAll(/-----BEGIN/g, "-----BEGIN A-----\n".repeat(random.pick([1, 10, 500])) + "$&"),
  (random, text) => respell(random, text),
];

/** Armour and body apart; `null` for what is no PEM. */
function parts(text: string): { begin: string; body: Bytes; end: string } | null {
  const found = /^([^]*-----BEGIN [A-Z0-9 ]+-----\r?\n)([A-Za-z0-9+/=\r\n]+)(-----END [^]*)$/.exec(text);
  const body = decodeBase64(found?.[2]?.replaceAll(/[\r\n]/g, "") ?? "-");
  return found === null || body === null ? null : { begin: found[1]!, body, end: found[3]! };
}

/** @param mutateBody what happens to the bytes that the armour holds. */
export function pemMutator(mutateBody: (random: Random, der: Bytes) => Bytes = mutateDer): Mutator {
  return (random, input) => {
    let text = new TextDecoder().decode(input);
    const found = parts(text);
    if (found !== null && !random.oneIn(3)) {
      const body = encodeBase64(mutateBody(random, found.body));
      const width = random.pick([64, 64, 64, 76, 1, 100_000]);
      const spelt = random.oneIn(4) ? respell(random, body) : body;
      text = found.begin + spelt.replaceAll(new RegExp(`.{1,${width}}`, "g"), "$&\n") + found.end;
    }
    if (random.oneIn(3)) text = random.pick(ARMOUR)(random, text);
    return utf8(text);
  };
}
