// A receiver that needs nothing but Node 18: it verifies, keeps, answers, and works only then.
//
//     TRUSTLENS_WEBHOOK_SECRET=… node receiver.mjs FOLDER PORT
//
// FOLDER/inbox has a file per delivery, named by its id and empty once it was dealt with; FOLDER/customers has a file
// per customer with what was last heard of it, by hash: no address is kept.
import { randomUUID } from "node:crypto";
import { link, mkdir, readFile, readdir, rename, rm, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { verifyTrustLensWebhook } from "./verify.mjs";

const LARGEST_BODY = 1_000_000;
const MILLISECONDS_TO_SEND_IT = 10_000;

const DELIVERY = /^[0-9a-f-]{36}$/; // these two become names of files and numbers, and are not signed
const SEQUENCE = /^[0-9]{1,15}$/;
const HASH = /^[0-9a-f]{64}$/;

const [folder, port] = process.argv.slice(2);
const secret = process.env.TRUSTLENS_WEBHOOK_SECRET;
const inbox = join(folder, "inbox");
const customers = join(folder, "customers");

async function receive(request) {
  if (request.method !== "POST") {
    return [405, "POST only"];
  }
  const body = await readRaw(request);
  if (body === null) {
    return [413, "too large"];
  }
  const header = (name) => request.headers[name.toLowerCase()]; // one that comes twice is joined, and so refused
  const genuine = verifyTrustLensWebhook(
    body,
    header("X-TrustLens-Signature"),
    header("X-TrustLens-Timestamp"),
    secret,
    undefined,
    { nextSignatureHeader: header("X-TrustLens-Signature-Next") },
  );
  if (!genuine) {
    return [401, "not signed by TrustLens"];
  }
  const [delivery, sequence] = [header("X-TrustLens-Delivery"), header("X-TrustLens-Sequence")];
  if (!DELIVERY.test(delivery) || !SEQUENCE.test(sequence) || !isEvent(body)) {
    return [400, "not an event"];
  }
  return [200, (await keep(delivery, sequence, body)) ? "kept" : "known"];
}

// The bytes as they came. A framework's JSON parser must not come before this; null if there are too many.
async function readRaw(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > LARGEST_BODY) {
      return null;
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function isEvent(body) {
  try {
    const payload = JSON.parse(body);
    return typeof payload.event === "string" && HASH.test(payload.customer.email_hash);
  } catch {
    return false;
  }
}

// False if this delivery came before. The link is what decides, also between two that come at once.
async function keep(delivery, sequence, body) {
  const whole = join(folder, randomUUID());
  await writeFile(whole, Buffer.concat([Buffer.from(`${sequence}\n`), body]), { mode: 0o600 });
  try {
    await link(whole, join(inbox, delivery));
  } catch (error) {
    if (error.code === "EEXIST") {
      return false;
    }
    throw error;
  } finally {
    await rm(whole);
  }
  wakeUp();
  return true;
}

// One at a time. What fails is tried again when the next one comes.
async function work() {
  for (const name of await readdir(inbox)) {
    const kept = (await readFile(join(inbox, name))).toString();
    if (kept === "") {
      continue;
    }
    try {
      const end = kept.indexOf("\n");
      await handle(Number(kept.slice(0, end)), JSON.parse(kept.slice(end + 1)));
      await truncate(join(inbox, name)); // its name is still needed, its content is not
    } catch (error) {
      console.error(error); // one bad delivery must not stop the others
    }
  }
}

let working = Promise.resolve();
let asked = false;
function wakeUp() {
  if (!asked) {
    asked = true;
    working = working.then(() => ((asked = false), work())).catch(console.error);
  }
}

// Here is the slow part: call the CRM, open the ticket. If the process dies in it, it sees the delivery again.
async function handle(sequence, { event, customer }) {
  if (event !== "test") {
    await keepNewest(sequence, customer);
  }
  console.log(event, customer.email_hash.slice(0, 12));
}

// Deliveries overtake each other: an older one must not undo a newer.
async function keepNewest(sequence, { email_hash, trust_score, segment, is_blocked, is_allowlisted }) {
  const path = join(customers, `${email_hash}.json`);
  const known = await readFile(path).then(JSON.parse, () => ({ sequence: -1 }));
  if (known.sequence > sequence) {
    return;
  }
  await writeFile(`${path}.new`, JSON.stringify({ sequence, trust_score, segment, is_blocked, is_allowlisted }));
  await rename(`${path}.new`, path);
}

for (const path of [inbox, customers]) {
  await mkdir(path, { recursive: true });
}
wakeUp(); // for what an earlier process left
const server = createServer({ requestTimeout: MILLISECONDS_TO_SEND_IT }, async (request, response) => {
  const [status, words] = await receive(request).catch((error) => {
    console.error(error);
    return [500, "try again"];
  });
  if (status !== 200) {
    response.setHeader("Connection", "close"); // the rest of a body that was too large is not read
  }
  response.writeHead(status).end(`${words}\n`);
});
server.listen(Number(port), "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
