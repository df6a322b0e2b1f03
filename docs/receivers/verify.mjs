// Is this delivery from TrustLens? Copy this file into your receiver; it needs nothing but Node 18.
import { createHmac, timingSafeEqual } from "node:crypto";

const MAX_AGE_SECONDS = 300;
const LARGEST_MAX_AGE_SECONDS = 900;

const TIMESTAMP = /^(0|[1-9][0-9]{0,14})$/; // digits alone: parseInt() also takes "1749abc", and NaN is never too old
const SIGNATURE = /^sha256=[0-9a-f]{64}$/;

/**
 * True if the raw body (a Buffer) was signed with `secret` at most `maxAgeSeconds` ago (or ahead: clocks differ).
 *
 * Headers that are missing are undefined. Whatever is odd is false: it never throws, and there is no other way to true.
 */
export function verifyTrustLensWebhook(
  rawBody,
  signatureHeader,
  timestampHeader,
  secret,
  maxAgeSeconds = MAX_AGE_SECONDS,
  { nextSignatureHeader, now = Date.now() / 1000 } = {},
) {
  if (!secret || !Buffer.isBuffer(rawBody) || !matches(TIMESTAMP, timestampHeader)) {
    return false;
  }
  const age = Math.abs(now - Number(timestampHeader));
  if (!(age <= Math.min(maxAgeSeconds, LARGEST_MAX_AGE_SECONDS))) { // "not <=" and not ">": NaN is refused
    return false;
  }
  const digest = createHmac("sha256", secret).update(`${timestampHeader}.`).update(rawBody).digest("hex");
  const expected = Buffer.from(`sha256=${digest}`);
  return [signatureHeader, nextSignatureHeader]
    .filter((header) => matches(SIGNATURE, header)) // of one length from here on, else timingSafeEqual throws
    .some((header) => timingSafeEqual(expected, Buffer.from(header)));
}

function matches(pattern, header) {
  return typeof header === "string" && pattern.test(header);
}
