// Resource names.

const PLAIN = /^[a-z0-9\-_.]$/;

/** Returns `galleries/{gallery}`. */
export function galleryName(gallery: string): string {
  return `galleries/${gallery}`;
}

/**
 * Returns `galleries/{gallery}/identities/{identity}`. The id may be any text: in the name, every byte of its UTF-8 that
 * is not one of a-z, 0-9, "-", "_" and "." is "~" and two hexadecimal digits.
 *
 * @throws TypeError if the id is no text, or holds half of a character.
 */
export function identityName(gallery: string, identity: string): string {
  if (typeof identity !== "string" || /\p{Surrogate}/u.test(identity)) {
    throw new TypeError(`the id of an identity is text of whole characters, not ${typeof identity}`);
  }
  const bytes = Array.from(new TextEncoder().encode(identity), (byte) => {
    const plain = String.fromCharCode(byte);
    return PLAIN.test(plain) ? plain : `~${byte.toString(16).padStart(2, "0")}`;
  });
  return `${galleryName(gallery)}/identities/${bytes.join("")}`;
}

/** Returns the id at the end of a name that the service has sent, that of an identity as it was chosen. */
export function idOf(name: string): string {
  return decodeURIComponent(name.slice(name.lastIndexOf("/") + 1).replaceAll("~", "%"));
}
