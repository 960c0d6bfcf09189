/**
 * Runs amesh in a root file system of its own, as a container engine does: namespaces for mounts and processes, a root
 * that cannot be written, an ordinary user without capabilities who cannot gain any.
 */
import { spawn } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { runChild } from "../support/child_process.ts";
import { type TemporaryDirectory, temporaryDirectory } from "../support/temporary_directory.ts";
import { type Image, NONROOT } from "./images.ts";

/** How a container differs from the one that docs/containers.md describes. */
export interface Setting {
  /** Its variables; AUTH_MESH_DIR names a directory in the volume unless this says otherwise. */
  readonly env?: Readonly<Record<string, string>>;
  readonly uid?: number;
  readonly gid?: number;
  /** Kubernetes' fsGroup: a further group of the process. */
  readonly fsGroup?: number;
  /** Options of mount(8) for the volume. */
  readonly volume?: string;
  /** Options of mount(8) for /tmp; `null` for none, the root's own. */
  readonly tmp?: string | null;
  /** Whether /proc is mounted. */
  readonly proc?: boolean;
  /** What /dev holds. */
  readonly devices?: readonly string[];
  readonly input?: string;
  /** What is run in place of amesh, an absolute path. */
  readonly program?: string;
}

/** What a run left. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const DEVICES = ["null", "zero", "full", "random", "urandom", "tty"];
const HARD = "nosuid,nodev,noexec";

/** Why nothing of this folder can run here; `false` when it can. */
export function cannotContain(): string | false {
  if (Deno.build.os !== "linux") return "containers are for Linux";
  if (Deno.uid() !== 0) return "mounting needs root";
  const { code } = runChild([
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "mount",
    "-t",
    "tmpfs",
    "none",
    "/mnt",
  ]);
  return code === 0 ? false : "no mounts of our own can be made";
}

const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** One image with one volume and one directory of secrets; disposing of it removes all three. */
export class Container implements Disposable {
  readonly #directory: TemporaryDirectory = temporaryDirectory();
  readonly root: string = this.#directory.file("root");
  /** What lies at /var/lib/amesh. */
  readonly volume: string = this.#directory.file("volume");
  /** The directory in it that is amesh's. */
  readonly identity: string = join(this.volume, "identity");
  /** What lies at /run/secrets. */
  readonly secrets: string = this.#directory.file("secrets");

  constructor(image: Image) {
    for (const path of [this.root, this.volume, this.secrets]) mkdirSync(path);
    chmodSync(this.secrets, 0o755);
    chmodSync(this.volume, 0o755);
    chownSync(this.volume, NONROOT, NONROOT);
    image.make(this.root);
  }

  /**
   * Provides a secret.
   *
   * @param owner user and group; both root when not given.
   * @returns its path inside.
   */
  secret(
    name: string,
    content: string,
    mode: number,
    owner: readonly [uid: number, gid: number] = [0, 0],
  ): string {
    const path = `${this.secrets}/${name}`;
    writeFileSync(path, content);
    chownSync(path, ...owner);
    chmodSync(path, mode);
    return `/run/secrets/${name}`;
  }

  /** `docker run`: amesh as the first process, to its end. */
  run(args: readonly string[], setting: Setting = {}): Outcome {
    return runChild(this.command(args, setting), setting.input === undefined ? {} : { input: setting.input });
  }

  /** The same as an argument list, for a program that watches. */
  command(args: readonly string[], setting: Setting = {}): string[] {
    const script = [...this.#mounts(setting), this.#enter(args, setting)].join("\n");
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script];
  }

  /** `docker run --detach`, and `docker exec` while it runs. */
  start(args: readonly string[], setting: Setting = {}): RunningContainer {
    const [program, ...rest] = this.command(args, setting);
    const child = spawn(program!, rest, { stdio: ["ignore", "pipe", "inherit"] });
    const ready = new Promise<void>((resolve, reject) => {
      child.stdout!.once("data", () => resolve());
      child.once("exit", (code) => reject(new Error(`the container ended with ${code}`)));
    });
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    const first = () => Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8"));
    return {
      ready,
      ended,
      terminate: () => process.kill(first(), "SIGTERM"),
      exec: (args, setting = {}) => {
        const enter = this.#enter(args, setting);
        const argv = ["nsenter", `--target=${first()}`, "--mount", "--pid", "sh", "-ec", enter];
        return runChild(argv, setting.input === undefined ? {} : { input: setting.input });
      },
      [Symbol.dispose]: () => {
        // Becoming another user has freed it from ending with its parent.
        if (child.exitCode === null && child.signalCode === null) process.kill(first(), "SIGKILL");
      },
    };
  }

  #mounts({ volume = "", tmp = HARD, proc = true, devices = DEVICES }: Setting): string[] {
    const root = quote(this.root);
    const bind = (from: string, to: string, options: string) => [
      `mount --bind ${quote(from)} ${root}${to}`,
      `mount -o remount,bind,${options} ${root}${to}`,
    ];
    return [
      "mount --make-rprivate /",
      ...bind(this.root, "", "ro"),
      `mount -t tmpfs -o mode=755 none ${root}/dev`,
      ...devices.flatMap((
        name,
      ) => [`: > ${root}/dev/${name}`, `mount --bind /dev/${name} ${root}/dev/${name}`]),
      ...(proc ? [`mount -t proc -o ${HARD} none ${root}/proc`] : []),
      ...(tmp === null ? [] : [`mount -t tmpfs -o mode=1777,${tmp} none ${root}/tmp`]),
      ...bind(this.volume, "/var/lib/amesh", [HARD, volume].filter(Boolean).join(",")),
      // As engines do: not on a disk.
      `mount -t tmpfs -o mode=755 none ${root}/run/secrets`,
      `cp -a ${quote(this.secrets)}/. ${root}/run/secrets`,
      `mount -o remount,ro,${HARD} ${root}/run/secrets`,
    ];
  }

  #enter(args: readonly string[], setting: Setting): string {
    const { uid = NONROOT, gid = NONROOT, fsGroup, env = {}, program = "/usr/bin/amesh" } = setting;
    const variables = Object.entries({ AUTH_MESH_DIR: "/var/lib/amesh/identity", ...env });
    // A process that leaves user 0 loses all capabilities, and without new privileges it gets none back.
    return [
      "exec env -i",
      ...variables.map(([name, value]) => quote(`${name}=${value}`)),
      "/usr/bin/setpriv --no-new-privs /usr/sbin/chroot",
      `--userspec=${uid}:${gid} --groups=${fsGroup ?? ""} ${quote(this.root)}`,
      program,
      ...args.map(quote),
    ].join(" ");
  }

  [Symbol.dispose](): void {
    this.#directory[Symbol.dispose]();
  }
}

/** A container in the background. */
export interface RunningContainer extends Disposable {
  /** It has printed something. */
  readonly ready: Promise<void>;
  /** Its exit code. */
  readonly ended: Promise<number | null>;
  /** `docker stop`: asks the first process to end. */
  terminate(): void;
  /** Runs amesh in it, beside its first process. */
  exec(args: readonly string[], setting?: Setting): Outcome;
}
