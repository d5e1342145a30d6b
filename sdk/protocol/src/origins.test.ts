import { describe, expect, it } from 'vitest';
import { isOriginAllowed, isOriginPattern } from './origins.ts';

const extension = 'chrome-extension://abcdefghijklmnopabcdefghijklmnop';

describe('[HS6] an origin passes', () => {
  it.each([
    ['https://example.com', 'https://example.com'],
    ['https://example.com', 'https://example.com:443'],
    ['https://example.com:443', 'https://example.com'],
    ['http://example.com:80', 'http://example.com'],
    ['http://example.com', 'http://example.com:80'],
    ['example.com', 'https://example.com:8443'],
    ['example.com', 'http://EXAMPLE.com'],
    ['example.com:443', 'https://example.com'],
    ['example.com:80', 'http://example.com'],
    ['https://*.example.com:443', 'https://a.b.example.com'],
    ['http://[::1]:3000', 'http://[::1]:3000'],
    ['[::1]', 'https://[::1]'],
    ['capacitor://localhost', 'capacitor://localhost'],
    ['ionic://localhost', 'ionic://localhost'],
    ['tauri://localhost', 'tauri://localhost'],
    ['https://tauri.localhost', 'https://tauri.localhost'],
    [extension, extension],
    ['app://obsidian.md', 'app://obsidian.md'],
    ['app://.', 'app://.'],
    ['file://', 'file://'],
  ])('%s allows %s', (pattern, origin) => {
    expect(isOriginPattern(pattern)).toBe(true);
    expect(isOriginAllowed(['https://other.example', pattern], origin)).toBe(true);
  });
});

describe('[HS6] an origin does not pass', () => {
  it.each([
    ['https://example.com', 'https://example.com:8443'],
    ['https://example.com', 'http://example.com:443'],
    ['https://example.com:80', 'https://example.com'],
    ['http://example.com:443', 'https://example.com'],
    ['example.com:443', 'http://example.com'],
    ['https://*.example.com', 'https://example.com'],
    ['https://*.example.com', 'https://a.example.com:8443'],
    ['https://*.example.com', 'https://evil-example.com'],
    ['capacitor://localhost', 'https://localhost'],
    ['https://localhost', 'capacitor://localhost'],
    // A host alone stands for pages of the web: an app of any name may call itself so.
    ['localhost', 'capacitor://localhost'],
    [extension, 'chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba'],
    ['file://', 'file://host'],
    ['file://', 'null'],
    ['null', 'null'],
    ['example.com', 'example.com'],
    ['example.com', ''],
    ['example.com', 'https://example.com/'],
    ['example.com', 'https://example.com@evil.example'],
    ['example.com', 'https://evil.example#https://example.com'],
    ['example.com', 'https://evil.example https://example.com'],
    ['*.example.com', 'https://evil.example\\.example.com'],
  ])('%s does not allow %s', (pattern, origin) => {
    expect(isOriginAllowed([pattern], origin)).toBe(false);
  });
});

it.each([
  'null',
  '',
  '*',
  'https://',
  'https://*',
  'https://a.*.example.com',
  'https://example.com/path',
  'https://example.com:0',
  'https://example.com:65536',
  'https://me@example.com',
  'wss://example.com',
  'data://x',
  'capacitor://',
  'capacitor://localhost:80',
  'a b',
  'not an origin',
])('[HS6] %j cannot stand on the list', (text) => {
  expect(isOriginPattern(text)).toBe(false);
});
