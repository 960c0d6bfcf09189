/** The Worker of `stretchPassphrase`: takes a StretchInput, answers a StretchAnswer. Its copy of the passphrase is wiped. */
import { wipe } from "../bytes.ts";
import { type StretchAnswer, type StretchInput, stretchWasm } from "./argon2id.ts";

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<StretchInput>) => void;
  postMessage(answer: StretchAnswer): void;
};

scope.onmessage = async ({ data }) => {
  try {
    const derived = await stretchWasm(data);
    scope.postMessage({ derived });
    wipe(derived);
  } catch (error) {
    scope.postMessage({ error: String(error) });
  } finally {
    wipe(data.passphrase);
  }
};
