/** The version of this build; a test compares it with deno.json. */
export const VERSION = "0.8.0";
