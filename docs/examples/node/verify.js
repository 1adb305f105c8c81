// Enrols one photo and verifies another: node verify.js ADDRESS GALLERY IDENTITY REFERENCE PROBE
// The exit codes are those of the command line: 0 match, 1 no match, 2 ambiguous, 3 error.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { randomUUID } from "node:crypto";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import protobuf from "protobufjs";

const protos = fileURLToPath(new URL("../../../protos", import.meta.url));
const load = (...names) =>
  grpc.loadPackageDefinition(
    protoLoader.loadSync(
      names.map((name) => `sameface/v1/${name}.proto`),
      { includeDirs: [protos, `${protos}/vendor`], keepCase: true, enums: String, defaults: true, oneofs: true },
    ),
  );

const packages = load("face_service", "gallery_service");
const { FaceService, GalleryService } = packages.sameface.v1;
const rpcTypes = new protobuf.Root();
rpcTypes.resolvePath = (origin, target) => `${protos}/vendor/${target}`;
rpcTypes.loadSync(["google/rpc/status.proto", "google/rpc/error_details.proto"]);
const [Status, ErrorInfo, RetryInfo] = ["Status", "ErrorInfo", "RetryInfo"].map((type) =>
  rpcTypes.lookupType(`google.rpc.${type}`),
);

const [address, gallery, identity, reference, probe] = process.argv.slice(2);
if (!probe) {
  console.error("usage: node verify.js ADDRESS GALLERY IDENTITY REFERENCE PROBE");
  process.exit(3);
}
const limits = { "grpc.max_send_message_length": 36 << 20, "grpc.max_receive_message_length": 36 << 20 };
const faces = new FaceService(address, grpc.credentials.createInsecure(), limits);
const galleries = new GalleryService(address, grpc.credentials.createInsecure());

// Returns the detail of one type from an error, or undefined (docs/errors.md).
const detailOf = (error, type) => {
  const [raw] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const found = raw && Status.decode(raw).details.find((detail) => detail.type_url.endsWith(`/${type.fullName.slice(1)}`));
  return found && type.decode(found.value);
};

// Returns the reason, which programs act on. If no service answered there is none; then the gRPC status is used.
const reasonOf = (error) => detailOf(error, ErrorInfo)?.reason ?? grpc.status[error.code] ?? "ERROR";

// Returns the milliseconds to wait before a repeat, or undefined if a repeat does not help. The service names the delay.
// After a failed connection the pause grows. Everything else is final: a wrong photo, a missing identity, a full disk.
const pauseAfter = (error, attempt) => {
  const delay = detailOf(error, RetryInfo)?.retryDelay;
  if (delay) return Number(delay.seconds) * 1000 + delay.nanos / 1e6;
  const unreached = error.code === grpc.status.UNAVAILABLE && !detailOf(error, ErrorInfo);
  return unreached ? Math.min(100 * 2 ** attempt, 2000) : undefined;
};

// Makes one call and repeats it within its deadline. A write carries a request_id, so a repeat does not write twice.
const call = async (client, rpc, request, timeout = 30_000) => {
  const deadline = Date.now() + timeout;
  for (let attempt = 0; ; attempt++) {
    try {
      return await new Promise((resolve, reject) =>
        client[rpc](request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer))),
      );
    } catch (error) {
      const pause = pauseAfter(error, attempt);
      if (pause === undefined || Date.now() + pause >= deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
};

// An id may be any text. In a name, every byte of its UTF-8 that is not one of these is ~ and two hexadecimal digits.
const escaped = (id) =>
  Buffer.from(id)
    .toString("latin1")
    .replace(/[^a-z0-9\-_.]/g, (byte) => "~" + byte.charCodeAt(0).toString(16).padStart(2, "0"));

const name = `galleries/${gallery}/identities/${escaped(identity)}`;
try {
  await call(galleries, "CreateGallery", { gallery_id: gallery, request_id: randomUUID() }).catch((error) => {
    if (reasonOf(error) !== "GALLERY_ALREADY_EXISTS") throw error;
  });
  await call(faces, "EnrollTemplate", {
    parent: name,
    sample: { photo: readFileSync(reference) },
    allow_missing: true,
    request_id: randomUUID(),
  });
  const { decision } = await call(faces, "VerifyFace", { name, sample: { photo: readFileSync(probe) } });
  const outcome = decision.outcome.replace("OUTCOME_", "");
  console.log(`${outcome}: score ${decision.score.toFixed(3)}, threshold ${decision.threshold.toFixed(3)}`);
  process.exitCode = { MATCH: 0, NO_MATCH: 1, AMBIGUOUS: 2 }[outcome];
} catch (error) {
  console.error(`${reasonOf(error)}: ${error.details ?? error.message}`);
  process.exitCode = 3;
}
