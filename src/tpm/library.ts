/**
 * The C functions of tpm2-tss (TCG TSS 2.0 ESAPI, Marshaling/Unmarshaling API, TCTI loader) that amesh calls, each
 * bound when it is first called. Nothing here knows what a call means.
 */
import { library, type Signature } from "../ffi/ffi.ts";
import { systemLibraryPaths } from "../platform/libc.ts";

/** `T_Marshal(const T *src, uint8_t buffer[], size_t size, size_t *offset)` */
const MARSHAL = { parameters: ["address", "buffer", "size", "buffer"], result: "u32" } as const;
/** `T_Unmarshal(const uint8_t buffer[], size_t size, size_t *offset, T *dest)` */
const UNMARSHAL = { parameters: ["buffer", "size", "buffer", "buffer"], result: "u32" } as const;

/** Marshaling of structures (tss2_mu.h). */
export const mu = library(() => systemLibraryPaths("libtss2-mu.so.0"), {
  Tss2_MU_TPM2B_PUBLIC_Marshal: MARSHAL,
  Tss2_MU_TPM2B_PUBLIC_Unmarshal: UNMARSHAL,
  Tss2_MU_TPM2B_PRIVATE_Marshal: MARSHAL,
  Tss2_MU_TPM2B_PRIVATE_Unmarshal: UNMARSHAL,
  Tss2_MU_TPM2B_NAME_Marshal: MARSHAL,
  Tss2_MU_TPM2B_DATA_Unmarshal: UNMARSHAL,
  Tss2_MU_TPM2B_DIGEST_Unmarshal: UNMARSHAL,
  Tss2_MU_TPM2B_SENSITIVE_CREATE_Unmarshal: UNMARSHAL,
  Tss2_MU_TPML_PCR_SELECTION_Unmarshal: UNMARSHAL,
  Tss2_MU_TPMS_CAPABILITY_DATA_Marshal: MARSHAL,
  Tss2_MU_TPMT_PUBLIC_PARMS_Unmarshal: UNMARSHAL,
  Tss2_MU_TPMT_SIGNATURE_Marshal: MARSHAL,
  Tss2_MU_TPMT_SIG_SCHEME_Unmarshal: UNMARSHAL,
  Tss2_MU_TPMT_SYM_DEF_Unmarshal: UNMARSHAL,
  Tss2_MU_TPMT_TK_HASHCHECK_Unmarshal: UNMARSHAL,
});

/** The context and three sessions that begin the parameters of nearly every function. */
const finish = <const P extends Signature["parameters"]>(...outputs: P) =>
  ({ parameters: ["address", ...outputs], result: "u32" }) as const;
const CREATE = {
  parameters: ["address", "u32", "u32", "u32", "u32", "buffer", "buffer", "buffer", "buffer"],
  result: "u32",
} as const;
const HANDLE_AND_SESSIONS = { parameters: ["address", "u32", "u32", "u32", "u32"], result: "u32" } as const;

/** Commands (tss2_esys.h): `_Async` sends one, `_Finish` takes the answer; pointers to results are `T **`. */
export const esys = library(() => systemLibraryPaths("libtss2-esys.so.0"), {
  Esys_Initialize: { parameters: ["buffer", "address", "buffer"], result: "u32" },
  Esys_Finalize: { parameters: ["buffer"], result: "void" },
  Esys_Free: { parameters: ["address"], result: "void" },
  Esys_GetPollHandles: { parameters: ["address", "buffer", "buffer"], result: "u32" },
  Esys_CreatePrimary_Async: CREATE,
  Esys_CreatePrimary_Finish: finish("buffer", "buffer", "buffer", "buffer", "buffer"),
  Esys_Create_Async: CREATE,
  Esys_Create_Finish: finish("buffer", "buffer", "buffer", "buffer", "buffer"),
  Esys_Load_Async: {
    parameters: ["address", "u32", "u32", "u32", "u32", "buffer", "buffer"],
    result: "u32",
  },
  Esys_Load_Finish: finish("buffer"),
  Esys_Sign_Async: {
    parameters: ["address", "u32", "u32", "u32", "u32", "buffer", "buffer", "buffer"],
    result: "u32",
  },
  Esys_Sign_Finish: finish("buffer"),
  Esys_StartAuthSession_Async: {
    parameters: ["address", "u32", "u32", "u32", "u32", "u32", "buffer", "u8", "buffer", "u16"],
    result: "u32",
  },
  Esys_StartAuthSession_Finish: finish("buffer"),
  Esys_TRSess_SetAttributes: { parameters: ["address", "u32", "u8", "u8"], result: "u32" },
  Esys_TR_FromTPMPublic_Async: HANDLE_AND_SESSIONS,
  Esys_TR_FromTPMPublic_Finish: finish("buffer"),
  Esys_TR_GetName: { parameters: ["address", "u32", "buffer"], result: "u32" },
  Esys_TR_GetTpmHandle: { parameters: ["address", "u32", "buffer"], result: "u32" },
  Esys_ReadPublic_Async: HANDLE_AND_SESSIONS,
  Esys_ReadPublic_Finish: finish("buffer", "buffer", "buffer"),
  Esys_FlushContext_Async: { parameters: ["address", "u32"], result: "u32" },
  Esys_FlushContext_Finish: finish(),
  Esys_EvictControl_Async: {
    parameters: ["address", "u32", "u32", "u32", "u32", "u32", "u32"],
    result: "u32",
  },
  Esys_EvictControl_Finish: finish("buffer"),
  Esys_GetCapability_Async: {
    parameters: ["address", "u32", "u32", "u32", "u32", "u32", "u32"],
    result: "u32",
  },
  Esys_GetCapability_Finish: finish("buffer", "buffer"),
  Esys_TestParms_Async: { parameters: ["address", "u32", "u32", "u32", "buffer"], result: "u32" },
  Esys_TestParms_Finish: finish(),
});

/** Connections (tss2_tctildr.h). */
export const tctildr = library(() => systemLibraryPaths("libtss2-tctildr.so.0"), {
  Tss2_TctiLdr_Initialize: { parameters: ["buffer", "buffer"], result: "u32" },
  Tss2_TctiLdr_Finalize: { parameters: ["buffer"], result: "void" },
});

/** Texts of response codes (tss2_rc.h). */
export const rc = library(() => systemLibraryPaths("libtss2-rc.so.0"), {
  Tss2_RC_Decode: { parameters: ["u32"], result: "address" },
});
