<?php
// As much of WordPress and WooCommerce as deploy/woocommerce/trustlens-gate.php asks for, and a shopper who acts.
// Reads {"url", "key", "acts": [...]} from its standard input, writes what became of each act, one JSON line.

namespace Automattic\WooCommerce\StoreApi\Exceptions {
	class RouteException extends \Exception {
		public $error_code;
		public function __construct( $error_code, $message, $http_status_code = 400 ) {
			parent::__construct( $message, $http_status_code );
			$this->error_code = $error_code;
		}
	}
}

namespace {
	define( 'ABSPATH', __DIR__ );
	$asked = json_decode( stream_get_contents( STDIN ), true );
	if ( $asked['url'] ) {
		define( 'TRUSTLENS_URL', $asked['url'] );
		define( 'TRUSTLENS_KEY', $asked['key'] );
	}
	$hooks   = array();
	$notices = array();
	$shopper = array();

	function add_action( $hook, $callback, $priority = 10, $arguments = 1 ) {
		$GLOBALS['hooks'][ $hook ] = array( $callback, $arguments );
	}
	function do_action( $hook, ...$arguments ) {
		list( $callback, $most ) = $GLOBALS['hooks'][ $hook ];
		$callback( ...array_slice( $arguments, 0, $most ) );
	}
	class WP_Error {
		public $errors = array();
		public function add( $code, $message ) {
			$this->errors[ $code ][] = $message;
		}
		public function has_errors() {
			return ! empty( $this->errors );
		}
	}
	function is_wp_error( $thing ) {
		return $thing instanceof WP_Error;
	}
	function wp_json_encode( $data ) {
		return json_encode( $data );
	}
	function esc_html( $text ) {
		return htmlspecialchars( $text, ENT_QUOTES );
	}
	function is_email( $email ) {
		return filter_var( $email, FILTER_VALIDATE_EMAIL );
	}
	function wc_add_notice( $message, $type ) {
		$GLOBALS['notices'][] = array( $type, $message );
	}
	function get_woocommerce_currency() {
		return 'EUR';
	}
	function wc_get_user_agent() {
		return $GLOBALS['shopper']['user_agent'] ?? 'Mozilla/5.0';
	}
	class WC_Geolocation {
		public static function get_ip_address() {
			return $GLOBALS['shopper']['ip'] ?? '203.0.113.9';
		}
	}
	class Cart {
		public function get_total( $context ) {
			return $GLOBALS['shopper']['total'] ?? '25.00';
		}
		public function get_applied_coupons() {
			return $GLOBALS['shopper']['coupons'] ?? array();
		}
	}
	class Order extends Cart {
		public function get_id() {
			return $GLOBALS['shopper']['id'];
		}
		public function get_billing_email() {
			return $GLOBALS['shopper']['email'] ?? '';
		}
		public function get_billing_country() {
			return $GLOBALS['shopper']['country'] ?? 'DE';
		}
		public function get_currency() {
			return 'EUR';
		}
		public function get_coupon_codes() {
			return $this->get_applied_coupons();
		}
		public function get_customer_ip_address() {
			return WC_Geolocation::get_ip_address();
		}
		public function get_customer_user_agent() {
			return wc_get_user_agent();
		}
	}
	function wc_get_order( $id ) {
		return $id ? new Order() : false;
	}
	function WC() {
		return (object) array( 'cart' => new Cart() );
	}
	function wp_remote_post( $url, $arguments ) {
		$lines = array();
		foreach ( $arguments['headers'] as $name => $value ) {
			$lines[] = "$name: $value";
		}
		$http = array(
			'method'          => 'POST',
			'header'          => $lines,
			'content'         => $arguments['body'],
			'timeout'         => $arguments['timeout'],
			'follow_location' => $arguments['redirection'],
			'ignore_errors'   => true,
		);
		$body = @file_get_contents( $url, false, stream_context_create( array( 'http' => $http ) ) );
		if ( false === $body ) {
			return new WP_Error();
		}
		return array( 'code' => (int) explode( ' ', $http_response_header[0] )[1], 'body' => $body );
	}
	function wp_remote_retrieve_response_code( $answer ) {
		return $answer['code'];
	}
	function wp_remote_retrieve_body( $answer ) {
		return $answer['body'];
	}

	require dirname( __DIR__, 3 ) . '/deploy/woocommerce/trustlens-gate.php';

	foreach ( $asked['acts'] as $number => $act ) {
		$shopper = $act + array( 'id' => $number + 1 );
		$notices = array();
		$told    = null;
		$began   = microtime( true );
		switch ( $act['how'] ) {
			case 'classic':
			case 'mistyped':
				$errors = new WP_Error();
				if ( 'mistyped' === $act['how'] ) {
					$errors->add( 'terms', 'Please read and accept the terms.' );
				}
				do_action( 'woocommerce_after_checkout_validation', array( 'billing_email' => $act['email'] ?? '' ), $errors );
				$told = $errors->errors['trustlens_gate'][0] ?? null;
				break;
			case 'pay_page':
				do_action( 'woocommerce_before_pay_action', new Order() );
				$told = $notices[0][1] ?? null;
				break;
			case 'block':
				try {
					do_action( 'woocommerce_store_api_checkout_order_processed', new Order() );
				} catch ( \Automattic\WooCommerce\StoreApi\Exceptions\RouteException $refusal ) {
					$told = $refusal->getMessage();
				}
				break;
			case 'failed':
				do_action( 'woocommerce_order_status_failed', $shopper['id'], new Order() );
				break;
			case 'failed_at_stripe': // and had failed before
				do_action( 'wc_gateway_stripe_process_payment_error', new Exception( 'Declined.' ), new Order() );
				break;
		}
		echo json_encode( array( 'told' => $told, 'seconds' => microtime( true ) - $began ) ), "\n";
	}
}
