/**
 * A `fetch` that shows to each server who this machine is: by a token that is for that server only, lives for five minutes and
 * is used again until shortly before its end.
 *
 *     deno run --allow-read --allow-env --allow-sys=uid --allow-ffi --allow-net=127.0.0.1 docs/examples/fetch_with_token.ts
 *     bun docs/examples/fetch_with_token.ts
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createLocalJWKSet, jwtVerify } from "jose";
import { type MachineIdentity, openIdentity, type PublicKey } from "../../src/mod.ts";

const LIFETIME_SECONDS = 300;
/** A token that ends sooner than this is not used again. */
const REST_SECONDS = 60;
const MAX_REDIRECTS = 5;

interface CachedToken {
  readonly token: Promise<string>;
  readonly key: PublicKey;
  /** Milliseconds since 1970. */
  readonly usedUntil: number;
}

/**
 * Makes one. Requests that have an `Authorization` header of their own keep it.
 *
 * A redirect within the server is followed with its token. One that leads elsewhere is followed without any: a server must not
 * be able to send this machine's proof of itself to another one. A request with a body is not sent twice: its redirect is
 * given back as the answer.
 */
export function fetchWithToken(identity: MachineIdentity, send: typeof fetch = fetch): typeof fetch {
  const tokens = new Map<string, CachedToken>();
  const tokenFor = async (origin: string): Promise<string> => {
    const now = Date.now();
    let cached = tokens.get(origin);
    if (cached === undefined || cached.usedUntil <= now || !cached.key.equals(identity.publicKey)) {
      cached = {
        token: identity.token({ audience: origin, lifetime: LIFETIME_SECONDS }),
        key: identity.publicKey,
        usedUntil: now + (LIFETIME_SECONDS - REST_SECONDS) * 1000,
      };
      tokens.set(origin, cached);
      // What could not be made is tried again with the next request.
      cached.token.catch(() => tokens.delete(origin));
    }
    return await cached.token;
  };

  return async (input, init) => {
    let request = new Request(input, init);
    if (request.headers.has("authorization")) return await send(request);
    const { origin } = requireSafe(new URL(request.url));
    const { redirect } = request;
    for (let redirects = 0;; redirects++) {
      const headers = new Headers(request.headers);
      if (new URL(request.url).origin === origin) {
        headers.set("authorization", `Bearer ${await tokenFor(origin)}`);
      }
      const response = await send(new Request(request, { headers, redirect: "manual" }));
      const location = response.headers.get("location");
      const isRedirect = [301, 302, 303, 307, 308].includes(response.status) && location !== null;
      if (!isRedirect || redirect === "manual" || request.body !== null) return response;
      await response.body?.cancel();
      if (redirect === "error" || redirects === MAX_REDIRECTS) {
        throw new TypeError(`${request.url} redirects to ${location}`);
      }
      request = new Request(new URL(location, request.url), request);
    }
  };
}

/** A token that others can read on its way is theirs. */
function requireSafe(url: URL): URL {
  const isLoopback = ["127.0.0.1", "[::1]", "localhost"].includes(url.hostname);
  if (url.protocol === "https:" || isLoopback) return url;
  throw new TypeError(`a token is not sent without TLS: ${url.origin}`);
}

if (import.meta.main) {
  using identity = await openIdentity();

  // The server knows the public key: what `amesh public-key --format jwks` prints.
  const keys = createLocalJWKSet({ keys: [{ ...identity.publicKey.jwk }] });
  const server = createServer(async (request, response) => {
    const token = request.headers.authorization?.replace(/^Bearer /, "") ?? "";
    try {
      const { payload } = await jwtVerify(token, keys, { audience: origin, algorithms: ["ES256"] });
      response.end(`hello ${payload.sub}`);
    } catch {
      response.writeHead(401).end("who are you?");
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const get = fetchWithToken(identity);
  console.log(await (await fetch(origin)).text());
  console.log(await (await get(origin)).text());
  server.closeAllConnections();
  server.close();
}
