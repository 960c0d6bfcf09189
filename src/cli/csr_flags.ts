/** The options of `csr`, which the parser and the command both know. */

/** What `csr --format` writes. */
export const REQUEST_FORMATS = ["pem", "der"] as const;

/** Options of `csr`. */
export type CsrFlags = {
  readonly subject?: string;
  readonly dns?: readonly string[];
  readonly ip?: readonly string[];
  readonly uri?: readonly string[];
  readonly email?: readonly string[];
  readonly renew: boolean;
  readonly format: typeof REQUEST_FORMATS[number];
  readonly out?: string;
  readonly noAgent: boolean;
  readonly passphraseFd?: number;
  readonly json: boolean;
};
