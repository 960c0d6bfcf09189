/** Subject alternative names (RFC 5280 §4.2.1.6): what a user names, checked, and what a certificate holds, as text. */
import * as asn1 from "asn1js";
import { type Bytes, encodeHex, utf8 } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import {
  contentOf,
  contextTag,
  derBytes,
  type DerValue,
  encodeDer,
  implicit,
  readDer,
  sequenceOf,
  taggedValues,
} from "./der.ts";
import { formatName } from "./distinguished_name.ts";
import { printable } from "./printable.ts";

/** Names that a request can ask for, and the tag of each (GeneralName). */
const TAGS = { email: 1, dns: 2, uri: 6, ip: 7 } as const;
const DIRECTORY_NAME_TAG = 4;

/** A name, in printable characters: for `other`, the hex in DER of what is none of these, or has other characters than it may. */
export interface AlternativeName {
  readonly kind: keyof typeof TAGS | "directory" | "other";
  readonly value: string;
}

/** A name that a user asks for. */
export interface RequestedName {
  readonly kind: keyof typeof TAGS;
  readonly value: string;
}

/** Most names in one request. */
export const MAX_NAMES = 100;
/** Most characters of a URI or a mail address. */
const MAX_NAME_CHARACTERS = 1024;

function refuse({ kind, value }: RequestedName, reason: string, hint: string): AmeshError {
  const shown = JSON.stringify(printable(value.length > 60 ? `${value.slice(0, 60)}…` : value));
  return new AmeshError("ERR_USAGE", `cannot use the ${LABELS[kind]} ${shown}: ${reason}`, { hint });
}

const LABELS = { dns: "DNS name", ip: "IP address", uri: "URI", email: "mail address" } as const;

/**
 * The names as a request holds them: lower case and punycode for DNS, each once.
 *
 * @throws {AmeshError} `ERR_USAGE`: one has not the form of its kind; too many.
 */
export function requireNames(names: readonly RequestedName[]): RequestedName[] {
  if (names.length > MAX_NAMES) {
    throw new AmeshError("ERR_USAGE", `cannot ask for ${names.length} names: the most is ${MAX_NAMES}`, {
      hint: "a machine with more names needs several certificates",
    });
  }
  const seen = new Map<string, RequestedName>();
  for (const name of names) {
    const value = CHECKS[name.kind](name);
    seen.set(`${name.kind} ${value}`, { kind: name.kind, value });
  }
  return [...seen.values()];
}

const CHECKS: Readonly<Record<RequestedName["kind"], (name: RequestedName) => string>> = {
  dns: dnsName,
  ip: (name) => formatIp(ipBytes(name)),
  uri,
  email,
};

const DNS_HINT = "a DNS name has letters, digits and hyphens between dots; * may be its first label";

/** A label of a domain name (RFC 1123 §2.1). */
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

function dnsName(name: RequestedName): string {
  const isWildcard = name.value.startsWith("*.");
  const domain = domainName(name, isWildcard ? name.value.slice(2) : name.value);
  if (isWildcard && !domain.includes(".")) throw refuse(name, "a wildcard stands for too much", DNS_HINT);
  return isWildcard ? `*.${domain}` : domain;
}

/** Lower case, ASCII. @param text the part of the name that is a domain. */
function domainName(name: RequestedName, text: string): string {
  const domain = punycode(text).toLowerCase();
  const labels = domain.split(".");
  if (domain.length > 253) throw refuse(name, "it is longer than 253 characters", DNS_HINT);
  if (!labels.every((label) => LABEL.test(label))) throw refuse(name, "it has another form", DNS_HINT);
  // A name whose last label is a number is an address that is not written as one (WHATWG URL, ends in a number).
  if (/^(?:\d+|0x[0-9a-f]*)$/.test(labels.at(-1) as string)) {
    throw refuse(name, "it ends in a number", "give an address as --ip");
  }
  return domain;
}

/** Labels in other letters than ASCII as IDNA (UTS #46) writes them; as it was when there are none, or it cannot be. */
function punycode(domain: string): string {
  // deno-lint-ignore no-control-regex -- ASCII is meant. What has a meaning of its own in a URL stays for the check.
  if (/^[\x00-\x7f]*$/.test(domain) || /[\s\x00-\x20#%/:?@[\\\]]/.test(domain)) return domain;
  return URL.parse(`https://${domain}`)?.hostname ?? domain;
}

/** 4 or 16 bytes. An IPv4 address in an IPv6 one stays 16. */
function ipBytes(name: RequestedName): Bytes {
  const hint = "write it as 192.0.2.7 or 2001:db8::7, without a prefix, a port, a zone or brackets";
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(name.value)?.slice(1);
  // A leading zero means octal to some programs.
  if (v4?.every((part) => Number(part) < 256 && String(Number(part)) === part)) {
    return Uint8Array.from(v4.map(Number));
  }
  // The URL parser's own IPv6 (WHATWG URL, IPv6 parser), which knows every spelling; it writes all groups but the longest run of 0.
  const isV6 = v4 === undefined && /^[0-9A-Fa-f:.]{2,45}$/.test(name.value);
  const domain = isV6 ? URL.parse(`https://[${name.value}]`)?.hostname.slice(1, -1) : undefined;
  if (domain === undefined) throw refuse(name, "it is no IPv4 or IPv6 address", hint);
  const [left = "", right] = domain.split("::");
  const [front, back] = [left, right ?? ""].map((part) => (part === "" ? [] : part.split(":"))) as [
    string[],
    string[],
  ];
  const groups = [...front, ...Array<string>(8 - front.length - back.length).fill("0"), ...back];
  return Uint8Array.fromHex(groups.map((group) => group.padStart(4, "0")).join(""));
}

/** Dotted numbers, or RFC 5952; hex for what has another length than an address. */
function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) return encodeHex(bytes);
  const groups = encodeHex(bytes).replaceAll(/.{4}(?=.)/g, "$&:");
  return new URL(`https://[${groups}]`).hostname.slice(1, -1);
}

function uri(name: RequestedName): string {
  const { value } = name;
  const hint = "write it with its scheme, such as spiffe://example.org/web or https://example.org/";
  if (value.length > MAX_NAME_CHARACTERS) {
    throw refuse(name, `it is longer than ${MAX_NAME_CHARACTERS} characters`, hint);
  }
  // RFC 3986 §2: what else there is must be percent-encoded.
  if (!/^(?:[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*$/.test(value)) {
    throw refuse(name, "it has a character that a URI must not have", hint);
  }
  // RFC 5280 §4.2.1.6: absolute, with a scheme and a part behind it.
  if (!/^[A-Za-z][A-Za-z0-9+.-]*:./.test(value) || !URL.canParse(value)) {
    throw refuse(name, "it is no absolute URI", hint);
  }
  return value;
}

function email(name: RequestedName): string {
  const hint = "write it as user@example.org";
  const [, local, domain] = /^([A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64})@([^@]+)$/.exec(name.value) ?? [];
  if (local === undefined || domain === undefined) throw refuse(name, "it is no mail address", hint);
  return `${local}@${domainName(name, domain)}`;
}

/** GeneralNames in DER: what the extension holds. @param names as {@linkcode requireNames} gives them. */
export function encodeNames(names: readonly RequestedName[]): Bytes {
  const content = (name: RequestedName) => (name.kind === "ip" ? ipBytes(name) : utf8(name.value));
  const value = names.map((name) => implicit(TAGS[name.kind], content(name)));
  return encodeDer(new asn1.Sequence({ value }));
}

/** The names in GeneralNames. @param der content of the extension. @returns `null` when it is not that. */
export function parseNames(der: Uint8Array): AlternativeName[] | null {
  const value = readDer(der);
  return value === null ? null : sequenceOf(value)?.map(describeName) ?? null;
}

/** What an IA5String has that is no control character. */
const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;

function describeName(value: DerValue): AlternativeName {
  const tag = contextTag(value);
  const directory = taggedValues(value, DIRECTORY_NAME_TAG)?.[0];
  const name = directory === undefined ? null : formatName(directory);
  if (name !== null) return { kind: "directory", value: name };
  const kind = (Object.keys(TAGS) as RequestedName["kind"][]).find((one) => TAGS[one] === tag);
  if (kind === undefined || value.idBlock.isConstructed) {
    return { kind: "other", value: encodeHex(derBytes(value)) };
  }
  const content = contentOf(value);
  if (kind === "ip") return { kind, value: formatIp(content) };
  const text = new TextDecoder("latin1").decode(content);
  return PRINTABLE_ASCII.test(text)
    ? { kind, value: text }
    : { kind: "other", value: encodeHex(derBytes(value)) };
}
