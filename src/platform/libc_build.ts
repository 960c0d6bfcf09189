/** What a build says about the C library that it runs on. */

/** Set by scripts/build.ts for executables of Bun on Linux, whose runtime is made for one of the two. */
declare const AMESH_LIBC: "glibc" | "musl";

/** `null` where a build does not say it. */
export const LIBC: "glibc" | "musl" | null = typeof AMESH_LIBC === "undefined" ? null : AMESH_LIBC;

/** Where musl keeps its library, which is its loader too. */
export const MUSL_PATHS = {
  x64: "/lib/ld-musl-x86_64.so.1",
  arm64: "/lib/ld-musl-aarch64.so.1",
} as const;

/** Debian's layout, Fedora's, and that of Arch and Alpine. */
export const LINUX_DIRECTORIES = {
  x64: ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib", "/lib"],
  arm64: ["/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib", "/lib"],
} as const;
