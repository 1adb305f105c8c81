// Node.js: gRPC over HTTP/2.
import type { SecureClientSessionOptions } from "node:http2";
import { Http2SessionManager, createGrpcTransport } from "@connectrpc/connect-node";
import { type CallSettings, Sameface, interceptorsOf, withDeadline } from "./client.js";

export * from "./index.js";

/** How to reach a service. */
export interface ConnectOptions extends CallSettings {
  /** `host:port`, for instance `127.0.0.1:50051`. */
  address: string;
  /** For TLS; `{}` trusts the authorities that Node.js knows. Without it the connection is not encrypted. */
  tls?: Pick<SecureClientSessionOptions, "ca" | "cert" | "key" | "passphrase" | "servername">;
}

/**
 * Returns a client. It connects with the first call; an idle connection does not keep the process alive.
 *
 * @throws TypeError if the address is not `host:port`.
 */
export function connect(options: ConnectOptions): Sameface {
  const { address, tls } = options;
  const baseUrl = `${tls ? "https" : "http"}://${checked(address)}`;
  const sessionManager = new Http2SessionManager(baseUrl, { pingIntervalMs: 30_000, pingTimeoutMs: 10_000 }, tls);
  const transport = createGrpcTransport({ baseUrl, sessionManager, interceptors: interceptorsOf(options) });
  return new Sameface(withDeadline(transport, options.timeoutMs), () => sessionManager.abort());
}

function checked(address: string): string {
  if (/^https?:/.test(address)) throw new TypeError(`an address is host:port, not ${address}; for https give tls: {}`);
  const port = /^(?:[^/:@\s]+|\[[0-9a-fA-F:.]+\]):(\d+)$/.exec(address)?.[1];
  if (port === undefined) throw new TypeError(`an address is host:port, such as 127.0.0.1:50051, not "${address}"`);
  if (Number(port) < 1 || Number(port) > 65535) throw new TypeError(`a port is 1 to 65535, not ${port}`);
  return address;
}
