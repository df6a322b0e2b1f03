// The receiver's function as our users were given it. It is not ours to improve: what it accepts is the contract.
const crypto = require("crypto");

function verifyTrustLensWebhook(rawBody, signatureHeader, timestampHeader, secret, maxAgeSeconds = 300) {
  // 1. Reject obviously old deliveries
  const ts = parseInt(timestampHeader, 10);
  if (Math.abs(Date.now() / 1000 - ts) > maxAgeSeconds) {
    return false;
  }
  // 2. Compute expected signature
  const signedString = `${ts}.${rawBody}`;
  const expected = "sha256=" + crypto
    .createHmac("sha256", secret)
    .update(signedString)
    .digest("hex");
  // 3. Constant-time compare
  return crypto.timingSafeEqual(
    Buffer.from(expected),
    Buffer.from(signatureHeader)
  );
}

// One JSON line in ({body, signature, timestamp, secret}), one true or false out.
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { body, signature, timestamp, secret } = JSON.parse(line);
  console.log(verifyTrustLensWebhook(body, signature, timestamp, secret));
});
