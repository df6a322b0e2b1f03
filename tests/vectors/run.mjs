// The vectors on stdin; one true or false per line for each of `received`, as docs/receivers/verify.mjs judges it.
import { readFileSync } from "node:fs";
import { verifyTrustLensWebhook } from "../../docs/receivers/verify.mjs";

const undefinedIfNull = (value) => value ?? undefined;

for (const it of JSON.parse(readFileSync(0, "utf8")).received) {
  const verdict = verifyTrustLensWebhook(
    Buffer.from(it.body, "base64"),
    undefinedIfNull(it.signature),
    undefinedIfNull(it.timestamp),
    it.secret,
    undefinedIfNull(it.max_age_seconds),
    { nextSignatureHeader: undefinedIfNull(it.next_signature), now: it.now },
  );
  console.log(verdict);
}
