/**
 * A connection to a TPM through the ESAPI of tpm2-tss: how a command is sent and its answer taken, and what becomes of
 * what was loaded. The commands themselves stand in `commands.ts`.
 *
 * Calls block this thread, but never without end: a command is sent, its answer is waited for by epoll(7) on the
 * connection's own descriptor, and only then taken. What was loaded is flushed when the connection is disposed of.
 */
import { type Bytes, encodeHex } from "../bytes.ts";
import { FfiLoadError } from "../ffi/ffi.ts";
import { answers, AnswerWatch, findConnection, waitForAnswer } from "../platform/device.ts";
import { cString, readCString, readMemory, setEnvironmentVariable } from "../platform/libc.ts";
import { pause } from "../platform/ready.ts";
import { esys, mu, rc as rcLibrary, tctildr } from "./library.ts";
import { conditionOf, isFatal, isRetry, isTryAgain, TpmError } from "./response_code.ts";
import type { Tcti } from "./tcti.ts";

/** How long the TPM may be silent before it counts as hung, and how long it may be busy, in milliseconds. */
export const COMMAND_TIMEOUT_MS = 20_000;
/** Before a command that the TPM could not take is sent again, in milliseconds. */
const RETRY_PAUSE_MS = 20;

/** ESYS_TR: the library's own number of an object or session; no TPM handle. */
export type EsysTr = number;
/** ESYS_TR_NONE: no session, no object. */
export const NONE: EsysTr = 0xfff;

/** What libtss2 itself sends to swtpm's control channel first (swtpm_ioctls(3), CMD_SET_LOCALITY). */
const SET_LOCALITY_0 = Uint8Array.of(0, 0, 0, 5, 0);

/** Larger than every structure of the library (TPM2B_PRIVATE: 1552 bytes). */
const STRUCTURE_BYTES = 4096;

/** A function of the library that puts wire format into a C structure. */
export type Unmarshal = `Tss2_MU_${string}_Unmarshal` & keyof typeof mu;
/** A function of the library that makes wire format of a C structure. */
export type Marshal = `Tss2_MU_${string}_Marshal` & keyof typeof mu;

/** An open connection. */
export class EsysConnection implements Disposable {
  readonly #tcti = new BigUint64Array(1);
  readonly #context = new BigUint64Array(1);
  readonly #live: EsysTr[] = [];
  readonly #way: Tcti;
  readonly #timeoutMs: number;
  /** Of a connection that keeps one descriptor and tells it, as a device's does. */
  readonly #watch: AnswerWatch | null;
  /** Why nothing can be sent any more. */
  #lost: "failed" | "hung" | null = null;

  /**
   * @param timeoutMs see {@linkcode COMMAND_TIMEOUT_MS}.
   * @throws {TpmError}; {FfiLoadError} a library is missing.
   */
  constructor(way: Tcti, timeoutMs: number = COMMAND_TIMEOUT_MS) {
    this.#way = way;
    this.#timeoutMs = timeoutMs;
    // The libraries write what they think of an error to stderr; both runtimes' own variables do not reach them.
    setEnvironmentVariable("TSS2_LOG", "all+NONE");
    // The library would wait for it without end.
    if (way.control !== null && !answers(way.control, SET_LOCALITY_0, timeoutMs)) {
      throw new TpmError("timeout", "CMD_SET_LOCALITY", null);
    }
    this.call(
      "Tss2_TctiLdr_Initialize",
      () => tctildr.Tss2_TctiLdr_Initialize(cString(way.conf), this.#tcti),
    );
    try {
      this.call("Esys_Initialize", () => esys.Esys_Initialize(this.#context, this.#tcti[0]!, null));
      this.#watch = way.peer === null ? this.#watchDescriptor() : null;
    } catch (error) {
      if (this.#context[0] !== 0n) esys.Esys_Finalize(this.#context);
      tctildr.Tss2_TctiLdr_Finalize(this.#tcti);
      throw error;
    }
  }

  /** Flushes what is still loaded and closes. A hung device is left alone: closing it would wait for the chip. */
  [Symbol.dispose](): void {
    if (this.#context[0] === 0n || (this.#lost === "hung" && this.#way.peer === null)) return;
    const stranded = this.#lost === null ? [] : this.#stranded();
    for (const handle of [...this.#live].reverse()) {
      if (this.#lost !== null) break;
      try {
        this.flush(handle);
      } catch (error) {
        // Whatever the command itself came to matters more than that.
        if (!(error instanceof TpmError)) throw error;
      }
    }
    this.#watch?.[Symbol.dispose]();
    esys.Esys_Finalize(this.#context);
    tctildr.Tss2_TctiLdr_Finalize(this.#tcti);
    if (stranded.length > 0) rescue(this.#way, stranded);
  }

  /** The object at a TPM handle, by TPM2_ReadPublic (Part 3 §12.4); it is not flushed with the connection. */
  fromTpmHandle(tpmHandle: number): EsysTr {
    const handle = new Uint8Array(4);
    this.run(
      "TPM2_ReadPublic",
      (context) => esys.Esys_TR_FromTPMPublic_Async(context, tpmHandle, NONE, NONE, NONE),
      (context) => esys.Esys_TR_FromTPMPublic_Finish(context, handle),
    );
    return readU32(handle);
  }

  /** Name of an object (Part 1 §16): the digest algorithm and the digest of its public area; asks nobody. */
  nameOf(handle: EsysTr): Bytes {
    const out = new BigUint64Array(1);
    this.call("Esys_TR_GetName", (context) => esys.Esys_TR_GetName(context, handle, out));
    return this.take("Tss2_MU_TPM2B_NAME_Marshal", out).slice(2);
  }

  /** TPM2_FlushContext (Part 3 §28.4); what is not there any more, because the TPM was reset, needs none. */
  flush(handle: EsysTr): void {
    const at = this.#live.indexOf(handle);
    if (at >= 0) this.#live.splice(at, 1);
    try {
      this.run(
        "TPM2_FlushContext",
        (context) => esys.Esys_FlushContext_Async(context, handle),
        (context) => esys.Esys_FlushContext_Finish(context),
      );
    } catch (error) {
      if (!(error instanceof TpmError) || error.condition !== "noHandle") throw error;
    }
  }

  /**
   * Sends a command and takes its answer, again as long as the TPM asks for that and there is time.
   *
   * @param command as TPM 2.0 Part 3 names it.
   * @throws {TpmError}
   */
  run(command: string, send: (context: bigint) => number, take: (context: bigint) => number): void {
    const context = this.#context[0]!;
    const patience = performance.now() + this.#timeoutMs;
    for (;;) {
      this.#check(command, send(context));
      let rc: number;
      do {
        this.#wait(command);
        rc = take(context);
      } while (isTryAgain(rc));
      if (!isRetry(rc) || performance.now() > patience) return this.#check(command, rc);
      pause(RETRY_PAUSE_MS);
    }
  }

  /** @throws {TpmError} `timeout`. */
  #wait(command: string): void {
    const deadline = performance.now() + this.#timeoutMs;
    if (this.#isAnswered(() => deadline - performance.now())) return;
    this.#lost = "hung";
    throw new TpmError("timeout", command, null);
  }

  /** Without a descriptor there is nothing to wait for: taking the answer will. */
  #isAnswered(remainingMs: () => number): boolean {
    if (this.#watch !== null) return this.#watch.wait(remainingMs);
    const fd = this.#way.peer === null ? null : findConnection(this.#way.peer);
    return fd === null || waitForAnswer(fd, remainingMs);
  }

  /** @returns `null` for a connection that does not tell its descriptor. */
  #watchDescriptor(): AnswerWatch | null {
    const [handles, count] = [new BigUint64Array(1), new BigUint64Array(1)];
    if (esys.Esys_GetPollHandles(this.#context[0]!, handles, count) !== 0) return null;
    try {
      // struct pollfd begins with its descriptor.
      return new AnswerWatch(new DataView(readMemory(handles[0]!, 4).buffer).getInt32(0, true));
    } finally {
      esys.Esys_Free(handles[0]!);
    }
  }

  /** Calls a function that only the library takes part in. @throws {TpmError}. */
  call(name: string, call: (context: bigint) => number): void {
    this.#check(name, call(this.#context[0]!));
  }

  #check(command: string, rc: number): void {
    if (rc === 0) return;
    if (isFatal(rc)) this.#lost ??= "failed";
    throw new TpmError(conditionOf(rc, command), command, rc, decode(rc));
  }

  /** Takes note of an object or session that must be flushed. @param handle ESYS_TR as the library wrote it. */
  loaded(handle: Uint8Array): EsysTr {
    const value = readU32(handle);
    this.#live.push(value);
    return value;
  }

  /** What is still loaded, as another connection can find it. */
  #stranded(): Stranded[] {
    return this.#live.flatMap((handle) => {
      const out = new Uint8Array(4);
      if (esys.Esys_TR_GetTpmHandle(this.#context[0]!, handle, out) !== 0) return [];
      const tpmHandle = readU32(out);
      return [{ tpmHandle, name: isTransient(tpmHandle) ? encodeHex(this.nameOf(handle)) : null }];
    });
  }

  /** @returns a C structure. @throws {TpmError} `malformedKey`: the wire format is none. */
  unmarshal(name: Unmarshal, wire: Bytes, command: string = name): Uint8Array {
    // Zeroed: TPM2B structures are refused as a destination unless their size is 0.
    const [offset, structure] = [new BigUint64Array(1), new Uint8Array(STRUCTURE_BYTES)];
    const rc = mu[name](wire, BigInt(wire.length), offset, structure);
    if (rc === 0 && offset[0] === BigInt(wire.length)) return structure;
    throw new TpmError("malformedKey", command, rc === 0 ? null : rc);
  }

  /** Wire format of the structure that `slot` points to, which is freed. */
  take(name: Marshal, slot: BigUint64Array): Bytes {
    const [offset, wire] = [new BigUint64Array(1), new Uint8Array(STRUCTURE_BYTES)];
    try {
      this.call(name, () => mu[name](slot[0]!, wire, BigInt(wire.length), offset));
      return wire.slice(0, Number(offset[0]));
    } finally {
      esys.Esys_Free(slot[0]!);
    }
  }
}

function readU32(bytes: Uint8Array): number {
  return new DataView(bytes.buffer).getUint32(0, true);
}

/** What the library says of a response code; nothing where that library is missing. */
function decode(code: number): string {
  try {
    return readCString(rcLibrary.Tss2_RC_Decode(code));
  } catch (error) {
    if (error instanceof FfiLoadError) return "";
    throw error;
  }
}

/** An object or session that a failed connection left in the TPM. */
interface Stranded {
  readonly tpmHandle: number;
  /** Hex; `null` for a session, which has none. */
  readonly name: string | null;
}

/** TPM_HT_TRANSIENT (Part 2 §7.2). */
const isTransient = (tpmHandle: number): boolean => tpmHandle >>> 24 === 0x80;

/** How long flushing after a failure may take per command, in milliseconds. */
const RESCUE_TIMEOUT_MS = 2_000;

/**
 * Flushes what a failed connection left loaded, through a new one. The kernel's resource manager does that by itself
 * when the device is closed; others do not, and a TPM has room for three objects. An object is compared by its
 * Name, because after a restart of the TPM its handle can be another program's.
 */
function rescue(way: Tcti, stranded: readonly Stranded[]): void {
  try {
    using connection = new EsysConnection(way, RESCUE_TIMEOUT_MS);
    for (const { tpmHandle, name } of stranded) {
      try {
        const handle = connection.fromTpmHandle(tpmHandle);
        if (name === null || encodeHex(connection.nameOf(handle)) === name) connection.flush(handle);
      } catch (error) {
        if (!(error instanceof TpmError) || error.isFatal) throw error;
      }
    }
  } catch (error) {
    if (!(error instanceof TpmError)) throw error;
  }
}
