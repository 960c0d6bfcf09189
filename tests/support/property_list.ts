/** Reads property lists, by Python's parser: it takes well-formed XML only, as the kernel's parser of entitlements does. */
import { runChild } from "./child_process.ts";

/** Dates and data, which no property list of ours has, are not for JSON: they are errors. */
const PARSE = "import json, plistlib, sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))";

/** Why none can be read, for the `skip` of a test; `false` when they can. */
export function pythonMissing(): string | false {
  return runChild(["python3", "-c", "import plistlib"]).code === 0 ? false : "python3 is not installed";
}

/** The value of a property list. @param text XML. @throws {Error} it is none. */
export function parsePropertyList(text: string): unknown {
  const { code, stdout, stderr } = runChild(["python3", "-c", PARSE], { input: text });
  if (code !== 0) throw new Error(`not a property list: ${stderr.trim().split("\n").at(-1)}`);
  return JSON.parse(stdout);
}
