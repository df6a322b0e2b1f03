<?php

declare(strict_types=1);

/*
 * A receiver that needs nothing but PHP 8: it verifies, keeps and answers; the work is done by another process.
 *
 *     TRUSTLENS_WEBHOOK_SECRET=… TRUSTLENS_FOLDER=… php -S 127.0.0.1:8000 receiver.php     (or any web server)
 *     TRUSTLENS_FOLDER=… php receiver.php                                           (from cron: works off what came)
 *
 * FOLDER/inbox has a file per delivery, named by its id and empty once it was dealt with; FOLDER/customers has a file
 * per customer with what was last heard of it, by hash: no address is kept.
 */

require __DIR__ . '/verify.php';

const LARGEST_BODY = 1_000_000;
const KEPT_OF_A_CUSTOMER = ['trust_score', 'segment', 'is_blocked', 'is_allowlisted'];

const DELIVERY = '/\A[0-9a-f-]{36}\z/'; // these two become names of files and numbers, and are not signed
const SEQUENCE = '/\A[0-9]{1,18}\z/';
const HASH = '/\A[0-9a-f]{64}\z/';

/** @return array{int, string} status and words */
function receive(string $folder, string $secret): array
{
    if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
        return [405, 'POST only'];
    }
    $body = file_get_contents('php://input', length: LARGEST_BODY + 1); // the bytes as they came
    if (strlen($body) > LARGEST_BODY) {
        return [413, 'too large'];
    }
    $genuine = verify_trustlens_webhook(
        $body,
        $_SERVER['HTTP_X_TRUSTLENS_SIGNATURE'] ?? null,
        $_SERVER['HTTP_X_TRUSTLENS_TIMESTAMP'] ?? null,
        $secret,
        nextSignatureHeader: $_SERVER['HTTP_X_TRUSTLENS_SIGNATURE_NEXT'] ?? null,
    );
    if (!$genuine) {
        return [401, 'not signed by TrustLens'];
    }
    $delivery = $_SERVER['HTTP_X_TRUSTLENS_DELIVERY'] ?? '';
    $sequence = $_SERVER['HTTP_X_TRUSTLENS_SEQUENCE'] ?? '';
    if (!preg_match(DELIVERY, $delivery) || !preg_match(SEQUENCE, $sequence) || !is_event($body)) {
        return [400, 'not an event'];
    }
    return [200, keep($folder, $delivery, $sequence, $body) ? 'kept' : 'known'];
}

function is_event(string $body): bool
{
    $payload = json_decode($body, true);
    $hash = $payload['customer']['email_hash'] ?? null;
    return is_string($payload['event'] ?? null) && is_string($hash) && preg_match(HASH, $hash) === 1;
}

/** False if this delivery came before. The link is what decides, also between two that come at once. */
function keep(string $folder, string $delivery, string $sequence, string $body): bool
{
    $whole = tempnam($folder, 'delivery');
    $kept = "$folder/inbox/$delivery";
    try {
        if (file_put_contents($whole, "$sequence\n$body") === false) {
            throw new RuntimeException("$folder cannot be written to");
        }
        if (@link($whole, $kept)) {
            return true;
        }
        if (file_exists($kept)) {
            return false;
        }
        throw new RuntimeException("$kept cannot be made");
    } finally {
        unlink($whole);
    }
}

/** One process at a time. What fails is tried again by the next. */
function work(string $folder): void
{
    $turn = fopen("$folder/turn", 'c');
    flock($turn, LOCK_EX);
    foreach (array_diff(scandir("$folder/inbox"), ['.', '..']) as $name) {
        $kept = file_get_contents("$folder/inbox/$name");
        if ($kept === '') {
            continue;
        }
        try {
            [$sequence, $body] = explode("\n", $kept, 2);
            handle($folder, (int) $sequence, json_decode($body, true, flags: JSON_THROW_ON_ERROR));
            file_put_contents("$folder/inbox/$name", ''); // its name is still needed, its content is not
        } catch (Throwable $error) {
            error_log((string) $error); // one bad delivery must not stop the others
        }
    }
}

/** Here is the slow part: call the CRM, open the ticket. If the process dies in it, it sees the delivery again. */
function handle(string $folder, int $sequence, array $payload): void
{
    if ($payload['event'] !== 'test') {
        keep_newest($folder, $sequence, $payload['customer']);
    }
    echo $payload['event'], ' ', substr($payload['customer']['email_hash'], 0, 12), "\n";
}

/** Deliveries overtake each other: an older one must not undo a newer. */
function keep_newest(string $folder, int $sequence, array $customer): void
{
    $path = "$folder/customers/{$customer['email_hash']}.json";
    $known = file_exists($path) ? json_decode(file_get_contents($path), true) : ['sequence' => -1];
    if ($known['sequence'] > $sequence) {
        return;
    }
    $kept = array_intersect_key($customer, array_flip(KEPT_OF_A_CUSTOMER));
    file_put_contents("$path.new", json_encode(['sequence' => $sequence] + $kept));
    rename("$path.new", $path);
}

$folder = getenv('TRUSTLENS_FOLDER');
foreach (['inbox', 'customers'] as $name) {
    @mkdir("$folder/$name", recursive: true);
}
if (PHP_SAPI === 'cli') {
    work($folder);
} else {
    http_response_code(500); // what stands if something below fails
    [$status, $words] = receive($folder, (string) getenv('TRUSTLENS_WEBHOOK_SECRET'));
    http_response_code($status);
    echo "$words\n";
}
