/** The options of `sign`, which the parser and `start` both know. */
import type { SignatureEncoding, SignatureFormat } from "../formats/ecdsa_signature.ts";

/** Options of `sign`. */
export type SignFlags = {
  readonly format: SignatureFormat;
  readonly encoding: SignatureEncoding;
  readonly out?: string;
  readonly noAgent: boolean;
  readonly allowProtocolMessage: boolean;
  readonly passphraseFd?: number;
  readonly json: boolean;
};

/** What they are when none is given, with the parser and without. */
export const SIGN_DEFAULTS: SignFlags = {
  format: "raw",
  encoding: "base64",
  noAgent: false,
  allowProtocolMessage: false,
  json: false,
};
