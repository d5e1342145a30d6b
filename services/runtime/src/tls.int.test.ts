import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, expect, test } from 'vitest';
import { openHttpServer } from './http-server.ts';
import { createLog, PinoObserver } from './log.ts';
import { openPort } from './port.ts';
import { Readiness } from './readiness.ts';

const directory = mkdtempSync(join(tmpdir(), 'starling-tls-'));
afterAll(() => rmSync(directory, { recursive: true }));

function makeCertificate(name: string): { cert: string; key: string } {
  const [cert, key] = [join(directory, `${name}.crt`), join(directory, `${name}.key`)];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  execFileSync('openssl', ['req', '-x509', ...curve, '-subj', `/CN=${name}`, '-out', cert, '-keyout', key], {
    stdio: 'pipe',
  });
  return { cert, key };
}

async function servedName(port: number): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { subject } = new X509Certificate(socket.getPeerCertificate().raw);
  socket.destroy();
  return subject;
}

test('serves TLS from files, and a new certificate as soon as the files hold one, without a restart', async () => {
  const [first, second] = [makeCertificate('first'), makeCertificate('second')];
  const tls = { certFile: join(directory, 'tls.crt'), keyFile: join(directory, 'tls.key'), checkEveryMs: 20 };
  copyFileSync(first.cert, tls.certFile);
  copyFileSync(first.key, tls.keyFile);
  const messages: string[] = [];
  let wake: () => void = () => {};
  const log = createLog({
    level: 'info',
    isReadable: false,
    destination: {
      write: (line) => {
        messages.push(JSON.parse(line).msg);
        wake();
      },
    },
  });
  const said = async (text: string) => {
    while (!messages.some((message) => message.includes(text))) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  const readiness = new Readiness([], new PinoObserver(log));
  const server = openHttpServer({ log, readiness, tls });
  try {
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    expect(url).toMatch(/^https:/);
    const port = Number(new URL(url).port);
    expect(await servedName(port)).toBe('CN=first');

    copyFileSync(second.cert, tls.certFile);
    await said('the former one stays in use');
    expect(await servedName(port)).toBe('CN=first');

    copyFileSync(second.key, tls.keyFile);
    await said('was read again');
    expect(await servedName(port)).toBe('CN=second');
  } finally {
    await server.close();
  }
});
