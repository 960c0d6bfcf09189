/** The official schema of CycloneDX 1.6, as the CycloneDX project's own npm package has it. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Ajv } from "ajv";
import addFormats from "ajv-formats";

const PACKAGE = dirname(createRequire(import.meta.url).resolve("@cyclonedx/cyclonedx-library/package.json"));
const schema = (name: string) =>
  JSON.parse(readFileSync(join(PACKAGE, "res", "schema", `${name}.SNAPSHOT.schema.json`), "utf8"));

/** What is wrong with a bill of materials, one fault per line; empty when nothing is. */
export function complaintsOfSbom(bom: unknown): string {
  const ajv = new Ajv({ strict: false, allErrors: true });
  for (const name of ["spdx", "jsf-0.82", "cryptography-defs"]) {
    // By the name under which the copy in the package is referred to, not by the id that it has.
    const { $id: _, ...content } = schema(name);
    ajv.addSchema(content, `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`);
  }
  addFormats.default(ajv);
  // Formats of internationalised addresses, which no field of ours has.
  for (const format of ["idn-email", "iri-reference"]) ajv.addFormat(format, true);
  const validate = ajv.compile(schema("bom-1.6"));
  if (validate(bom)) return "";
  return (validate.errors ?? []).map(({ instancePath, schemaPath, message }) =>
    `${instancePath} (${schemaPath}): ${message}`
  ).join("\n");
}
