/** Root file systems that hold what a small container image holds, and nothing else. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { runChild } from "../support/child_process.ts";

/** The user of Google's distroless images. */
export const NONROOT = 65532;

/** An image to try amesh in. */
export interface Image {
  readonly name: string;
  /** Why it cannot be made here, for the `skip` of a test; `false` when it can. */
  readonly missing: string | false;
  /** Fills an empty directory. */
  make(root: string): void;
}

/** Of each processor: Debian's name of its directory, glibc's loader, musl's name for it. */
const PROCESSOR = {
  x86_64: { triplet: "x86_64-linux-gnu", loader: "/lib64/ld-linux-x86-64.so.2", musl: "x86_64" },
  aarch64: { triplet: "aarch64-linux-gnu", loader: "/lib/ld-linux-aarch64.so.1", musl: "aarch64" },
}[Deno.build.arch];
const { triplet, musl } = PROCESSOR;
const MUSL_LOADER = `/lib/ld-musl-${musl}.so.1`;
/** Of what gcr.io/distroless/cc-debian12 holds, all that an executable of Deno or Bun is linked with. */
const GLIBC_LIBRARIES = [
  "libc.so.6",
  "libm.so.6",
  "libpthread.so.0",
  "libdl.so.2",
  "librt.so.1",
  "libgcc_s.so.1",
];
/** What `apk add libstdc++` brings. */
const CXX_LIBRARIES = ["libstdc++.so.6", "libgcc_s.so.1"];

function put(root: string, from: string, to = from): void {
  mkdirSync(join(root, to, ".."), { recursive: true });
  copyFileSync(realpathSync(from), join(root, to));
}

/** What both have: amesh, one user, and the places that a container engine mounts on. */
function makeFrame(root: string, executable: string): void {
  chmodSync(root, 0o755);
  for (const name of ["dev", "proc", "tmp", "run/secrets", "var/lib/amesh", "etc", "usr/bin"]) {
    mkdirSync(join(root, name), { recursive: true });
  }
  put(root, executable, "/usr/bin/amesh");
  chmodSync(join(root, "usr/bin/amesh"), 0o755);
  writeFileSync(
    join(root, "etc/passwd"),
    `root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:${NONROOT}:${NONROOT}:nonroot:/home/nonroot:/sbin/nologin\n`,
  );
  writeFileSync(join(root, "etc/group"), `root:x:0:\nnonroot:x:${NONROOT}:\n`);
  mkdirSync(join(root, "home/nonroot"), { recursive: true });
}

function glibc(runtime: string, variable: string): Image {
  const executable = Deno.env.get(variable);
  return {
    name: `glibc, ${runtime}`,
    missing: executable ? false : `no ${runtime} executable: ${variable} is not set`,
    make(root) {
      makeFrame(root, executable!);
      for (const name of GLIBC_LIBRARIES) put(root, `/lib/${triplet}/${name}`);
      put(root, PROCESSOR.loader);
    },
  };
}

/** Alpine before `apk add libstdc++`: musl under its two names. */
export const BARE_MUSL: Image = {
  name: "musl without libstdc++",
  missing: whyNoMusl(),
  make(root) {
    makeFrame(root, Deno.env.get("AMESH_TEST_MUSL")!);
    put(root, MUSL_LOADER);
    symlinkSync(`ld-musl-${musl}.so.1`, join(root, `lib/libc.musl-${musl}.so.1`));
  },
};

/** Alpine with it, see `musl_cxx.c`. */
const MUSL: Image = {
  name: "musl, bun",
  missing: whyNoMusl(),
  make(root) {
    BARE_MUSL.make(root);
    for (const name of CXX_LIBRARIES) {
      const path = [`/usr/lib/${triplet}/${name}`, `/lib/${triplet}/${name}`].find(existsSync);
      put(root, path!, `/usr/lib/${name}`);
    }
    const loader = PROCESSOR.loader.slice(PROCESSOR.loader.lastIndexOf("/") + 1);
    const source = resolve(import.meta.dirname!, "musl_cxx.c");
    const flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Werror", `-Wl,-soname,${loader}`];
    const { code, stderr } = runChild(["musl-gcc", ...flags, "-o", join(root, "lib", loader), source]);
    if (code !== 0) throw new Error(`musl-gcc: ${stderr}`);
  },
};

/**
 * The same for whoever installs amesh there: without amesh, with busybox's shell and programs, and with minisign. These are
 * Debian's, and lie with what they are linked with where musl's loader does not look.
 */
export function withShell(image: Image): Image {
  return {
    ...image,
    make(root) {
      image.make(root);
      rmSync(join(root, "usr/bin/amesh"));
      for (const program of ["/bin/busybox", "/usr/bin/minisign"]) {
        for (const path of [program, ...linkedWith(program)]) put(root, path);
      }
      for (const name of runChild(["busybox", "--list"]).stdout.trim().split("\n")) {
        if (name !== "busybox") symlinkSync("busybox", join(root, "bin", name));
      }
    },
  };
}

/** Absolute paths of the libraries and the loader of a program. */
function linkedWith(program: string): string[] {
  return [...runChild(["ldd", program]).stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path!);
}

function whyNoMusl(): string | false {
  if (!Deno.env.get("AMESH_TEST_MUSL")) return "no musl executable: AMESH_TEST_MUSL is not set";
  return existsSync(MUSL_LOADER) ? false : "musl is not installed";
}

/** What every test of this folder is for. */
export const IMAGES: readonly Image[] = [
  glibc("bun", "AMESH_TEST_BUN"),
  glibc("deno", "AMESH_TEST_DENO"),
  MUSL,
];
