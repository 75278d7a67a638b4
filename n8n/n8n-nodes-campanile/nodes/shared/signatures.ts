import { createHmac, timingSafeEqual } from 'node:crypto';

/** How old or new a signed request may be, in seconds. */
export const TOLERANCE = 5 * 60;

export interface Signed {
	id: string | undefined;
	timestamp: string | undefined;
	signature: string | undefined;
}

/**
 * Whether a request is signed with the secret, as Standard Webhooks 1.0 says, and recent.
 *
 * `body` is what came in, byte for byte; `now` is in seconds since 1970. While a secret is
 * being changed, a request has a signature by each.
 */
export function verified(secret: string, signed: Signed, body: Buffer, now: number): boolean {
	const { id, timestamp, signature } = signed;
	if (!secret || !id || !timestamp || !signature || !/^[0-9]{1,12}$/.test(timestamp)) return false;
	if (Math.abs(now - Number(timestamp)) > TOLERANCE) return false;
	const key = Buffer.from(secret.startsWith('whsec_') ? secret.slice(6) : secret, 'base64');
	if (key.length === 0) return false;
	const wanted = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest();
	return signature.split(' ').some((each) => {
		if (!each.startsWith('v1,')) return false;
		const given = Buffer.from(each.slice(3), 'base64');
		return given.length === wanted.length && timingSafeEqual(given, wanted);
	});
}
