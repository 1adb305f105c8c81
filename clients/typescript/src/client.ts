// The client: short calls for what most programs do, and the services of the contract for all else.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type CallOptions, type Client, type Interceptor, type Transport, createClient } from "@connectrpc/connect";
import { reasonOf } from "./errors.js";
import type { Decision } from "./gen/sameface/v1/decision_pb.js";
import {
  type EnrollTemplateRequestSchema,
  type EnrollTemplateResponse,
  FaceService,
  type IdentifyFacesRequestSchema,
  type IdentifyFacesResponse,
  type VerifyFaceRequestSchema,
  type VerifyFaceResponse,
} from "./gen/sameface/v1/face_service_pb.js";
import type { Gallery } from "./gen/sameface/v1/gallery_pb.js";
import { type CreateGalleryRequestSchema, GalleryService } from "./gen/sameface/v1/gallery_service_pb.js";
import { MigrationService } from "./gen/sameface/v1/migration_service_pb.js";
import { SystemService } from "./gen/sameface/v1/system_service_pb.js";
import { type Credential, authorize, nameRequests, repeat } from "./interceptors.js";
import { galleryName, identityName } from "./names.js";
import { type Photo, asSample } from "./photo.js";

type OptionsOf<Shape, Given extends string> = Omit<Extract<Shape, object>, Given | "$typeName" | "$unknown">;

/** Fields of EnrollTemplateRequest. */
export type EnrollOptions = OptionsOf<MessageInitShape<typeof EnrollTemplateRequestSchema>, "parent" | "sample">;
/** Fields of VerifyFaceRequest. */
export type VerifyOptions = OptionsOf<MessageInitShape<typeof VerifyFaceRequestSchema>, "name" | "sample">;
/** Fields of IdentifyFacesRequest. */
export type IdentifyOptions = OptionsOf<MessageInitShape<typeof IdentifyFacesRequestSchema>, "gallery" | "sample">;
/** Fields of CreateGalleryRequest. */
export type CreateGalleryOptions = OptionsOf<MessageInitShape<typeof CreateGalleryRequestSchema>, "galleryId"> & {
  /** Return the gallery of this id if there is one, as it is. */
  existOk?: boolean;
};
/** An answer whose decision is there. */
export type Decided<Answer> = Answer & { decision: Decision };

/** What every call of a client has. */
export interface CallSettings {
  /** An API key or a token. */
  credential?: Credential;
  /** Deadline of a call in milliseconds, all its attempts together: 30,000 by default. A stream has none. */
  timeoutMs?: number;
  /** How many milliseconds to try again while nothing answers: 5,000 by default. */
  unreachableMs?: number;
}

/** Returns the interceptors of a transport. */
export function interceptorsOf({ credential, unreachableMs = 5000 }: CallSettings): Interceptor[] {
  return [nameRequests, repeat(unreachableMs), ...(credential === undefined ? [] : [authorize(credential)])];
}

/** Returns a transport whose calls, but not its streams, have a deadline. */
export function withDeadline(transport: Transport, timeoutMs = 30_000): Transport {
  return {
    unary: (method, signal, given, ...rest) => transport.unary(method, signal, given ?? timeoutMs, ...rest),
    stream: (...all) => transport.stream(...all),
  };
}

/** Calls a sameface service. A call that fails throws ConnectError; `reasonOf` says why. */
export class Sameface {
  /** Every rpc of FaceService. */
  readonly faces: Client<typeof FaceService>;
  /** Every rpc of GalleryService: galleries, identities, templates, receipts. */
  readonly galleries: Client<typeof GalleryService>;
  /** Every rpc of MigrationService. */
  readonly migrations: Client<typeof MigrationService>;
  /** Every rpc of SystemService. */
  readonly system: Client<typeof SystemService>;

  /** Use `connect` of `sameface/node` or `sameface/web`, unless the transport is your own. */
  constructor(
    transport: Transport,
    private readonly closing: () => void = () => {},
  ) {
    this.faces = createClient(FaceService, transport);
    this.galleries = createClient(GalleryService, transport);
    this.migrations = createClient(MigrationService, transport);
    this.system = createClient(SystemService, transport);
  }

  /** Closes the connection. Calls that are under way fail. */
  close(): void {
    this.closing();
  }

  /** Creates a gallery. */
  async createGallery(gallery: string, options: CreateGalleryOptions = {}, call?: CallOptions): Promise<Gallery> {
    const { existOk = false, ...fields } = options;
    try {
      return await this.galleries.createGallery({ ...fields, galleryId: gallery }, call);
    } catch (error) {
      if (!existOk || reasonOf(error) !== "GALLERY_ALREADY_EXISTS") throw error;
      return await this.galleries.getGallery({ name: galleryName(gallery) }, call);
    }
  }

  /** Adds one template to an identity, which is made if it does not exist (`allowMissing: false`: it must exist). */
  async enroll(
    gallery: string,
    identity: string,
    photo: Photo,
    options: EnrollOptions = {},
    call?: CallOptions,
  ): Promise<EnrollTemplateResponse> {
    const parent = identityName(gallery, identity);
    return this.faces.enrollTemplate({ allowMissing: true, ...options, parent, sample: await asSample(photo) }, call);
  }

  /** Does the photo show this identity (1:1)? */
  async verify(
    gallery: string,
    identity: string,
    photo: Photo,
    options: VerifyOptions = {},
    call?: CallOptions,
  ): Promise<Decided<VerifyFaceResponse>> {
    const name = identityName(gallery, identity);
    const answer = await this.faces.verifyFace({ ...options, name, sample: await asSample(photo) }, call);
    return answer as Decided<VerifyFaceResponse>;
  }

  /** Which identity of the gallery does the photo show, if any (1:N)? */
  async identify(
    gallery: string,
    photo: Photo,
    options: IdentifyOptions = {},
    call?: CallOptions,
  ): Promise<IdentifyFacesResponse> {
    return this.faces.identifyFaces({ ...options, gallery: galleryName(gallery), sample: await asSample(photo) }, call);
  }
}
