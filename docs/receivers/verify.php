<?php

declare(strict_types=1);

// Is this delivery from TrustLens? Copy this file into your receiver; it needs nothing but PHP 8.

const TRUSTLENS_MAX_AGE_SECONDS = 300;
const TRUSTLENS_LARGEST_MAX_AGE_SECONDS = 900;

// Digits alone: (int) also takes "1749abc". And \z, for $ lets a line end pass.
const TRUSTLENS_TIMESTAMP = '/\A(0|[1-9][0-9]{0,14})\z/';
const TRUSTLENS_SIGNATURE = '/\Asha256=[0-9a-f]{64}\z/';

/**
 * True if the raw body was signed with $secret at most $maxAgeSeconds ago (or ahead: clocks differ).
 *
 * Headers that are missing are null. Whatever is odd is false: there is no other way to true.
 */
function verify_trustlens_webhook(
    string $rawBody,
    ?string $signatureHeader,
    ?string $timestampHeader,
    string $secret,
    float $maxAgeSeconds = TRUSTLENS_MAX_AGE_SECONDS,
    ?string $nextSignatureHeader = null,
    ?float $now = null,
): bool {
    if ($secret === '' || preg_match(TRUSTLENS_TIMESTAMP, $timestampHeader ?? '') !== 1) {
        return false;
    }
    $age = abs(($now ?? microtime(true)) - (int) $timestampHeader);
    if (!($age <= min($maxAgeSeconds, TRUSTLENS_LARGEST_MAX_AGE_SECONDS))) { // "not <=" and not ">": NaN is refused
        return false;
    }
    $expected = 'sha256=' . hash_hmac('sha256', "$timestampHeader.$rawBody", $secret);
    foreach ([$signatureHeader, $nextSignatureHeader] as $header) {
        if (preg_match(TRUSTLENS_SIGNATURE, $header ?? '') === 1 && hash_equals($expected, $header)) {
            return true;
        }
    }
    return false;
}
