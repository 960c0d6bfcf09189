/** The Dockerfiles and manifests of packaging/container keep what docs/containers.md says of them. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { permissionFlags } from "../../../scripts/compile.ts";
import { runChild } from "../../support/child_process.ts";
import { complaintOf } from "../../support/command_line.ts";
import { ROOT } from "../../support/project_files.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const USER = 65532;
const VOLUME = "/var/lib/amesh";
const SECRET_NAME = /PASS|SECRET|TOKEN|KEY|CREDENTIAL/i;
/** A file that holds a secret may be named, a secret may not. */
const NAMES_A_FILE = /_FILE$/;

const read = (name: string) => readFileSync(join(ROOT, "packaging", "container", name), "utf8");
/** As Kubernetes reads it: YAML 1.1, where 0440 is octal. */
const readManifest = (name: string) => parse(read(name), { version: "1.1" });

/** The variables that amesh reads. */
const variables = permissionFlags().flatMap((flag) => /^--allow-env=(.*)/.exec(flag)?.[1]?.split(",") ?? []);

/** One instruction of a Dockerfile, its lines joined. */
interface Instruction {
  readonly name: string;
  readonly value: string;
}

/** The stages of a Dockerfile, each from its FROM on. */
function stagesOf(file: string): Instruction[][] {
  const text = read(file).replaceAll(/^\s*#.*\n/gm, "").replaceAll(/\\\n\s*/g, " ");
  const stages: Instruction[][] = [];
  for (const line of text.split("\n").filter((line) => line.trim() !== "")) {
    const [, name, value] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
    assert.ok(name !== undefined && value !== undefined, `no instruction: ${line}`);
    if (name === "FROM") stages.push([]);
    stages.at(-1)!.push({ name, value });
  }
  return stages;
}

const valuesOf = (stage: readonly Instruction[], name: string) =>
  stage.filter((instruction) => instruction.name === name).map(({ value }) => value);

/** A command line of amesh is one that its parser knows. */
async function assertCommand(args: readonly string[]): Promise<void> {
  assert.match(await complaintOf(args), /one-too-many/, args.join(" "));
}

for (const file of ["Dockerfile.distroless", "Dockerfile.alpine", "Dockerfile.existing"]) {
  const stages = stagesOf(file);
  const image = stages.at(-1)!;

  test(`${file} starts amesh as an ordinary user who owns the volume and nothing else`, () => {
    assert.deepEqual(valuesOf(image, "USER"), [`${USER}:${USER}`]);
    assert.deepEqual(valuesOf(image, "ENV"), [`AUTH_MESH_DIR=${VOLUME}/identity`]);
    assert.deepEqual(JSON.parse(valuesOf(image, "VOLUME")[0]!), [VOLUME]);
    assert.match(valuesOf(image, "COPY")[0]!, /\/usr\/bin\/amesh$/);
    for (const copy of valuesOf(image, "COPY").filter((copy) => copy.includes("--chown"))) {
      assert.equal(copy.includes(`--chown=${USER}`), copy.endsWith(VOLUME), copy);
    }
  });

  test(`${file} holds no secret and nothing from the network that is not checked`, () => {
    for (const { name, value } of stages.flat()) {
      // The builder sets it for the platform that is asked for, and a default would win.
      if (name === "ARG") assert.doesNotMatch(value, /^TARGETARCH=/);
      if (name === "ENV" || name === "ARG") assert.doesNotMatch(value.split("=")[0]!, SECRET_NAME);
      assert.notEqual(name, "ADD");
      if (name === "RUN") assert.doesNotMatch(value, /curl|wget|chmod [0-7]*[2367]\b/);
      if (name === "FROM") assert.match(value, /^\S+:(?!latest)\S+( AS \w+)?$/);
    }
  });

  for (const stage of stages.slice(0, -1)) {
    test(`${file} takes the executable out of an archive that SHA256SUMS names, and out of no other`, () => {
      const [run] = valuesOf(stage, "RUN");
      const name = `amesh-1.2.3-linux-x64${file.endsWith("alpine") ? "-musl" : ""}`;
      using directory = temporaryDirectory();
      const shell = (script: string) => {
        const env = { AMESH_VERSION: "1.2.3", TARGETARCH: "amd64", NAME: name };
        return runChild(["sh", "-euc", `cd '${directory.path}'\n${script}`], { env }).code;
      };
      const archive =
        'mkdir -p "$NAME/bin"; echo $1 > "$NAME/bin/amesh"; tar -czf "$NAME.tar.gz" "$NAME"; rm -r "$NAME"';
      assert.equal(
        shell(`${archive.replace("$1", "good")}; sha256sum "$NAME.tar.gz" other.tar.gz > SHA256SUMS || :`),
        0,
      );
      assert.equal(shell(run!), 0);
      assert.equal(readFileSync(directory.file("bin/amesh"), "utf8"), "good\n");
      assert.equal(shell(`rm -r bin volume || :; ${archive.replace("$1", "bad")}`), 0);
      assert.notEqual(shell(run!), 0);
      assert.equal(existsSync(directory.file("bin/amesh")), false);
      assert.equal(shell(": > SHA256SUMS"), 0);
      assert.notEqual(shell(run!), 0);
      assert.equal(existsSync(directory.file("bin/amesh")), false);
    });
  }

  test(`${file} says what it starts as a list, which needs no shell`, async () => {
    const [entrypoint, command] = ["ENTRYPOINT", "CMD"].map((name) => JSON.parse(valuesOf(image, name)[0]!));
    const line = [...entrypoint, ...command];
    const start = line.findLastIndex((word: string) => /^(\/usr\/bin\/)?amesh$/.test(word));
    await assertCommand(line.slice(start + 1));
  });
}

test("what runs in the distroless image needs no shell, and Alpine's has the library that amesh needs", () => {
  assert.deepEqual(valuesOf(stagesOf("Dockerfile.distroless").at(-1)!, "RUN"), []);
  assert.match(
    valuesOf(stagesOf("Dockerfile.alpine").at(-1)!, "RUN")[0]!,
    /^apk add --no-cache libstdc\+\+ /,
  );
});

const stateful = readManifest("kubernetes.yaml");
const pod = stateful.spec.template.spec;
const containers = [...pod.initContainers, ...pod.containers];

test("the pod runs as an ordinary user", () => {
  assert.equal(stateful.kind, "StatefulSet");
  assert.deepEqual(pod.securityContext, {
    runAsNonRoot: true,
    runAsUser: USER,
    runAsGroup: USER,
    fsGroup: USER,
    fsGroupChangePolicy: "OnRootMismatch",
    seccompProfile: { type: "RuntimeDefault" },
  });
  assert.equal(pod.automountServiceAccountToken, false);
  assert.deepEqual(stateful.spec.selector.matchLabels, stateful.spec.template.metadata.labels);
});

for (const { name, args, env, volumeMounts, securityContext } of containers) {
  test(`the container "${name}" can gain nothing and write to its volume only`, () => {
    assert.deepEqual(securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
    const writable = volumeMounts.filter((mount: { readOnly?: boolean }) => !mount.readOnly);
    assert.deepEqual(writable.map((mount: { mountPath: string }) => mount.mountPath), [VOLUME]);
  });

  test(`the container "${name}" gets the passphrase by a file, and starts what amesh knows`, async () => {
    const set = new Map<string, string>(
      env.map((entry: { name: string; value: string }) => [entry.name, entry.value]),
    );
    for (const variable of set.keys()) {
      assert.ok(variable === "POD_NAME" || variables.includes(variable), variable);
      if (SECRET_NAME.test(variable)) assert.match(variable, NAMES_A_FILE);
    }
    // The volume itself may be open to others, see tests/container.
    assert.ok(set.get("AUTH_MESH_DIR")?.startsWith(`${VOLUME}/`));
    assert.equal(set.get("AMESH_ALLOW_GROUP_READ"), "1");
    const mount = volumeMounts.find((mount: { name: string }) => mount.name === "passphrase");
    assert.equal(set.get("AMESH_PASSPHRASE_FILE"), `${mount.mountPath}/passphrase`);
    await assertCommand(args);
  });
}

test("the secret is for its group, and the identity is there before the program", () => {
  const volume = pod.volumes.find((volume: { name: string }) => volume.name === "passphrase");
  assert.equal(volume.secret.defaultMode, 0o440);
  assert.deepEqual(
    stateful.spec.volumeClaimTemplates.map((claim: { metadata: { name: string } }) => claim.metadata.name),
    [
      "identity",
    ],
  );
  assert.deepEqual(pod.initContainers[0].args.slice(0, 2), ["init", "--if-missing"]);
});

const compose = readManifest("compose.yaml");
for (const [name, service] of Object.entries<Record<string, unknown>>(compose.services)) {
  test(`the service "${name}" of compose is as shut in as the pod, and starts what amesh knows`, async () => {
    const wanted = {
      user: `${USER}:${USER}`,
      read_only: true,
      cap_drop: ["ALL"],
      security_opt: ["no-new-privileges:true"],
      network_mode: "none",
      environment: { AMESH_PASSPHRASE_FILE: "/run/secrets/amesh-passphrase" },
      secrets: Object.keys(compose.secrets),
      volumes: [`identity:${VOLUME}`],
    };
    for (const [key, value] of Object.entries(wanted)) assert.deepEqual(service[key], value, key);
    assert.equal("privileged" in service, false);
    await assertCommand(service["command"] as string[]);
  });
}
