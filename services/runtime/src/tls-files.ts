/** The files of a certificate and its key: read together, and refused in words that name the setting and what to do. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { StartError } from './start-error.ts';

export interface TlsFiles {
  /** In PEM: the server's own certificate first, then those between it and its authority. */
  readonly certFile: string;
  /** In PEM, without a passphrase. */
  readonly keyFile: string;
}

const [certName, keyName] = ['STARLING_TLS_CERT', 'STARLING_TLS_KEY'] as const;

/** Throws a StartError where TLS cannot be served with them. */
export function readTlsFiles({ certFile, keyFile }: TlsFiles): { readonly cert: Buffer; readonly key: Buffer } {
  const [cert, key] = [readSetting(certName, certFile), readSetting(keyName, keyFile)];
  try {
    createSecureContext({ cert, key });
  } catch (err) {
    // OpenSSL decides what is good; only what it refused is looked at here for the reason.
    throw new StartError(problemOf({ cert, certFile, key, keyFile }, err));
  }
  return { cert, key };
}

const fileProblems: Readonly<Record<string, string>> = {
  ENOENT: 'is not there: give the path of a file in PEM',
  ENOTDIR: 'is not there, because a name on the way to it is no folder: give the path of a file in PEM',
  EISDIR: 'is a folder: give the path of a file in PEM',
  ELOOP: 'is a link that leads to itself: give the path of a file in PEM',
};

function readSetting(name: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (err) {
    const code = err instanceof Error && 'code' in err ? String(err.code) : '';
    const isClosed = code === 'EACCES' || code === 'EPERM';
    const problem = isClosed
      ? `may not be read by the user that runs Starling (${process.getuid?.() ?? 'this one'}): give that user the right to`
      : (fileProblems[code] ?? `cannot be read: ${textOf(err)}`);
    throw new StartError(`${name}: ${file} ${problem}`);
  }
}

function problemOf({ cert, certFile, key, keyFile }: TlsFiles & { cert: Buffer; key: Buffer }, err: unknown): string {
  const certProblem = problemOfPem(cert, 'CERTIFICATE') ?? refusalOf(() => createSecureContext({ cert }));
  if (certProblem !== undefined) return `${certName}: ${certFile} ${certProblem}`;
  const keyProblem = isSealed(key)
    ? `is a key with a passphrase, which Starling cannot ask for: write it without one, as with openssl pkey -in ${keyFile} -out FILE`
    : (problemOfPem(key, 'PRIVATE KEY') ?? refusalOf(() => createPrivateKey(key)));
  if (keyProblem !== undefined) return `${keyName}: ${keyFile} ${keyProblem}`;
  if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) {
    return (
      `${certName}, ${keyName}: ${keyFile} is not the key of the first certificate in ${certFile}: give the two that ` +
      "belong together, with the server's own certificate before those of its authorities"
    );
  }
  return `${certName}, ${keyName}: ${certFile} and ${keyFile} cannot be used together: ${textOf(err)}`;
}

/** An older form says so in a header, a newer one in its first line. */
function isSealed(key: Buffer): boolean {
  return /^-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(key.toString('latin1'));
}

function problemOfPem(content: Buffer, wanted: 'CERTIFICATE' | 'PRIVATE KEY'): string | undefined {
  const text = content.toString('latin1');
  const labels = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----/g)].map(([, label = '']) => label);
  if (labels.some((label) => label.endsWith(wanted))) return undefined;
  const isCertificate = wanted === 'CERTIFICATE';
  const what = isCertificate ? 'certificate' : 'private key';
  if (text.trim() === '') return `is empty: give the file with the ${what} in PEM`;
  const [other] = labels;
  if (other !== undefined) {
    return `holds no ${what} but a ${other.toLowerCase()}: give the file with the ${what} in PEM`;
  }
  // The first byte of every structure in DER.
  const command = isCertificate ? 'openssl x509 -inform DER' : 'openssl pkey -inform DER';
  return content[0] === 0x30
    ? `is no PEM, but looks like DER: convert it, as with ${command} -in OLD -out NEW`
    : `is no PEM: give the file with the ${what}, which begins with -----BEGIN`;
}

/** What OpenSSL says against it. */
function refusalOf(read: () => unknown): string | undefined {
  try {
    read();
    return undefined;
  } catch (err) {
    return `cannot be used, because it is damaged or too weak: ${textOf(err)}`;
  }
}

function textOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}
