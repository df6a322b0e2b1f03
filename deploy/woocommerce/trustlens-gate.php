<?php
/**
 * Plugin Name: TrustLens gate
 * Description: Asks TrustLens before a payment is tried, and tells it of payments that failed. docs/gate.md says how.
 * Version: 1.0
 * Requires PHP: 7.4
 * Requires Plugins: woocommerce
 *
 * One file: put it into wp-content/mu-plugins, and into wp-config.php
 *   define( 'TRUSTLENS_URL', 'https://trustlens.example' );
 *   define( 'TRUSTLENS_KEY', 'tl_...' ); // a key with the scope ingest, and no other
 *
 * Whatever goes wrong, the shopper goes on: no answer within a second, an error, an answer that cannot be read.
 */

defined( 'ABSPATH' ) || exit;

const TRUSTLENS_GATE_SECONDS = 1;
const TRUSTLENS_GATE_CHARACTERS = 500; // of a text that the shopper's browser made up; TrustLens takes 2,000

// Late, so that only a form in which nothing else is wrong is a submission.
add_action( 'woocommerce_after_checkout_validation', 'trustlens_gate_classic', 9999, 2 );
add_action( 'woocommerce_before_pay_action', 'trustlens_gate_pay_page', 9999 );
add_action( 'woocommerce_store_api_checkout_order_processed', 'trustlens_gate_block', 1 );
add_action( 'woocommerce_order_status_failed', 'trustlens_gate_declined', 10, 2 );
// Of an order that has failed before the status stays, and only WooCommerce Stripe tells that it failed again.
add_action( 'wc_gateway_stripe_process_payment_error', 'trustlens_gate_declined_by_stripe', 10, 2 );

/** The classic checkout, before the order is made. */
function trustlens_gate_classic( $data, $errors ) {
	if ( $errors->has_errors() ) {
		return;
	}
	$cart    = WC()->cart;
	$refusal = trustlens_gate_refusal(
		$data['billing_email'] ?? '',
		$cart ? $cart->get_total( 'edit' ) : '',
		get_woocommerce_currency(),
		$cart ? $cart->get_applied_coupons() : array()
	);
	if ( null !== $refusal ) {
		$errors->add( 'trustlens_gate', $refusal );
	}
}

/** The page on which an order that was made before is paid for. */
function trustlens_gate_pay_page( $order ) {
	$refusal = trustlens_gate_refusal_of( $order );
	if ( null !== $refusal ) {
		wc_add_notice( $refusal, 'error' );
	}
}

/** The block checkout: the order is made, and about to be paid for. */
function trustlens_gate_block( $order ) {
	$refusal = trustlens_gate_refusal_of( $order );
	if ( null !== $refusal ) {
		throw new \Automattic\WooCommerce\StoreApi\Exceptions\RouteException( 'trustlens_gate', $refusal, 400 );
	}
}

/** A payment that failed. WooCommerce does not know why. */
function trustlens_gate_declined( $order_id, $order = null ) {
	$order = $order ? $order : wc_get_order( $order_id );
	if ( ! $order ) {
		return;
	}
	static $told = array(); // A request tries to pay an order once, and two hooks may tell that it failed.
	if ( isset( $told[ $order->get_id() ] ) ) {
		return;
	}
	$told[ $order->get_id() ] = true;

	$country = (string) $order->get_billing_country();
	trustlens_gate_call(
		'declined',
		array(
			'email'      => trustlens_gate_email( $order->get_billing_email() ),
			'ip'         => trustlens_gate_ip( $order->get_customer_ip_address() ),
			'user_agent' => trustlens_gate_text( $order->get_customer_user_agent() ),
			'country'    => preg_match( '/^[A-Za-z]{2}$/', $country ) ? $country : '',
			'code'       => 'order_failed',
		)
	);
}

function trustlens_gate_declined_by_stripe( $error, $order ) {
	if ( is_object( $order ) ) {
		trustlens_gate_declined( $order->get_id(), $order );
	}
}

function trustlens_gate_refusal_of( $order ) {
	return trustlens_gate_refusal(
		$order->get_billing_email(),
		$order->get_total( 'edit' ),
		$order->get_currency(),
		$order->get_coupon_codes()
	);
}

/** What to tell the shopper, or null: go on. */
function trustlens_gate_refusal( $email, $amount, $currency, $coupons ) {
	$asked = array(
		'email'      => trustlens_gate_email( $email ),
		'ip'         => trustlens_gate_ip( WC_Geolocation::get_ip_address() ),
		'user_agent' => trustlens_gate_text( wc_get_user_agent() ),
		'currency'   => preg_match( '/^[A-Za-z]{3}$/', (string) $currency ) ? (string) $currency : '',
		'coupons'    => trustlens_gate_coupons( $coupons ),
	);
	if ( preg_match( '/^[0-9]{1,15}(\.[0-9]{1,20})?$/', (string) $amount ) ) {
		$asked['amount'] = (string) $amount;
	}
	$answer = trustlens_gate_call( 'authorize', $asked );
	if ( ! is_array( $answer ) || 'deny' !== ( $answer['decision'] ?? '' ) ) {
		return null;
	}
	$message = $answer['message'] ?? '';
	return is_string( $message ) && '' !== $message ? esc_html( $message ) : 'We cannot take your order just now.';
}

/** The answer, or null: there was none that says anything. */
function trustlens_gate_call( $what, $body ) {
	if ( ! defined( 'TRUSTLENS_URL' ) || ! defined( 'TRUSTLENS_KEY' ) ) {
		return null;
	}
	$answer = wp_remote_post(
		rtrim( TRUSTLENS_URL, '/' ) . '/wp-json/trustlens/v1/checkout/' . $what,
		array(
			'timeout'     => TRUSTLENS_GATE_SECONDS,
			'redirection' => 0,
			'headers'     => array(
				'Content-Type'        => 'application/json',
				'X-TrustLens-API-Key' => TRUSTLENS_KEY,
			),
			'body'        => wp_json_encode( $body ),
		)
	);
	if ( is_wp_error( $answer ) || 200 !== (int) wp_remote_retrieve_response_code( $answer ) ) {
		return null;
	}
	return json_decode( wp_remote_retrieve_body( $answer ), true );
}

// What TrustLens would refuse to read is left out: a shopper who writes nonsense must not pass by it. -----------------

function trustlens_gate_email( $email ) {
	$email = trim( (string) $email );
	return strlen( $email ) <= 254 && is_email( $email ) ? $email : '';
}

function trustlens_gate_ip( $ip ) {
	return filter_var( $ip, FILTER_VALIDATE_IP ) ? (string) $ip : '';
}

function trustlens_gate_text( $text ) {
	return substr( preg_replace( '/[^\x20-\x7e]/', '', (string) $text ), 0, TRUSTLENS_GATE_CHARACTERS );
}

function trustlens_gate_coupons( $codes ) {
	$readable = array_filter( array_map( 'strval', $codes ), fn( $code ) => preg_match( '/^[^\x00-\x1f\x7f]{1,200}$/Du', $code ) );
	return array_slice( array_values( $readable ), 0, 50 );
}
