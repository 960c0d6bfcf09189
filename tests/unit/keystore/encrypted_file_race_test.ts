/** Key files that change under the hand: another amesh changes the passphrase, or a disk keeps something else. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { encryptedFileTier } from "../../../src/keystore/encrypted_file.ts";
import { type Passphrase, Passphrases } from "../../../src/passphrase/passphrases.ts";
import { host } from "../../../src/platform/host.ts";
import {
  type AmeshPlace,
  ameshPlace,
  FLOOR_PASSPHRASE,
  identityOf,
  keyNameOf,
  writeAs,
} from "../../support/amesh_place.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";

const FLOOR = await identityOf("floor");
const keyPath = ({ layout }: AmeshPlace) => join(layout.keys, keyNameOf("floor"));

/** The key file of `floor` under these passphrases, one after the other. */
async function sealed(...passphrases: readonly string[]): Promise<Buffer[]> {
  using here = ameshPlace("floor");
  const files: Buffer[] = [];
  for (const passphrase of passphrases) {
    await encryptedFileTier.passphrase!.reseal(here.context(), FLOOR, {
      passphrase: utf8(passphrase),
      cost: {},
      commit: (_source, form) => form.write(),
    });
    writeAs(here.layout.passphrase, passphrase, 0o400);
    files.push(readFileSync(keyPath(here)));
  }
  return files;
}

/** Calls `meanwhile` before each passphrase is given, and counts them. */
class Meanwhile extends Passphrases {
  given = 0;
  constructor(here: AmeshPlace, readonly meanwhile: (round: number, given: number) => void) {
    super(here.layout, undefined, here.warn);
  }
  #rounds = 0;
  override *candidates(): Generator<Passphrase> {
    const round = ++this.#rounds;
    this.meanwhile(round, this.given);
    for (const candidate of super.candidates()) {
      this.given++;
      yield candidate;
      this.meanwhile(round, this.given);
    }
  }
}

async function open(here: AmeshPlace, meanwhile: (round: number, given: number) => void): Promise<number> {
  using passphrases = new Meanwhile(here, meanwhile);
  const context = { layout: here.layout, passphrases };
  (await encryptedFileTier.open(context, FLOOR, false))[Symbol.dispose]();
  return passphrases.given;
}

const [second, third] = await sealed("second", "third");

test("open() tries again when key file and passphrase are replaced after the key file was read", async () => {
  using here = ameshPlace("floor");
  const given = await open(here, (round, given) => {
    if (round > 1 || given > 0) return;
    writeAs(keyPath(here), second!, 0o600);
    writeAs(here.layout.passphrase, "second", 0o400);
  });
  // The new passphrase with the old file, then with the new one.
  assert.equal(given, 2);
});

test("open() tries again when they are replaced between the first passphrase and the end of the round", async () => {
  using here = ameshPlace("floor");
  // The change is committed and its next file not yet renamed.
  writeAs(here.layout.passphrase, "outdated", 0o400);
  const given = await open(here, (_round, given) => {
    if (given !== 1) return;
    writeAs(keyPath(here), third!, 0o600);
    writeAs(here.layout.passphrase, "third", 0o400);
  });
  assert.equal(given, 2);
});

test("open() follows a change from its next file to its end", async () => {
  using here = ameshPlace("floor");
  const next = `${here.layout.passphrase}.next`;
  writeAs(keyPath(here), second!, 0o600);
  writeAs(here.layout.passphrase, "first", 0o400);
  writeAs(next, "second", 0o400);
  const given = await open(here, (round, given) => {
    if (round !== 1 || given !== 1) return;
    rmSync(next);
    writeAs(here.layout.passphrase, "second", 0o400);
  });
  assert.equal(given, 2);
});

test("open() follows two changes in one opening", async () => {
  using here = ameshPlace("floor");
  writeAs(here.layout.passphrase, "first", 0o400);
  const given = await open(here, (_round, given) => {
    if (given === 1) {
      writeAs(keyPath(here), second!, 0o600);
      writeAs(here.layout.passphrase, "second", 0o400);
    } else if (given === 2) {
      writeAs(keyPath(here), third!, 0o600);
      writeAs(here.layout.passphrase, "third", 0o400);
    }
  });
  assert.ok(given >= 2);
});

test("open() gives up on a wrong passphrase after one look more, in which nothing is stretched again", async () => {
  using here = ameshPlace("floor");
  writeAs(here.layout.passphrase, "wrong", 0o400);
  let given = 0;
  await assert.rejects(
    open(here, (_round, count) => void (given = count)),
    ameshError(
      "ERR_UNLOCK_FAILED",
      /^cannot unlock the key: the passphrase is wrong or the key file damaged$/,
    ),
  );
  assert.equal(given, 2);
});

test("open() of a passphrase that can be given once only does not try it twice", async () => {
  using here = ameshPlace("floor");
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: "wrong" });
  let given = 0;
  await assert.rejects(open(here, (_round, count) => void (given = count)), ameshError("ERR_UNLOCK_FAILED"));
  assert.equal(given, 2);
});

test("open() says that the key is missing when its file goes while the passphrase is tried", async () => {
  using here = ameshPlace("floor");
  writeAs(here.layout.passphrase, "wrong", 0o400);
  const meanwhile = (_round: number, given: number) => {
    if (given === 1) rmSync(keyPath(here), { force: true });
  };
  await assert.rejects(open(here, meanwhile), ameshError("ERR_CORRUPT", /is missing$/));
});

test("open() with the next file beside a right passphrase reads the first only", async () => {
  using here = ameshPlace("floor");
  writeAs(`${here.layout.passphrase}.next`, "next", 0o400);
  assert.equal(await open(here, () => {}), 1);
  writeAs(here.layout.passphrase, "outdated", 0o400);
  writeAs(`${here.layout.passphrase}.next`, FLOOR_PASSPHRASE, 0o400);
  assert.equal(await open(here, () => {}), 2);
});

test("open() looks once more when the only file has just got another name, and ends when it is gone", async () => {
  using here = ameshPlace("floor");
  const next = `${here.layout.passphrase}.next`;
  rmSync(here.layout.passphrase);
  writeAs(next, FLOOR_PASSPHRASE, 0o400);
  const only = [
    { kind: "default-file", path: here.layout.passphrase },
    { kind: "next-file", path: next, replaces: here.layout.passphrase },
  ] as const;
  // Both are read, and neither is there, while the one gets the name of the other.
  const { lstat } = host;
  let looks = 0;
  host.lstat = (path) => {
    if (path === next && looks++ === 0) renameSync(next, here.layout.passphrase);
    return lstat(path);
  };
  try {
    const { layout } = here;
    using passphrases = new Passphrases(layout, undefined, here.warn, { only });
    (await encryptedFileTier.open({ layout, passphrases }, FLOOR, false))[Symbol.dispose]();
    assert.equal(passphrases.openedBy?.source.kind, "default-file");
    rmSync(layout.passphrase);
    await assert.rejects(
      encryptedFileTier.open({ layout, passphrases }, FLOOR, false),
      ameshError("ERR_UNLOCK_FAILED"),
    );
  } finally {
    host.lstat = lstat;
  }
});

test("reseal() keeps the old key file when what was written does not open", async () => {
  using here = ameshPlace("floor");
  const before = readFileSync(keyPath(here), "utf8");
  const { open } = host;
  host.open = (path, how, mode) => {
    const file = open(path, how, mode);
    if (how !== "create") return file;
    // One character of the ciphertext is another one; the file is well-formed all the same.
    const damage = (text: string) =>
      text.replace(/("ciphertext": ")(.)/, (_, name, first) => `${name}${first === "A" ? "B" : "A"}`);
    return { ...file, write: (bytes) => file.write(utf8(damage(new TextDecoder().decode(bytes)))) };
  };
  try {
    await assert.rejects(
      encryptedFileTier.passphrase!.reseal(here.context(), FLOOR, {
        passphrase: utf8("another"),
        cost: {},
        commit: (_source, form) => form.write(),
      }),
      ameshError("ERR_INTERNAL", /^cannot read back ".*": it does not open$/),
    );
  } finally {
    host.open = open;
  }
  assert.equal(readFileSync(keyPath(here), "utf8"), before);
  assert.deepEqual(readdirSync(here.layout.keys), [keyNameOf("floor")]);
});
