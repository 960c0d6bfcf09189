/** How hard a passphrase is to guess, as far as its bytes tell. Pure. */

/** What can be said of a passphrase without telling any of it. */
export interface Strength {
  /** Length in bytes. */
  readonly bytes: number;
  /** Whether it has the form that amesh generates: 256 random bits as 64 lower-case hex digits. */
  readonly isGenerated: boolean;
  /** It is no harder to guess than a random number of so many bits; one that a person chose is easier, often much. */
  readonly bitsAtMost: number;
  /** Whether even that is too little for a stolen key file. */
  readonly isWeak: boolean;
}

const GENERATED_LENGTH = 64;
/** Fewer different characters than this are no random choice. */
const FEW_CHARACTERS = 6;
/** With the default cost of Argon2id, 2^64 guesses are out of reach; NIST SP 800-131A asks for 112 bits of a key. */
const WEAK_BITS = 64;

/** How many characters there are of each kind. */
const KINDS: readonly (readonly [pattern: RegExp, count: number])[] = [
  [/[a-z]/, 26],
  [/[A-Z]/, 26],
  [/[0-9]/, 10],
  [/[ -/:-@[-`{-~]/, 33],
  // deno-lint-ignore no-control-regex -- bytes, one character each.
  [/[\u0000-\u001f\u007f-\u00ff]/, 161],
];

/** Measures a passphrase. @param passphrase read only, 1 to 4096 bytes. */
export function measureStrength(passphrase: Uint8Array): Strength {
  const used = [...new Set(passphrase)];
  const isHex = used.every((byte) => (byte >= 0x30 && byte <= 0x39) || (byte >= 0x61 && byte <= 0x66));
  const isVaried = used.length >= FEW_CHARACTERS;
  const isGenerated = passphrase.length === GENERATED_LENGTH && isHex && isVaried;
  const alphabet = KINDS.filter(([pattern]) => used.some((byte) => pattern.test(String.fromCharCode(byte))))
    .reduce((sum, [, count]) => sum + count, 0);
  const bitsAtMost = isGenerated ? 256 : Math.floor(passphrase.length * Math.log2(alphabet));
  return { bytes: passphrase.length, isGenerated, bitsAtMost, isWeak: !isVaried || bitsAtMost < WEAK_BITS };
}
