import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type Bytes, utf8 } from "../../../src/bytes.ts";
import { parseKeyFile } from "../../../src/formats/key_file.ts";
import { openIdentity } from "../../../src/identity/open.ts";
import {
  type Change,
  type ChangeOptions,
  changePassphrase,
} from "../../../src/identity/passphrase_change.ts";
import { settle } from "../../../src/identity/unfinished.ts";
import { findInput } from "../../../src/platform/input.ts";
import { acquireLock } from "../../../src/platform/lock.ts";
import { findFileSystem, isVolatile } from "../../../src/platform/mounts.ts";
import {
  addKey,
  type AmeshPlace,
  ameshPlace,
  FLOOR_PASSPHRASE,
  identityOf,
  keyNameOf,
  textOf,
  writeAs,
} from "../../support/amesh_place.ts";
import { openDescriptor } from "../../support/descriptors.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { copyFixture, fixtureIdentity, type FixtureName } from "../../support/fixture.ts";
import { watchChanges } from "../../support/host_changes.ts";

/** Whether all these directories are gone when the machine restarts, which is told then. */
const isInMemory = isVolatile(findFileSystem(findInput(tmpdir())!));
const KEY = `keys/${keyNameOf("floor")}`;
const NAMES = [".passphrase", "identity.json", "keys", KEY];
const MEMORY = "/dev/shm";
const hasMemory = isVolatile(existsSync(MEMORY) ? findFileSystem(findInput(MEMORY)!) : null);
const COST = { t: 2, m: 19_456, p: 1 };

/** A new passphrase as the user gives it. */
const given = (text: string) => ({ kind: "given", read: () => Promise.resolve(utf8(text)) }) as const;

async function change(
  { layout, warn }: AmeshPlace,
  next: ChangeOptions["next"],
  options: Partial<ChangeOptions> = {},
): Promise<Change> {
  return await changePassphrase({ layout, warn, input: {}, next, cost: {}, ...options });
}

/** Whether the key opens with a passphrase and nothing else. */
async function opensWith({ layout }: AmeshPlace, passphrase: string): Promise<boolean> {
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: passphrase });
  try {
    (await openIdentity(layout, () => {}, false))[Symbol.dispose]();
    return true;
  } catch (error) {
    return !ameshError("ERR_UNLOCK_FAILED", /passphrase is wrong/)(error);
  }
}

const keyFile = ({ layout }: AmeshPlace) => readFileSync(join(layout.directory, KEY));

test("changePassphrase() writes the next file, then the key file, then renames the first", async () => {
  using here = ameshPlace("floor");
  const { passphrase } = here.layout;
  using changes = watchChanges(here.layout.directory);
  const { openedBy, storedIn, protection } = await change(here, given("a new one"));
  assert.deepEqual(changes.made, [
    "write .passphrase.next",
    `write ${KEY}`,
    "move .passphrase.next to .passphrase",
  ]);
  assert.deepEqual(openedBy, { kind: "default-file", path: passphrase });
  assert.deepEqual([storedIn, protection], [passphrase, { version: "3.0.0", cost: COST }]);
  assert.deepEqual([textOf(passphrase), lstatSync(passphrase).mode & 0o7777], ["a new one\n", 0o400]);
  assert.deepEqual(here.names(), NAMES);
  assert.deepEqual([await opensWith(here, "a new one"), await opensWith(here, FLOOR_PASSPHRASE)], [
    true,
    false,
  ]);
});

test("changePassphrase() generates 256 random bits as hex", { skip: isInMemory }, async () => {
  using here = ameshPlace("floor");
  await change(here, { kind: "generate" });
  const text = textOf(here.layout.passphrase)!;
  assert.match(text, /^[0-9a-f]{64}\n$/);
  assert.ok(await opensWith(here, text.trim()));
});

test("changePassphrase() that keeps the passphrase seals the key anew, at another cost", async () => {
  using here = ameshPlace("floor");
  const before = parseKeyFile(keyFile(here), "x");
  using changes = watchChanges(here.layout.directory);
  const { storedIn, protection } = await change(here, { kind: "keep" }, { cost: { t: 3, p: 2 } });
  assert.deepEqual(changes.made, [`write ${KEY}`]);
  assert.deepEqual([storedIn, protection.cost], [null, { t: 3, m: 19_456, p: 2 }]);
  const after = parseKeyFile(keyFile(here), "x");
  for (const field of ["salt", "nonce", "ciphertext"] as const) {
    assert.notDeepEqual(after[field], before[field]);
  }
  assert.ok(await opensWith(here, FLOOR_PASSPHRASE));
});

for (
  const cost of [{ t: 1 }, { t: 17 }, { m: 19_455 }, { m: (1 << 20) + 1 }, { p: 0 }, { p: 5 }, { t: 2.5 }]
) {
  test(`changePassphrase() refuses the cost ${JSON.stringify(cost)} and changes nothing`, async () => {
    using here = ameshPlace("floor");
    const before = keyFile(here);
    await assert.rejects(
      change(here, given("a new one"), { cost }),
      ameshError("ERR_USAGE", /outside the limits$/),
    );
    assert.deepEqual([here.names(), keyFile(here)], [NAMES, before]);
  });
}

/** Fails at a step: what is in the way of it, and which of the passphrases opens the key then. */
const failures: [step: string, failure: "before" | "after", opens: string, names: readonly string[]][] = [
  ["write .passphrase.next", "before", FLOOR_PASSPHRASE, NAMES],
  [`write ${KEY}`, "before", FLOOR_PASSPHRASE, NAMES],
  // Committed: what may be the passphrase of the key stays.
  [`write ${KEY}`, "after", "a new one", [...NAMES, ".passphrase.next"].sort()],
  ["move .passphrase.next to .passphrase", "before", "a new one", [...NAMES, ".passphrase.next"].sort()],
  ["move .passphrase.next to .passphrase", "after", "a new one", NAMES],
];
for (const [step, failure, opens, names] of failures) {
  test(`changePassphrase() leaves a key that opens when "${step.slice(0, 30)}" fails ${failure} it is made`, async () => {
    using here = ameshPlace("floor");
    {
      using _changes = watchChanges(here.layout.directory, (change) => change === step ? failure : null);
      await assert.rejects(
        change(here, given("a new one")),
        ameshError("ERR_SYSTEM", /input\/output error$/),
      );
    }
    assert.deepEqual(here.names(), names);
    assert.ok(await opensWith(here, opens));
    // As a reader finds it, without the lock and without anything being repaired.
    (await openIdentity(here.layout, here.warn, false))[Symbol.dispose]();
    await settle(here.context(), await identityOf("floor"));
    assert.deepEqual([here.names(), textOf(here.layout.passphrase)], [NAMES, `${opens}\n`]);
  });
}

test("changePassphrase() after a failure that could not be undone begins anew", async () => {
  using here = ameshPlace("floor");
  const isKeyOrUndo = (change: string) =>
    change === `write ${KEY}` || change.startsWith("unlink") ? "before" : null;
  {
    using _changes = watchChanges(here.layout.directory, isKeyOrUndo);
    await assert.rejects(change(here, given("never")), ameshError("ERR_SYSTEM", /key\.json": input/));
  }
  assert.equal(textOf(`${here.layout.passphrase}.next`), "never\n");
  await change(here, given("second"));
  assert.deepEqual([here.names(), textOf(here.layout.passphrase)], [NAMES, "second\n"]);
});

test("changePassphrase() before a directory in the place of the next file changes nothing", async () => {
  using here = ameshPlace("floor");
  mkdirSync(`${here.layout.passphrase}.next`, { mode: 0o700 });
  const before = keyFile(here);
  await assert.rejects(change(here, given("a new one")), ameshError("ERR_SYSTEM", /\.next" is in the way$/));
  assert.deepEqual([keyFile(here), textOf(here.layout.passphrase)], [before, `${FLOOR_PASSPHRASE}\n`]);
});

/** Where the passphrase in force comes from, and where a new one goes: `null` for nowhere, `refused` when generated. */
const homes: [
  source: string,
  prepare: (here: AmeshPlace) => { variables?: Record<string, string>; input?: ChangeOptions["input"] },
  whenGiven: "own" | "named" | null,
  whenGenerated: "own" | "named" | "refused",
][] = [
  ["the default file", () => ({}), "own", "own"],
  [
    "a named file of this user",
    ({ file }) => {
      writeAs(file("named"), FLOOR_PASSPHRASE, 0o600);
      return { variables: { AMESH_PASSPHRASE_FILE: file("named") } };
    },
    "named",
    "named",
  ],
  [
    "a named file that is a link, as Kubernetes makes it",
    ({ file }) => {
      symlinkSync(writeAs(file("data"), FLOOR_PASSPHRASE, 0o400), file("named"));
      return { variables: { AMESH_PASSPHRASE_FILE: file("named") } };
    },
    null,
    "refused",
  ],
  [
    "a credential",
    ({ file }) => {
      writeAs(file("amesh-passphrase"), FLOOR_PASSPHRASE, 0o400);
      return { variables: { CREDENTIALS_DIRECTORY: file("") } };
    },
    null,
    "refused",
  ],
  ["the environment", () => ({ variables: { AUTH_MESH_PASSPHRASE: FLOOR_PASSPHRASE } }), null, "refused"],
  ["a descriptor beside a default file of the same", () => ({ input: { descriptor: -1 } }), "own", "own"],
  [
    "a descriptor beside a default file of another",
    ({ layout }) => {
      writeAs(layout.passphrase, "of something else", 0o400);
      return { input: { descriptor: -1 } };
    },
    null,
    "refused",
  ],
  [
    "a descriptor alone",
    ({ layout }) => {
      rmSync(layout.passphrase);
      return { input: { descriptor: -1 } };
    },
    null,
    "own",
  ],
  [
    "a person",
    ({ layout }) => {
      rmSync(layout.passphrase);
      return { input: { ask: () => Promise.resolve(utf8(FLOOR_PASSPHRASE)) } };
    },
    null,
    "own",
  ],
];
for (const [source, prepare, whenGiven, whenGenerated] of homes) {
  for (
    const [next, usual] of [[given("a new one"), whenGiven], [{ kind: "generate" }, whenGenerated]] as const
  ) {
    test(`changePassphrase() with one that was ${next.kind === "given" ? "given" : "generated"} in place of that of ${source}: ${usual ?? "stored nowhere"}`, async () => {
      using here = ameshPlace("floor");
      const { variables = {}, input = {} } = prepare(here);
      using descriptor = openDescriptor(writeAs(here.file("passed"), FLOOR_PASSPHRASE, 0o400));
      const passed = input.descriptor === undefined ? input : { descriptor: descriptor.fd };
      const [before, names] = [keyFile(here), here.names()];
      using _environment = setEnvironment(variables);
      // A passphrase that nobody knows is not left to a file system in memory.
      const home = isInMemory && next.kind === "generate" ? "refused" : usual;
      if (home === "refused") {
        const refused = ameshError(
          "ERR_USAGE",
          /^cannot store a generated passphrase for good: the one in force comes from /,
        );
        await assert.rejects(change(here, next, { input: passed }), refused);
        assert.deepEqual([keyFile(here), here.names()], [before, names]);
        return;
      }
      const paths = { own: here.layout.passphrase, named: here.file("named") };
      const [own, named] = [textOf(paths.own), textOf(paths.named)];
      const { storedIn } = await change(here, next, { input: passed });
      assert.equal(storedIn, home === null ? null : paths[home]);
      if (home !== "own") assert.equal(textOf(paths.own), own);
      if (home !== "named") assert.equal(textOf(paths.named), named);
      const stored = home === null ? "a new one" : textOf(paths[home])!.trim();
      assert.ok(await opensWith(here, stored));
      assert.equal(await opensWith(here, FLOOR_PASSPHRASE), false);
    });
  }
}

test("changePassphrase() does not replace the file of a passphrase that another key may be under", async () => {
  using here = ameshPlace("floor");
  const other = addKey(here.layout, "floor-other");
  const before = [keyFile(here), here.names()];
  await assert.rejects(change(here, given("a new one")), (error) => {
    ameshError("ERR_USAGE", /^cannot replace the passphrase file: ".*" may be under the same one$/)(error);
    assert.ok((error as Error).message.includes(other));
    return true;
  });
  assert.deepEqual([keyFile(here), here.names()], before);
  // Where the user keeps it, and where it stays, nothing is lost.
  await change(here, { kind: "keep" }, { cost: { t: 3 } });
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: FLOOR_PASSPHRASE });
  assert.equal((await change(here, given("a new one"))).storedIn, null);
});

test(
  `changePassphrase() warns before a file in memory takes a new passphrase${
    hasMemory ? "" : ": there is none"
  }`,
  { skip: !hasMemory },
  async () => {
    using here = ameshPlace("floor");
    const path = writeAs(`${MEMORY}/amesh-unit-${crypto.randomUUID()}`, FLOOR_PASSPHRASE, 0o400);
    try {
      using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: path });
      await assert.rejects(
        change(here, { kind: "generate" }),
        ameshError("ERR_USAGE", /^cannot store a generated/),
      );
      assert.equal((await change(here, given("a new one"))).storedIn, path);
      assert.match(
        here.warnings.join("\n"),
        /is in memory and gone when the machine restarts: keep the new passphrase/,
      );
      assert.equal(textOf(path), "a new one\n");
    } finally {
      rmSync(path);
    }
  },
);

test("changePassphrase() without any passphrase asks for no new one", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  const read = () => Promise.reject(new Error("asked"));
  await assert.rejects(
    change(here, { kind: "given", read }),
    ameshError("ERR_UNLOCK_FAILED", /there is no passphrase$/),
  );
});

test("changePassphrase() of a key that the next file opens puts that one in force first", async () => {
  using here = ameshPlace("floor");
  writeAs(here.layout.passphrase, "the former one\n", 0o400);
  writeAs(`${here.layout.passphrase}.next`, `${FLOOR_PASSPHRASE}\n`, 0o400);
  const { openedBy } = await change(here, given("a new one"));
  assert.equal(openedBy.kind, "default-file");
  assert.deepEqual([here.names(), textOf(here.layout.passphrase)], [NAMES, "a new one\n"]);
});

test("changePassphrase() of an old install moves the field out, and writes a file of the newest version", async () => {
  using here = ameshPlace(null);
  const name: FixtureName = "amesh-0.7-floor";
  copyFixture(name, here.layout.directory);
  const { protection, storedIn } = await change(here, given("a new one"));
  assert.deepEqual([protection.version, storedIn], ["3.0.0", here.layout.passphrase]);
  assert.ok(!textOf(here.layout.identity)!.includes(fixtureIdentity(name)["passphrase"] as string));
  assert.ok(await opensWith(here, "a new one"));
});

test("changePassphrase() of an old install beside a file of another passphrase leaves both alone", async () => {
  using here = ameshPlace(null);
  const layout = copyFixture("amesh-0.7-floor", here.layout.directory);
  writeAs(layout.passphrase, "of something else\n", 0o400);
  const before = here.names().map((name) => textOf(name === "keys" ? "" : join(layout.directory, name)));
  await assert.rejects(
    change(here, given("a new one")),
    ameshError("ERR_UNLOCK_FAILED", /\.passphrase" holds another passphrase than the key's$/),
  );
  assert.deepEqual(
    here.names().map((name) => textOf(name === "keys" ? "" : join(layout.directory, name))),
    before,
  );
});

test("changePassphrase() of an old install by a descriptor says that the field is in the way, and leaves it", async () => {
  using here = ameshPlace(null);
  const layout = copyFixture("amesh-0.7-floor", here.layout.directory);
  const secret = fixtureIdentity("amesh-0.7-floor")["passphrase"] as string;
  using descriptor = openDescriptor(writeAs(here.file("passed"), secret, 0o400));
  const before = here.names();
  await assert.rejects(
    change(here, given("a new one"), { input: { descriptor: descriptor.fd } }),
    ameshError("ERR_USAGE", /^identity\.json still holds the passphrase/),
  );
  assert.deepEqual(here.names(), before);
  assert.ok(textOf(layout.identity)!.includes(secret));
});

test("changePassphrase() wipes the new passphrase, also when it fails", async () => {
  for (const isRight of [true, false]) {
    using here = ameshPlace("floor");
    if (!isRight) writeAs(here.layout.passphrase, "another one\n", 0o400);
    const bytes: Bytes = utf8("a new one");
    const next = { kind: "given", read: () => Promise.resolve(bytes) } as const;
    if (isRight) await change(here, next);
    else await assert.rejects(change(here, next), ameshError("ERR_UNLOCK_FAILED"));
    assert.deepEqual(bytes, new Uint8Array(9));
  }
});

test("changePassphrase() asks for the new one before it takes the lock, and is busy while another has it", async () => {
  using here = ameshPlace("floor");
  const read = () => {
    acquireLock(here.layout.lock)[Symbol.dispose]();
    return Promise.resolve(utf8("a new one"));
  };
  await change(here, { kind: "given", read });
  using _lock = acquireLock(here.layout.lock);
  await assert.rejects(change(here, given("another")), ameshError("ERR_BUSY"));
  assert.equal(textOf(here.layout.passphrase), "a new one\n");
});
