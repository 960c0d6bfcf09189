/** A TPM without a resource manager has room for three objects and three sessions, and others use it too. */
import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { verify } from "../../src/crypto/p256.ts";
import { encodeIdentity, type Identity, newIdentityFields } from "../../src/formats/identity_file.ts";
import { tpm2Tier } from "../../src/keystore/tpm2.ts";
import { createPrimary, HIERARCHY, startSession } from "../../src/tpm/commands.ts";
import { EsysConnection } from "../../src/tpm/connection.ts";
import { TpmError } from "../../src/tpm/response_code.ts";
import { SRK_TEMPLATE } from "../../src/tpm/structures.ts";
import { findTcti } from "../../src/tpm/tcti.ts";
import { evaluation, isDeno, projectUrl, runChild, startChild } from "../support/child_process.ts";
import { setEnvironment } from "../support/environment.ts";
import { hasEnded } from "../support/swtpm.ts";
import { startTpmProxy, TPM_CC } from "../support/tpm_proxy.ts";
import { useTpm } from "../support/tpm_tier.ts";

const OBJECT_MEMORY = 0x902;
const SESSION_MEMORY = 0x903;
/** How often each of two processes signs. */
const ROUNDS = 20;

/** Keys of one TPM, under an SRK made anew and under one that is kept at 0x81000001. */
let identities: { readonly anew: Identity; readonly kept: Identity };

const tpm = useTpm({
  prepare: async () => {
    const anew = await makeIdentity();
    tpm.keepRoot();
    identities = { anew, kept: await makeIdentity() };
  },
});

async function makeIdentity(): Promise<Identity> {
  const key = await tpm2Tier.generate(tpm.context);
  using signer = key.signer;
  const fields = await newIdentityFields(signer.publicKey, "f", "tpm2", new Date(0), key.identityFields);
  return { fields, publicKey: signer.publicKey };
}

/** Objects and sessions that another program holds while a test runs. */
function hold(objects: number, sessions: number): Disposable {
  const other = new EsysConnection(findTcti());
  const root = createPrimary(other, HIERARCHY.owner, SRK_TEMPLATE);
  for (let i = 0; i < sessions; i++) startSession(other, root);
  if (objects === 0) other.flush(root);
  for (let i = 1; i < objects; i++) createPrimary(other, HIERARCHY.owner, SRK_TEMPLATE);
  return other;
}

async function* message(): AsyncGenerator<Uint8Array> {
  yield Uint8Array.of(1);
}

async function sign(identity: Identity): Promise<void> {
  using signer = await tpm2Tier.open(tpm.context, identity, false);
  assert.ok(await verify(identity.publicKey, [await signer.sign(message())], message()));
}

/** Asserts that something fails for lack of room, as documented, and that nothing of it stays loaded. */
async function findsItFull(run: () => Promise<void>, command: string, rc: number): Promise<void> {
  const before = tpm.loaded();
  await assert.rejects(run, (error) => {
    assert.ok(error instanceof TpmError, `${error}`);
    assert.deepEqual([error.condition, error.code], ["outOfMemory", "ERR_TIER_UNAVAILABLE"]);
    assert.deepEqual([error.command, error.rc], [command, rc]);
    return true;
  });
  assert.deepEqual(tpm.loaded(), before);
}

type Full = readonly [command: string, rc: number] | null;
/** What others hold, and where it becomes too little; `null` where there is room enough. */
const cases: {
  readonly objects: number;
  readonly sessions: number;
  readonly anew: Full;
  readonly kept: Full;
  readonly generate: Full;
}[] = [
  { objects: 1, sessions: 2, anew: null, kept: null, generate: null },
  {
    objects: 2,
    sessions: 0,
    anew: ["TPM2_Load", OBJECT_MEMORY],
    kept: ["TPM2_Load", OBJECT_MEMORY],
    generate: ["TPM2_Create", OBJECT_MEMORY],
  },
  {
    objects: 3,
    sessions: 0,
    anew: ["TPM2_CreatePrimary", OBJECT_MEMORY],
    // A kept key takes up a place while a command uses it.
    kept: ["TPM2_ReadPublic", OBJECT_MEMORY],
    generate: ["TPM2_CreatePrimary", OBJECT_MEMORY],
  },
  {
    objects: 0,
    sessions: 3,
    anew: ["TPM2_StartAuthSession", SESSION_MEMORY],
    kept: ["TPM2_StartAuthSession", SESSION_MEMORY],
    generate: ["TPM2_StartAuthSession", SESSION_MEMORY],
  },
];
for (const { objects, sessions, generate, ...opening } of cases) {
  const held = `${objects} objects and ${sessions} sessions of others`;
  for (const key of ["anew", "kept"] as const) {
    tpm.it(`beside ${held} a key signs, or says what is full (SRK ${key})`, async () => {
      {
        using _other = hold(objects, sessions);
        const full = opening[key];
        if (full === null) await sign(identities[key]);
        else await findsItFull(() => sign(identities[key]), ...full);
      }
      await sign(identities[key]);
      assert.deepEqual(tpm.loaded(), []);
    });
  }

  tpm.it(`beside ${held} a key is made, or nothing of it is left`, async () => {
    const files = readdirSync(tpm.context.layout.keys);
    const make = async () => {
      const made = await tpm2Tier.generate(tpm.context);
      made.signer[Symbol.dispose]();
      await made.discard();
    };
    using _other = hold(objects, sessions);
    if (generate === null) await make();
    else await findsItFull(make, ...generate);
    assert.deepEqual(readdirSync(tpm.context.layout.keys), files);
  });
}

tpm.it("a key that finds no room when it is proven does not stay behind", async () => {
  using proxy = startTpmProxy(tpm.swtpm);
  using _way = setEnvironment({ AMESH_TPM_TCTI: proxy.tcti });
  const files = readdirSync(tpm.context.layout.keys);
  proxy.rules({ command: TPM_CC.Load, do: { kind: "code", rc: OBJECT_MEMORY } });
  await findsItFull(async () => void await tpm2Tier.generate(tpm.context), "TPM2_Load", OBJECT_MEMORY);
  assert.ok(proxy.traffic().some(({ name }) => name === "Create"));
  assert.deepEqual(readdirSync(tpm.context.layout.keys), files);
});

tpm.it("two signers of one process leave no room for a third, until one is disposed of", async () => {
  using _first = await tpm2Tier.open(tpm.context, identities.anew, false);
  {
    using _second = await tpm2Tier.open(tpm.context, identities.kept, false);
    await findsItFull(() => sign(identities.anew), "TPM2_Load", OBJECT_MEMORY);
  }
  await sign(identities.anew);
});

tpm.it("a command that finds the TPM full ends with exit code 4 and says what to do", () => {
  using _other = hold(3, 0);
  const before = tpm.loaded();
  writeFileSync(tpm.context.layout.identity, encodeIdentity(identities.anew.fields), { mode: 0o600 });
  const { code, stdout, stderr } = runChild([...runtime("main.ts"), "sign"], { input: "document" });
  assert.deepEqual([code, stdout], [4, ""], stderr);
  assert.match(
    stderr,
    /^amesh: error: cannot use the TPM: other programs hold all of its memory .*0x00000902\)$/m,
  );
  assert.match(stderr, /^amesh: hint: try again; or use \/dev\/tpmrm0, /m);
  assert.deepEqual(tpm.loaded(), before);
});

/** Program and arguments that run a file of the project on the runtime of this test. */
function runtime(path: string): string[] {
  const flags = isDeno ? ["run", "--no-check", "--cached-only", "--allow-all"] : [];
  return [process.execPath, ...flags, path];
}

/** Code of a process that signs many times and prints what came of each. */
const signManyTimes = `
  import { readFileSync } from "node:fs";
  const [{ tpm2Tier }, { parseIdentity }, { layoutOf }, { verify }] = await Promise.all([
    import(${JSON.stringify(projectUrl("src/keystore/tpm2.ts"))}),
    import(${JSON.stringify(projectUrl("src/formats/identity_file.ts"))}),
    import(${JSON.stringify(projectUrl("src/platform/paths.ts"))}),
    import(${JSON.stringify(projectUrl("src/crypto/p256.ts"))}),
  ]);
  const layout = layoutOf(process.env.AUTH_MESH_DIR);
  const identity = await parseIdentity(readFileSync(layout.identity), "identity");
  async function* message() { yield Uint8Array.of(1); }
  const outcomes = [];
  for (let i = 0; i < ${ROUNDS}; i++) {
    try {
      using signer = await tpm2Tier.open({ layout }, identity, false);
      const valid = await verify(identity.publicKey, [await signer.sign(message())], message());
      outcomes.push(valid ? "signed" : "not valid");
    } catch (error) {
      outcomes.push(error.code + " " + error.condition);
    }
  }
  console.log(JSON.stringify(outcomes));`;

for (const key of ["anew", "kept"] as const) {
  tpm.it(`two processes that sign at once leave nothing in the TPM (SRK ${key})`, async () => {
    writeFileSync(tpm.context.layout.identity, encodeIdentity(identities[key].fields), { mode: 0o600 });
    const children = [1, 2].map(() => startChild(evaluation(signManyTimes)));
    let outcomes: string[];
    try {
      const lines = await Promise.all(children.map(({ firstLine }) => firstLine));
      outcomes = lines.flatMap((line) => JSON.parse(line) as string[]);
    } finally {
      for (const { pid, kill } of children) if (!hasEnded(pid)) await kill();
    }
    assert.equal(outcomes.length, 2 * ROUNDS);
    // There is room for two keys and a kept SRK, but not for two keys that each bring an SRK.
    const allowed = key === "kept" ? ["signed"] : ["signed", "ERR_TIER_UNAVAILABLE outOfMemory"];
    assert.deepEqual(outcomes.filter((outcome) => !allowed.includes(outcome)), []);
    assert.deepEqual(tpm.loaded(), []);
    await sign(identities[key]);
  });
}
