// Photos, as a program holds them.
import { create } from "@bufbuild/protobuf";
import { type Sample, SampleSchema } from "./gen/sameface/v1/face_pb.js";

/** The bytes of one image file: what `readFile` returns, the body of an upload, or a `File` of a form. */
export type Photo = Uint8Array | ArrayBuffer | Blob;

/** The largest photo that is sent, in bytes. The service has a limit of its own, which is the same by default. */
export const MAX_PHOTO_BYTES = 16 * 1024 * 1024;

/**
 * Returns a photo as the service takes it.
 *
 * @throws TypeError if it is not the bytes of a file: a path, a URL, base64 text.
 * @throws RangeError if it has more than `MAX_PHOTO_BYTES`.
 */
export async function asSample(photo: Photo): Promise<Sample> {
  const value = await bytesOf(photo);
  if (value.length > MAX_PHOTO_BYTES) {
    throw new RangeError(`the photo has ${value.length} bytes; at most ${MAX_PHOTO_BYTES} (16 MiB) are sent; send a smaller one`);
  }
  return create(SampleSchema, { source: { case: "photo", value } });
}

async function bytesOf(photo: Photo): Promise<Uint8Array> {
  if (photo instanceof Uint8Array) return photo;
  if (photo instanceof ArrayBuffer) return new Uint8Array(photo);
  if (photo instanceof Blob) return new Uint8Array(await photo.arrayBuffer());
  const given = typeof photo === "string" ? "text" : photo === null ? "null" : typeof photo;
  throw new TypeError(
    `a photo is the bytes of an image file (Uint8Array, ArrayBuffer or Blob), not ${given}; ` +
      "read a file with readFile(path), decode base64 with Buffer.from(text, 'base64')",
  );
}
