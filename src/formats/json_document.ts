/** JSON files of ours: bytes -> checked value, with errors that name the field and never quote the content. */
import * as v from "valibot";
import { decodeBase64 } from "../bytes.ts";
import { AmeshError } from "../errors.ts";

/** `ERR_CORRUPT` about the file `name`. */
export function corrupt(name: string, reason: string, cause?: unknown): AmeshError {
  return new AmeshError("ERR_CORRUPT", `cannot read "${name}": ${reason}`, {
    hint: "restore it from a backup",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** The text and value of a UTF-8 JSON object. @throws {AmeshError} `ERR_CORRUPT`. */
export function parseJsonObject(
  bytes: Uint8Array,
  name: string,
): { text: string; value: Record<string, unknown> } {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (error) {
    throw corrupt(name, "it is not valid JSON", error);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw corrupt(name, "it is not a JSON object");
  }
  return { text, value: value as Record<string, unknown> };
}

/** `value` when it fits the schema. @throws {AmeshError} `ERR_CORRUPT` that names the first field that does not. */
export function requireSchema<S extends v.GenericSchema>(
  schema: S,
  value: unknown,
  name: string,
): v.InferOutput<S> {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const field = v.getDotPath(result.issues[0]);
  if (field === null) throw corrupt(name, "it is not a JSON object");
  // The name of an unknown field is content, which no message quotes.
  const isOurs = /^[A-Za-z0-9.]{1,40}$/.test(field);
  throw corrupt(name, isOurs ? `field "${field}" is missing, unknown or wrong` : "it has an unknown field");
}

/** Canonical base64 of an exact number of bytes; gives the bytes. */
export function base64Bytes(length: number) {
  return v.pipe(
    v.string(),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      const bytes = decodeBase64(dataset.value);
      if (bytes?.length === length) return bytes;
      addIssue({ message: `not ${length} bytes in base64` });
      return NEVER;
    }),
  );
}
