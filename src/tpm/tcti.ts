/** Which TPM is used: the kernel's, or the one that `AMESH_TPM_TCTI` names. */
import { AmeshError } from "../errors.ts";
import type { Peer } from "../platform/device.ts";
import { host } from "../platform/host.ts";

/** The variable that names another connection. */
export const TCTI_VARIABLE = "AMESH_TPM_TCTI";
/** The device that shares the TPM between programs and cleans up after each. */
export const DEFAULT_DEVICE = "/dev/tpmrm0";

/** A way to a TPM. */
export interface Tcti {
  /** `name:configuration`, as Tss2_TctiLdr_Initialize takes it. */
  readonly conf: string;
  /** The device file, where it is one. */
  readonly device: string | null;
  /** The far end of the socket, where it is one of this machine. */
  readonly peer: Peer | null;
  /** The far end of swtpm's control channel. */
  readonly control: Peer | null;
  readonly fromEnvironment: boolean;
}

/** libtss2 would load any library that the name leads to, and `cmd` runs a program. */
const FORM = /^(device|swtpm|mssim|tabrmd)(?::(.*))?$/;
/** Where swtpm and mssim listen when nothing else is said. */
const SIMULATOR_PORT = 2321;

/**
 * The way in force. An empty variable counts as unset; libtss2's own search is never used, because it ends at
 * whoever listens on localhost.
 *
 * @throws {AmeshError} `ERR_USAGE` for what names no connection that is known.
 */
export function findTcti(): Tcti {
  const given = host.env(TCTI_VARIABLE) || undefined;
  const [, kind, configuration = ""] = FORM.exec(given ?? `device:${DEFAULT_DEVICE}`) ?? [];
  if (kind === undefined) throw misnamed();
  const device = kind === "device" ? configuration || DEFAULT_DEVICE : null;
  const peer = kind === "swtpm" || kind === "mssim" ? peerOf(configuration) : null;
  return {
    conf: device === null ? `${kind}:${configuration}` : `device:${device}`,
    device,
    peer,
    control: peer === null || kind === "mssim" ? null : controlOf(peer),
    fromEnvironment: given !== undefined,
  };
}

function misnamed(): AmeshError {
  return new AmeshError("ERR_USAGE", `cannot use ${TCTI_VARIABLE}: it names no known connection to a TPM`, {
    hint: `for example ${TCTI_VARIABLE}=device:/dev/tpmrm0, or swtpm:path=SOCKET; or unset it`,
  });
}

/** `path=SOCKET` or `host=NAME,port=NUMBER`; `null` for another machine. */
function peerOf(configuration: string): Peer | null {
  const values = new Map(
    configuration.split(",").map((pair) => {
      const at = pair.indexOf("=");
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
  const path = values.get("path");
  if (path === "") throw misnamed();
  if (path !== undefined) return { path };
  const port = values.get("port") ?? String(SIMULATOR_PORT);
  // The port of the control channel is the next one.
  if (!/^[1-9]\d{0,4}$/.test(port) || Number(port) >= 65_535) throw misnamed();
  return ["localhost", "127.0.0.1"].includes(values.get("host") ?? "localhost")
    ? { port: Number(port) }
    : null;
}

/** Where libtss2 looks for it. */
function controlOf(peer: Peer): Peer {
  return "path" in peer ? { path: `${peer.path}.ctrl` } : { port: peer.port + 1 };
}
