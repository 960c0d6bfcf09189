/** What the fetch wrapper of the documentation promises: whom it shows a token, and which. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fetchWithToken } from "../../docs/examples/fetch_with_token.ts";
import { webCryptoSigner } from "../../docs/examples/jose_signer.ts";
import { rotateIdentity } from "../../src/identity/rotate.ts";
import { openIdentity } from "../../src/mod.ts";
import { ameshPlace } from "../support/amesh_place.ts";

interface Seen {
  readonly url: string;
  /** `aud` of the token; `null` without one. */
  readonly audience: string | null;
  readonly token: string | null;
  readonly method: string;
}

/** A network: what each URL answers; a text that begins with http or a slash is a redirect. */
function network(answers: Readonly<Record<string, string>>): { seen: Seen[]; send: typeof fetch } {
  const seen: Seen[] = [];
  const send: typeof fetch = (input) => {
    const { url, headers, method, redirect } = input as Request;
    assert.equal(redirect, headers.get("authorization") === "Basic own" ? "follow" : "manual");
    const token = headers.get("authorization");
    const claims = token?.startsWith("Bearer ") ? JSON.parse(atob(token.split(".")[1]!)) : null;
    seen.push({ url, audience: claims?.aud ?? null, token, method });
    const answer = answers[url] ?? "";
    const isRedirect = /^(http|\/)/.test(answer);
    const response = isRedirect
      ? new Response("moved", { status: 302, headers: { location: answer } })
      : new Response(answer);
    return Promise.resolve(response);
  };
  return { seen, send };
}

test("each server gets a token of its own, once until it is old or the key is another", async () => {
  using here = ameshPlace("floor");
  const { layout, warn } = here;
  using identity = await openIdentity({ directory: layout.directory });
  const { seen, send } = network({});
  const get = fetchWithToken(identity, send);
  await Promise.all([get("https://a.example/1"), get("https://a.example/2"), get("https://b.example/1")]);
  assert.deepEqual(seen.map(({ audience }) => audience).sort(), [
    "https://a.example",
    "https://a.example",
    "https://b.example",
  ]);
  assert.equal(new Set(seen.map(({ token }) => token)).size, 2);
  const { now } = Date;
  Date.now = () => now() + 250_000;
  try {
    await get("https://a.example/3");
  } finally {
    Date.now = now;
  }
  assert.ok(!seen.slice(0, 3).some(({ token }) => token === seen[3]!.token));
  await rotateIdentity({ layout, backend: undefined, now: new Date(), input: {}, warn });
  await identity.sign("notices the rotation");
  await get("https://b.example/2");
  assert.ok(!seen.slice(0, 4).some(({ token }) => token === seen[4]!.token));
});

test("a redirect takes the token along within a server, and never out of it", async () => {
  using here = ameshPlace("floor");
  using identity = await openIdentity({ directory: here.layout.directory });
  const { seen, send } = network({
    "https://a.example/": "/inside",
    "https://a.example/inside": "https://b.example/",
    "https://b.example/": "https://b.example/end",
    "https://b.example/end": "the end",
  });
  const response = await fetchWithToken(identity, send)("https://a.example/");
  assert.equal(await response.text(), "the end");
  assert.deepEqual(seen.map(({ url, audience }) => [url, audience]), [
    ["https://a.example/", "https://a.example"],
    ["https://a.example/inside", "https://a.example"],
    ["https://b.example/", null],
    ["https://b.example/end", null],
  ]);
});

test("no redirect goes on for ever, none takes a body along, and whoever wants none gets none", async () => {
  using here = ameshPlace("floor");
  using identity = await openIdentity({ directory: here.layout.directory });
  const { seen, send } = network({ "https://a.example/": "https://a.example/" });
  const get = fetchWithToken(identity, send);
  await assert.rejects(get("https://a.example/"), /redirects to/);
  assert.equal(seen.length, 6);
  assert.equal((await get("https://a.example/", { method: "POST", body: "x" })).status, 302);
  assert.equal((await get("https://a.example/", { redirect: "manual" })).status, 302);
  await assert.rejects(get("https://a.example/", { redirect: "error" }), /redirects to/);
  assert.equal(seen.length, 9);
});

test("no token is sent without TLS, or over a header of the caller's", async () => {
  using here = ameshPlace("floor");
  using identity = await openIdentity({ directory: here.layout.directory });
  const { seen, send } = network({});
  const get = fetchWithToken(identity, send);
  await assert.rejects(get("http://a.example/"), /not sent without TLS/);
  await get("https://a.example/", { headers: { authorization: "Basic own" } });
  assert.deepEqual(seen.map(({ token }) => token), ["Basic own"]);
});

test("the signer for jose leaves other keys alone, signs nothing else, and takes its change back", async () => {
  using here = ameshPlace("floor");
  using identity = await openIdentity({ directory: here.layout.directory });
  const before = crypto.subtle.sign;
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const own = await crypto.subtle.generateKey(algorithm, false, ["sign", "verify"]);
  const sha256 = { name: "ECDSA", hash: "SHA-256" };
  const data = new TextEncoder().encode("x");
  {
    using signer = webCryptoSigner(identity);
    const other = await crypto.subtle.sign(sha256, own.privateKey, data);
    assert.equal(await crypto.subtle.verify(sha256, own.publicKey, other, data), true);
    const signature = await crypto.subtle.sign(sha256, signer.key, data.buffer);
    assert.equal(await identity.publicKey.verify(new Uint8Array(signature), data), true);
    const sha384 = crypto.subtle.sign({ name: "ECDSA", hash: "SHA-384" }, signer.key, data);
    await assert.rejects(sha384, /SHA-256 only/);
  }
  assert.equal(crypto.subtle.sign, before);
});
