// Browsers, and every other place with `fetch`: gRPC-Web, which `sameface serve --http` answers.
import { Code, ConnectError } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { type CallSettings, Sameface, interceptorsOf, withDeadline } from "./client.js";

export * from "./index.js";

/** How to reach a service. */
export interface ConnectOptions extends CallSettings {
  /** Where the service listens for HTTP, for instance `http://127.0.0.1:8080`. */
  baseUrl: string;
}

/** Returns a client. Streams of photos need gRPC: `faces.streamIdentifyFaces` works with `sameface/node` alone. */
export function connect(options: ConnectOptions): Sameface {
  const { baseUrl } = options;
  const transport = createGrpcWebTransport({ baseUrl, fetch: reach, interceptors: interceptorsOf(options) });
  return new Sameface(withDeadline(transport, options.timeoutMs));
}

// fetch tells a failed connection, and a page that may not read the answer, by a TypeError alone.
const reach: typeof fetch = async (input, init) => {
  try {
    return await fetch(input, init);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const origin = new URL(input instanceof Request ? input.url : input).origin;
    const hint = "is `sameface serve --http` running there, and does it allow the origin of this page?";
    throw new ConnectError(`no answer from ${origin}; ${hint}`, Code.Unavailable, undefined, undefined, error);
  }
};
