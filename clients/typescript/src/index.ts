// What does not depend on how the service is reached. `sameface/node` and `sameface/web` connect to it.
export { Sameface } from "./client.js";
export type { CallSettings, CreateGalleryOptions, Decided, EnrollOptions, IdentifyOptions, VerifyOptions } from "./client.js";
export { reasonOf, retryAfterMs } from "./errors.js";
export type { Credential } from "./interceptors.js";
export { galleryName, idOf, identityName } from "./names.js";
export { MAX_PHOTO_BYTES, type Photo } from "./photo.js";

export * from "./gen/sameface/v1/calibration_pb.js";
export * from "./gen/sameface/v1/decision_pb.js";
export * from "./gen/sameface/v1/face_pb.js";
export * from "./gen/sameface/v1/face_service_pb.js";
export * from "./gen/sameface/v1/gallery_pb.js";
export * from "./gen/sameface/v1/gallery_service_pb.js";
export * from "./gen/sameface/v1/migration_pb.js";
export * from "./gen/sameface/v1/migration_service_pb.js";
export * from "./gen/sameface/v1/system_service_pb.js";
