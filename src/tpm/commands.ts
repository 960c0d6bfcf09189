/**
 * The TPM commands that amesh sends (TPM 2.0 Part 3), one function each. Everything that crosses this file's border is
 * wire format or an ESYS_TR; every function throws `TpmError`.
 */
import type { Bytes } from "../bytes.ts";
import { type EsysConnection, type EsysTr, NONE } from "./connection.ts";
import { esys } from "./library.ts";
import * as structures from "./structures.ts";

/** ESYS_TR_PASSWORD: an empty auth value, sent as such. */
const PASSWORD: EsysTr = 0x0ff;
/** The hierarchies as the library numbers them (tss2_esys.h, ESYS_TR_RH_*). */
export const HIERARCHY = { owner: 0x101, endorsement: 0x10b } as const;

/** TPM_SE_HMAC (Part 2 §6.11). */
const SESSION_HMAC = 0;
/** TPMA_SESSION (Part 2 §8.4). */
const SESSION = { continueSession: 0x01, decrypt: 0x20, encrypt: 0x40 } as const;

/** A key that the TPM made and returned wrapped. */
export interface CreatedKey {
  /** TPM2B_PUBLIC. */
  readonly publicArea: Bytes;
  /** TPM2B_PRIVATE, encrypted by the parent. */
  readonly privateArea: Bytes;
}

/** TPM2_CreatePrimary (Part 3 §24.1) with empty auth values. */
export function createPrimary(tpm: EsysConnection, hierarchy: number, template: Bytes): EsysTr {
  const handle = new Uint8Array(4);
  const [sensitive, publicArea] = [sensitiveOf(tpm), publicOf(tpm, template)];
  const [data, pcrs] = [dataOf(tpm), pcrsOf(tpm)];
  tpm.run(
    "TPM2_CreatePrimary",
    (context) =>
      esys.Esys_CreatePrimary_Async(
        context,
        hierarchy,
        PASSWORD,
        NONE,
        NONE,
        sensitive,
        publicArea,
        data,
        pcrs,
      ),
    (context) => esys.Esys_CreatePrimary_Finish(context, handle, null, null, null, null),
  );
  return tpm.loaded(handle);
}

/** TPM2_Create (Part 3 §12.1) with an empty auth value, parameters encrypted. */
export function create(tpm: EsysConnection, parent: EsysTr, session: EsysTr, template: Bytes): CreatedKey {
  use(tpm, session, "encrypted");
  const [outPrivate, outPublic] = [new BigUint64Array(1), new BigUint64Array(1)];
  const [sensitive, publicArea] = [sensitiveOf(tpm), publicOf(tpm, template)];
  const [data, pcrs] = [dataOf(tpm), pcrsOf(tpm)];
  tpm.run(
    "TPM2_Create",
    (context) =>
      esys.Esys_Create_Async(context, parent, session, NONE, NONE, sensitive, publicArea, data, pcrs),
    (context) => esys.Esys_Create_Finish(context, outPrivate, outPublic, null, null, null),
  );
  const privateArea = tpm.take("Tss2_MU_TPM2B_PRIVATE_Marshal", outPrivate);
  return { privateArea, publicArea: tpm.take("Tss2_MU_TPM2B_PUBLIC_Marshal", outPublic) };
}

/** TPM2_Load (Part 3 §12.2), parameters encrypted. */
export function load(tpm: EsysConnection, parent: EsysTr, session: EsysTr, key: CreatedKey): EsysTr {
  use(tpm, session, "encrypted");
  const handle = new Uint8Array(4);
  const privateArea = tpm.unmarshal("Tss2_MU_TPM2B_PRIVATE_Unmarshal", key.privateArea, "TPM2_Load");
  const publicArea = publicOf(tpm, key.publicArea, "TPM2_Load");
  tpm.run(
    "TPM2_Load",
    (context) => esys.Esys_Load_Async(context, parent, session, NONE, NONE, privateArea, publicArea),
    (context) => esys.Esys_Load_Finish(context, handle),
  );
  return tpm.loaded(handle);
}

/**
 * TPM2_Sign (Part 3 §20.2): ECDSA with SHA-256, the key's empty auth value proven by the session.
 *
 * @param digest 32 bytes.
 * @returns TPMT_SIGNATURE.
 */
export function sign(tpm: EsysConnection, key: EsysTr, session: EsysTr, digest: Uint8Array): Bytes {
  use(tpm, session, "hmac");
  const out = new BigUint64Array(1);
  const in2b = tpm.unmarshal("Tss2_MU_TPM2B_DIGEST_Unmarshal", structures.sized(digest));
  const scheme = tpm.unmarshal("Tss2_MU_TPMT_SIG_SCHEME_Unmarshal", structures.ECDSA_SHA256);
  const ticket = tpm.unmarshal("Tss2_MU_TPMT_TK_HASHCHECK_Unmarshal", structures.NULL_TICKET);
  tpm.run(
    "TPM2_Sign",
    (context) => esys.Esys_Sign_Async(context, key, session, NONE, NONE, in2b, scheme, ticket),
    (context) => esys.Esys_Sign_Finish(context, out),
  );
  return tpm.take("Tss2_MU_TPMT_SIGNATURE_Marshal", out);
}

/**
 * TPM2_StartAuthSession (Part 3 §11.1): an HMAC session whose salt only the holder of `saltKey` can read, for
 * encryption by AES-128-CFB.
 */
export function startSession(tpm: EsysConnection, saltKey: EsysTr): EsysTr {
  const handle = new Uint8Array(4);
  const symmetric = tpm.unmarshal("Tss2_MU_TPMT_SYM_DEF_Unmarshal", structures.SESSION_SYMMETRIC);
  tpm.run(
    "TPM2_StartAuthSession",
    (context) =>
      esys.Esys_StartAuthSession_Async(
        context,
        saltKey,
        NONE,
        NONE,
        NONE,
        NONE,
        null,
        SESSION_HMAC,
        symmetric,
        structures.SESSION_HASH,
      ),
    (context) => esys.Esys_StartAuthSession_Finish(context, handle),
  );
  return tpm.loaded(handle);
}

/** TPM2_ReadPublic (Part 3 §12.4). @returns TPM2B_PUBLIC. */
export function readPublic(tpm: EsysConnection, handle: EsysTr): Bytes {
  const [publicArea, name, qualified] = [1, 2, 3].map(() => new BigUint64Array(1)) as [
    BigUint64Array<ArrayBuffer>,
    BigUint64Array<ArrayBuffer>,
    BigUint64Array<ArrayBuffer>,
  ];
  tpm.run(
    "TPM2_ReadPublic",
    (context) => esys.Esys_ReadPublic_Async(context, handle, NONE, NONE, NONE),
    (context) => esys.Esys_ReadPublic_Finish(context, publicArea, name, qualified),
  );
  esys.Esys_Free(name[0]!);
  esys.Esys_Free(qualified[0]!);
  return tpm.take("Tss2_MU_TPM2B_PUBLIC_Marshal", publicArea);
}

/** TPM2_EvictControl (Part 3 §28.5): takes a persistent object away. */
export function evict(tpm: EsysConnection, handle: EsysTr, tpmHandle: number): void {
  tpm.run(
    "TPM2_EvictControl",
    (context) =>
      esys.Esys_EvictControl_Async(context, HIERARCHY.owner, handle, PASSWORD, NONE, NONE, tpmHandle),
    (context) => esys.Esys_EvictControl_Finish(context, new Uint8Array(4)),
  );
}

/** TPM2_GetCapability (Part 3 §30.2) of TPM_PT properties. @returns TPMS_CAPABILITY_DATA. */
export function readTpmProperties(tpm: EsysConnection, first: number, count: number): Bytes {
  const [more, out] = [new Uint8Array(1), new BigUint64Array(1)];
  const capability = structures.CAP_TPM_PROPERTIES;
  tpm.run(
    "TPM2_GetCapability",
    (context) => esys.Esys_GetCapability_Async(context, NONE, NONE, NONE, capability, first, count),
    (context) => esys.Esys_GetCapability_Finish(context, more, out),
  );
  return tpm.take("Tss2_MU_TPMS_CAPABILITY_DATA_Marshal", out);
}

/** TPM2_TestParms (Part 3 §30.3). @param parameters TPMT_PUBLIC_PARMS. @throws {TpmError} not supported. */
export function testParms(tpm: EsysConnection, parameters: Bytes): void {
  const parms = tpm.unmarshal("Tss2_MU_TPMT_PUBLIC_PARMS_Unmarshal", parameters);
  tpm.run(
    "TPM2_TestParms",
    (context) => esys.Esys_TestParms_Async(context, NONE, NONE, NONE, parms),
    (context) => esys.Esys_TestParms_Finish(context),
  );
}

/** Sets what the session does to the next command: prove its parameters unchanged, or moreover encrypt them both ways. */
function use(tpm: EsysConnection, session: EsysTr, how: "hmac" | "encrypted"): void {
  const flags = how === "hmac"
    ? SESSION.continueSession
    : SESSION.continueSession | SESSION.decrypt | SESSION.encrypt;
  tpm.call(
    "Esys_TRSess_SetAttributes",
    (context) => esys.Esys_TRSess_SetAttributes(context, session, flags, 0xff),
  );
}

const publicOf = (tpm: EsysConnection, wire: Bytes, command?: string) =>
  tpm.unmarshal("Tss2_MU_TPM2B_PUBLIC_Unmarshal", wire, command);
const sensitiveOf = (tpm: EsysConnection) =>
  tpm.unmarshal("Tss2_MU_TPM2B_SENSITIVE_CREATE_Unmarshal", structures.EMPTY_SENSITIVE);
const dataOf = (tpm: EsysConnection) => tpm.unmarshal("Tss2_MU_TPM2B_DATA_Unmarshal", structures.EMPTY_DATA);
const pcrsOf = (tpm: EsysConnection) =>
  tpm.unmarshal("Tss2_MU_TPML_PCR_SELECTION_Unmarshal", structures.NO_PCRS);
