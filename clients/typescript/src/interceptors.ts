// What every call gets: credentials, a request id, and repeats where they are safe.
import { Code, ConnectError, type Interceptor, type UnaryRequest } from "@connectrpc/connect";
import { reasonOf, retryAfterMs } from "./errors.js";
import { FaceService } from "./gen/sameface/v1/face_service_pb.js";

/** An API key or a token. A function is asked before each call, for tokens that expire. */
export type Credential = string | (() => string | Promise<string>);

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;
// Pauses are longer by up to this share, so that callers who failed together do not repeat together.
const SPREAD = 0.25;

/** Returns an interceptor that sends a credential with every call. */
export function authorize(credential: Credential): Interceptor {
  return (next) => async (request) => {
    const secret = typeof credential === "function" ? await credential() : credential;
    request.header.set("authorization", `Bearer ${secret}`);
    return next(request);
  };
}

/**
 * Gives each write a request id, so that a repeat does not write twice. An enrolment goes without one: the service then
 * recognises the photo, whenever it comes again.
 */
export const nameRequests: Interceptor = (next) => (request) => {
  if (!request.stream && request.method !== FaceService.method.enrollTemplate) {
    const message = request.message as { requestId?: string };
    if (message.requestId === "") message.requestId = crypto.randomUUID();
  }
  return next(request);
};

/**
 * Returns an interceptor that repeats a call within its deadline: after the delay that the service names, and with pauses
 * that grow after a failed connection, and after an enrolment that lost a race. Everything else is final: a wrong photo, a missing identity, a full disk.
 *
 * @param unreachableMs how long to try again while nothing answers.
 */
export function repeat(unreachableMs: number): Interceptor {
  return (next) => async (request) => {
    if (request.stream) return next(request);
    const deadline = deadlineOf(request);
    let unreachableSince: number | undefined;
    for (let failures = 0; ; failures++) {
      try {
        return await next(request);
      } catch (error) {
        const now = Date.now();
        const code = ConnectError.from(error).code;
        // A call that reaches a server which has just begun to stop ends with CANCELLED.
        const lost = code === Code.Unavailable || (code === Code.Canceled && !request.signal.aborted);
        const unreachable = lost && reasonOf(error) === undefined;
        unreachableSince = unreachable ? (unreachableSince ?? now) : undefined;
        const lostRace = request.method === FaceService.method.enrollTemplate && reasonOf(error) === "CONCURRENT_UPDATE";
        const growing = unreachable || lostRace ? Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS) : undefined;
        const pause = retryAfterMs(error) ?? growing;
        if (pause === undefined || request.signal.aborted) throw error;
        const wait = pause * (1 + SPREAD * Math.random());
        const end = Math.min(deadline, unreachableSince === undefined ? Infinity : unreachableSince + unreachableMs);
        if (now + wait >= end) throw error;
        await sleep(wait, request.signal);
        if (deadline < Infinity) request.header.set("grpc-timeout", `${Math.max(1, Math.ceil(deadline - Date.now()))}m`);
      }
    }
  };
}

// gRPC and gRPC-Web send the time that is left in this header.
function deadlineOf(request: UnaryRequest): number {
  const given = /^(\d+)m$/.exec(request.header.get("grpc-timeout") ?? "");
  return given ? Date.now() + Number(given[1]) : Infinity;
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}
