/** What a caller hands in, and what goes over the wire. */

export interface Options {
  /** A public key, `pk_…`, of a workspace that lists this page's origin. */
  apiKey: string;
  /** Where the API is, such as `https://api.example.com`. */
  apiUrl: string;
  /** Say in the console what is queued, sent and refused. */
  debug?: boolean;
}

/** Anything that JSON can hold. */
export type Properties = Record<string, unknown>;

export interface Person {
  email?: string;
  /** What your own system calls this person. */
  userId?: string | number;
  /** In E.164 form: `+4930123456`. */
  phone?: string;
  traits?: Properties;
}

/** A visitor may take consent back here. To give it takes a form that says for what. */
export interface Denial {
  email?: "denied";
  tracking?: "denied";
}

/** One event as `POST /track/batch` takes it. */
export interface Event {
  type: "track" | "identify" | "page" | "alias" | "group";
  messageId: string;
  timestamp: string;
  anonymousId: string;
  userId?: string;
  email?: string;
  phone?: string;
  name?: string;
  properties?: Properties;
  traits?: Properties;
  previousId?: string;
  groupId?: string;
  consent?: Denial;
  context: Properties;
}

/** What `POST /track/batch` answers; or a problem document. */
export interface Answer {
  accepted?: number;
  refused?: { index: number; pointer: string; detail: string }[];
  title?: string;
  detail?: string;
}
