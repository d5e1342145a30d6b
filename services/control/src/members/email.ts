/** E-mail addresses, in the one form in which they are kept and compared. */
import { type Checked, refuse } from '@starling/protocol';

/** Not what RFC 5322 allows, but what people have. */
const pattern = /^[^\s@"(),:;<>[\\\]\p{Cc}]{1,64}@[^\s@"(),:;<>[\\\]\p{Cc}]+\.[^\s@"(),:;<>[\\\]\p{Cc}.]+$/u;

export function parseEmail(given: string): Checked<string> {
  const email = given.trim().normalize('NFKC').toLowerCase();
  if (email.length > 254 || !pattern.test(email)) {
    return refuse('fields_invalid', 'An e-mail address looks like name@example.com');
  }
  return { ok: true, value: email };
}

export function domainOf(email: string): string {
  return email.slice(email.lastIndexOf('@') + 1);
}
