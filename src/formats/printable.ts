/** Text for people that comes from elsewhere. */

/** Text without control characters: names and paths come from files, and a terminal obeys what it is shown. */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex -- that is what is replaced.
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}
