// Resource names.

/** Returns `galleries/{gallery}`. */
export function galleryName(gallery: string): string {
  return `galleries/${gallery}`;
}

/** Returns `galleries/{gallery}/identities/{identity}`. */
export function identityName(gallery: string, identity: string): string {
  return `${galleryName(gallery)}/identities/${identity}`;
}
