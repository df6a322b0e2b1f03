<?php

declare(strict_types=1);

// The vectors on stdin; one true or false per line for each of `received`, as docs/receivers/verify.php judges it.
require __DIR__ . '/../../docs/receivers/verify.php';

$vectors = json_decode(file_get_contents('php://stdin'), flags: JSON_THROW_ON_ERROR);
foreach ($vectors->received as $it) {
    $verdict = verify_trustlens_webhook(
        base64_decode($it->body),
        $it->signature,
        $it->timestamp,
        $it->secret,
        $it->max_age_seconds ?? TRUSTLENS_MAX_AGE_SECONDS,
        $it->next_signature,
        $it->now,
    );
    echo json_encode($verdict), "\n";
}
