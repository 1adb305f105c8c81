// What every call gets, seen by a server: credentials, request ids, deadlines, repeats; over gRPC and over gRPC-Web.
import assert from "node:assert/strict";
import http from "node:http";
import http2 from "node:http2";
import { afterEach, test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { FaceService, GalleryService, reasonOf } from "sameface";
import { connect as overGrpc } from "sameface/node";
import { connect as overWeb } from "sameface/web";

let server;
afterEach(() => server && new Promise((done) => server.close(done)));

/** Starts a server whose CreateGallery throws one error after another, then answers; returns what it was asked. */
async function serve(module, errors = []) {
  const seen = [];
  const answer = (request, context) => {
    seen.push({ request, header: context.requestHeader, timeoutMs: context.timeoutMs() });
    const error = errors.shift();
    if (error) throw error;
    return {};
  };
  const routes = (router) => {
    router.service(GalleryService, { createGallery: answer });
    router.service(FaceService, { enrollTemplate: answer });
  };
  server = module.createServer(connectNodeAdapter({ routes }));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { seen, port: server.address().port };
}

/** Makes that nothing answers at the port of the server. */
async function stop() {
  await new Promise((done) => server.close(done));
  const handler = server.listeners("request")[0];
  server = undefined;
  return handler;
}

const transports = {
  "gRPC": [http2, (port, options) => overGrpc({ address: `127.0.0.1:${port}`, ...options })],
  "gRPC-Web": [http, (port, options) => overWeb({ baseUrl: `http://127.0.0.1:${port}`, ...options })],
};
for (const [name, [module, client]] of Object.entries(transports)) {
  test(`${name}: a credential is sent, a function is asked each time`, async () => {
    const { seen, port } = await serve(module);
    let asked = 0;
    const sameface = client(port, { credential: async () => `token-${++asked}` });
    await sameface.createGallery("a");
    await sameface.createGallery("b");
    sameface.close();
    assert.deepEqual(seen.map((one) => one.header.get("authorization")), ["Bearer token-1", "Bearer token-2"]);
  });

  test(`${name}: a call that reaches a server which begins to stop is repeated; one that is given up here is not`, async () => {
    const { seen, port } = await serve(module, [new ConnectError("stopping", Code.Canceled)]);
    const sameface = client(port);
    await sameface.createGallery("a");
    assert.equal(seen.length, 2);
    const given = new AbortController();
    given.abort();
    await assert.rejects(sameface.createGallery("b", {}, { signal: given.signal }));
    sameface.close();
    assert.equal(seen.length, 2);
  });

  test(`${name}: a repeat has the id of the first attempt, and less time`, async () => {
    const busy = new ConnectError("full", Code.ResourceExhausted, undefined, [
      { desc: (await import("../dist/gen/google/rpc/error_details_pb.js")).RetryInfoSchema, value: { retryDelay: { nanos: 5e7 } } },
    ]);
    const { seen, port } = await serve(module, [busy]);
    const sameface = client(port, { timeoutMs: 20_000 });
    await sameface.createGallery("a");
    sameface.close();
    assert.equal(seen.length, 2);
    assert.match(seen[0].request.requestId, /^[0-9a-f-]{36}$/);
    assert.equal(seen[1].request.requestId, seen[0].request.requestId);
    assert.ok(seen[1].timeoutMs < 20_000 && seen[1].timeoutMs < seen[0].timeoutMs);
  });

  test(`${name}: an enrolment has no request id of its own, and keeps a given one`, async () => {
    const { seen, port } = await serve(module);
    const sameface = client(port);
    await sameface.enroll("a", "b", new Uint8Array([1]));
    await sameface.enroll("a", "b", new Uint8Array([1]), { requestId: "mine" });
    sameface.close();
    assert.deepEqual(seen.map((one) => one.request.requestId), ["", "mine"]);
  });

  test(`${name}: an enrolment that lost a race is sent again, another write is not`, async () => {
    const { ErrorInfoSchema } = await import("../dist/gen/google/rpc/error_details_pb.js");
    const lost = () => new ConnectError("lost", Code.Aborted, undefined, [
      { desc: ErrorInfoSchema, value: { reason: "CONCURRENT_UPDATE", domain: "sameface" } },
    ]);
    const errors = [lost(), lost()];
    const { seen, port } = await serve(module, errors);
    const sameface = client(port);
    await sameface.enroll("a", "b", new Uint8Array([1]));
    errors.push(lost());
    await assert.rejects(sameface.createGallery("a"), (error) => reasonOf(error) === "CONCURRENT_UPDATE");
    sameface.close();
    assert.equal(seen.length, 4);  // three of the enrolment
  });

  test(`${name}: a failed connection is tried again until the service is there`, async () => {
    const { port } = await serve(module);
    const handler = await stop();
    const sameface = client(port, { unreachableMs: 60_000 });
    const created = sameface.createGallery("a");
    server = module.createServer(handler);
    setTimeout(() => server.listen(port, "127.0.0.1"), 300);
    assert.equal((await created).$typeName, "sameface.v1.Gallery");
    sameface.close();
  });

  test(`${name}: where nothing answers the call ends soon`, async () => {
    const { port } = await serve(module);
    await stop();
    const sameface = client(port, { unreachableMs: 250 });
    await assert.rejects(sameface.createGallery("a"), (error) => error.code === Code.Unavailable && reasonOf(error) === undefined);
  });
}

test("an address is host:port", () => {
  const said = {
    "http://127.0.0.1:50051": /host:port, not http/,
    "127.0.0.1": /host:port, such as 127.0.0.1:50051/,
    "faces.example:99999": /1 to 65535, not 99999/,
    "faces.example:50051/v1": /host:port/,
    "user:secret@faces.example:50051": /host:port/,
  };
  for (const [address, message] of Object.entries(said)) {
    assert.throws(() => overGrpc({ address }), (error) => error instanceof TypeError && message.test(error.message), address);
  }
  for (const address of ["127.0.0.1:50051", "[::1]:50051", "faces.example:443"]) overGrpc({ address }).close();
});
