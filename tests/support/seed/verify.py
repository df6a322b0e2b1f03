# The receiver's function as our users were given it. It is not ours to improve: what it accepts is the contract.
import hmac, hashlib, time

def verify_trustlens_webhook(body_bytes, signature_header, timestamp_header, secret, max_age_seconds=300):
    # 1. Reject obviously old deliveries before doing any crypto
    ts = int(timestamp_header)
    if abs(time.time() - ts) > max_age_seconds:
        return False  # too old or too far in the future

    # 2. Compute expected signature
    signed_string = f"{ts}.{body_bytes.decode('utf-8')}"
    expected = "sha256=" + hmac.new(
        secret.encode("utf-8"),
        signed_string.encode("utf-8"),
        hashlib.sha256
    ).hexdigest()

    # 3. Constant-time compare to prevent timing attacks
    return hmac.compare_digest(expected, signature_header)
