/** The page at `/`: one connection, one channel, the events as they arrive, and the command that publishes one. */

const Starling = globalThis.Starling;
const byId = (id) => document.getElementById(id);
const [form, keyInput, channelInput, list] = ['form', 'key', 'channel', 'list'].map(byId);

/** Below a path prefix, too. */
const base = new URL('.', document.baseURI);
const query = new URLSearchParams(location.search);
const rowsMax = 200;
const dataMax = 10_000;

/** The client that is connected now and its channel, how many events came, and how the command is written. */
const now = { client: undefined, channel: '', count: 0, kind: 'curl' };

// ── What is shown ────────────────────────────────────────────────────────────────────────────────────────────────

function showState(tone, text) {
  byId('state').className = `badge ${tone}`;
  byId('state-text').textContent = text;
  byId('mark').classList.toggle('live', tone === 'live');
}

/** Nothing, or what is wrong and what to do. */
function showProblem(title, fix) {
  byId('problem').hidden = title === undefined;
  byId('problem-title').textContent = title ?? '';
  byId('problem-fix').textContent = fix ?? '';
}

function showWaiting(text) {
  byId('waiting-text').textContent = text;
}

function showFault(input, fault) {
  const note = byId(`${input.id}-note`);
  note.dataset.hint ??= note.textContent;
  note.textContent = fault ?? note.dataset.hint;
  note.classList.toggle('bad', fault !== undefined);
  if (fault === undefined) input.removeAttribute('aria-invalid');
  else input.setAttribute('aria-invalid', 'true');
}

function showCount() {
  byId('count').textContent = now.count === 0 ? '' : `${now.count.toLocaleString('en')} received`;
  byId('clear').hidden = now.count === 0;
  byId('waiting').hidden = now.count > 0;
}

function clear() {
  list.replaceChildren();
  now.count = 0;
  showCount();
}

function addEvent(channel, name, data) {
  const row = document.createElement('li');
  row.className = 'event';
  const label = Object.assign(document.createElement('span'), { className: 'name', textContent: name });
  const time = Object.assign(document.createElement('time'), { className: 'meta' });
  const date = new Date();
  time.dateTime = date.toISOString();
  time.textContent = date.toLocaleTimeString('en', { hour12: false });
  const whole = typeof data === 'string' ? data : (JSON.stringify(data, null, 2) ?? '');
  const body = document.createElement('pre');
  body.textContent = whole.slice(0, dataMax);
  row.append(label, time, body);
  if (whole.length > dataMax) {
    const note = `The first ${dataMax.toLocaleString('en')} of ${whole.length.toLocaleString('en')} characters on ${channel}`;
    row.append(Object.assign(document.createElement('p'), { className: 'note', textContent: note }));
  }
  list.prepend(row);
  while (list.children.length > rowsMax) list.lastElementChild.remove();
  now.count++;
  showCount();
}

// ── The connection ───────────────────────────────────────────────────────────────────────────────────────────────

/** By the number of the close; any other is shown with its own words. */
function wordsOf({ number, reason, fix }, key) {
  if (number === 4001) {
    return [`No app has the key “${key}” (4001)`, 'Correct the key: starling start prints it, as “key”.'];
  }
  if (number === 4003) return ['This app is disabled (4003)', 'Enable it, or connect with the key of another app.'];
  return [number === null ? reason : `${reason} (${number})`, fix];
}

function faultOfChannel(name) {
  if (name === '') return 'Give the name of a channel, such as my-channel.';
  if (/^(private-|presence-)/.test(name)) {
    return 'Private and presence channels take a signature of your backend. Give the name of a public one.';
  }
  if (!/^[\w=@,.;-]+$/.test(name)) return 'A name has letters of A to Z, digits and _ - = @ , . ; only.';
  return undefined;
}

function connect() {
  const [key, channel] = [keyInput.value.trim(), channelInput.value.trim()];
  const faults = [
    [keyInput, key === '' ? 'Give the key of an app: starling start prints it.' : undefined],
    [channelInput, faultOfChannel(channel)],
  ];
  for (const [input, fault] of faults) showFault(input, fault);
  showSnippet();
  const [wrong] = faults.find(([, fault]) => fault !== undefined) ?? [];
  if (wrong !== undefined) {
    wrong.focus();
    return;
  }
  now.client?.disconnect();
  showProblem();
  if (key !== query.get('key')) query.delete('app');
  query.set('key', key);
  query.set('channel', channel);
  history.replaceState(null, '', `?${query}`);
  showSnippet();
  open(key, channel);
}

function open(key, channelName) {
  const starling = new Starling(key, { host: base.href, autoConnect: false });
  now.client = starling;
  // What came on another channel would be taken for this one's.
  if (now.channel !== channelName) clear();
  now.channel = channelName;
  byId('events-title').textContent = `Events on ${channelName}`;
  let wasConnected = false;
  let isRefused = false;
  // Of a client that was replaced nothing is shown any more.
  const listen = (target, name, run) => target.bind(name, (...args) => now.client === starling && run(...args));

  listen(starling.connection, 'state_change', ({ current }) => {
    byId('socket').textContent = current === 'connected' ? `socket ${starling.connection.socket_id}` : '';
    if (current === 'connected') {
      wasConnected = true;
      showProblem();
      showState('live', 'Connected');
    } else if (isRefused) {
      showState('bad', 'Refused');
    } else if (current === 'connecting' && !wasConnected) {
      showState('', 'Connecting…');
    } else if (current === 'connecting' || current === 'unavailable') {
      showState('warn', 'Server away, reconnecting…');
    } else if (current === 'disconnected') {
      showState('bad', 'Disconnected');
    } else if (current === 'failed') {
      showState('bad', 'No WebSocket in this browser');
    }
    if (current !== 'connected') {
      showWaiting(
        isRefused ? 'Nothing arrives while the connection is refused.' : 'Nothing arrives until the server is back.',
      );
    }
  });
  listen(starling.connection, 'error', (error) => {
    const { number } = error;
    // These end the connection for good; after all others the client comes back by itself.
    if (typeof number === 'number' && number >= 4000 && number < 4100) {
      isRefused = true;
      showProblem(...wordsOf(error, key));
      showState('bad', 'Refused');
      showWaiting('Nothing arrives while the connection is refused.');
      if (number === 4001) showFault(keyInput, 'No app has this key.');
    }
  });
  const channel = starling.subscribe(channelName);
  listen(channel, 'pusher:subscription_succeeded', () => {
    showWaiting(`Waiting for an event on ${channelName}`);
  });
  listen(channel, 'pusher:subscription_error', (error) => {
    showProblem(`${channelName} was refused: ${error.reason ?? error.error ?? 'no reason was given'}`, error.fix);
  });
  channel.bind_global((name, data) => {
    if (now.client !== starling || name.startsWith('pusher:') || name.startsWith('pusher_internal:')) return;
    addEvent(channelName, name, data);
  });
  starling.connect();
}

// ── The command ──────────────────────────────────────────────────────────────────────────────────────────────────

/** The reader's own values are between the marks. */
const mark = '\u0000';
const mine = (text) => `${mark}${text}${mark}`;

function snippetOf(name) {
  const key = mine(keyInput.value.trim().replace(/[^\w.~-]/g, '') || 'YOUR_KEY');
  const app = mine(query.get('app')?.replace(/\D/g, '') || 'YOUR_APP_ID');
  const typed = channelInput.value.trim();
  const channel = mine(faultOfChannel(typed) === undefined ? typed : 'my-channel');
  const secret = mine('YOUR_SECRET');
  const path = base.pathname.replace(/\/$/, '');
  if (name === 'pusher') {
    const port = base.port || (base.protocol === 'https:' ? '443' : '80');
    return `// npm install pusher
import Pusher from 'pusher';

const pusher = new Pusher({
  appId: '${app}',
  key: '${key}',
  secret: '${secret}',
  host: '${mine(base.hostname)}',
  port: '${mine(port)}',
  useTLS: ${base.protocol === 'https:'},
  cluster: '',
});
await pusher.trigger('${channel}', 'my-event', { message: 'hello' });`;
  }
  return `(
  secret='${secret}'
  body='{"name":"my-event","channel":"${channel}","data":"{\\"message\\":\\"hello\\"}"}'
  md5=$(printf '%s' "$body" | openssl dgst -md5 | sed 's/^.* //')
  query="auth_key=${key}&auth_timestamp=$(date +%s)&auth_version=1.0&body_md5=$md5"
  signature=$(printf 'POST\\n/apps/${app}/events\\n%s' "$query" |
    openssl dgst -sha256 -hmac "$secret" | sed 's/^.* //')
  curl -sS -H 'Content-Type: application/json' -d "$body" \\
    "${mine(base.origin + path)}/apps/${app}/events?$query&auth_signature=$signature"
)`;
}

function showSnippet() {
  const parts = snippetOf(now.kind).split(mark);
  const nodes = parts.map((text, at) =>
    at % 2 === 0 ? text : Object.assign(document.createElement('span'), { className: 'mine', textContent: text }),
  );
  byId('snippet').replaceChildren(...nodes);
}

function choose(name) {
  now.kind = name;
  for (const each of ['curl', 'pusher']) {
    const tab = byId(`tab-${each}`);
    tab.setAttribute('aria-selected', String(each === name));
    tab.tabIndex = each === name ? 0 : -1;
  }
  byId('panel').setAttribute('aria-labelledby', `tab-${name}`);
  showSnippet();
}

async function copy() {
  const text = byId('snippet').textContent;
  try {
    await navigator.clipboard.writeText(text);
    byId('said').textContent = 'Copied';
    byId('copy').textContent = 'Copied';
    setTimeout(() => {
      byId('copy').textContent = 'Copy';
      byId('said').textContent = '';
    }, 2_000);
  } catch {
    // A page without TLS has no clipboard: what is marked can be copied by hand.
    getSelection().selectAllChildren(byId('snippet'));
    byId('said').textContent = 'The command is selected: copy it with your keyboard';
  }
}

// ── The start ────────────────────────────────────────────────────────────────────────────────────────────────────

form.addEventListener('submit', (event) => {
  event.preventDefault();
  connect();
});
for (const input of [keyInput, channelInput]) {
  input.addEventListener('input', () => {
    showFault(input);
    showSnippet();
  });
}
byId('clear').addEventListener('click', () => {
  clear();
  byId('events').focus();
});
for (const name of ['curl', 'pusher']) {
  const tab = byId(`tab-${name}`);
  tab.addEventListener('click', () => choose(name));
  tab.addEventListener('keydown', ({ key }) => {
    if (key !== 'ArrowLeft' && key !== 'ArrowRight') return;
    const other = name === 'curl' ? 'pusher' : 'curl';
    choose(other);
    byId(`tab-${other}`).focus();
  });
}
byId('copy').addEventListener('click', copy);

// That library has no setting for a path.
byId('tab-pusher').hidden = base.pathname !== '/';
keyInput.value = query.get('key') ?? '';
if (query.has('channel')) channelInput.value = query.get('channel');
showSnippet();
if (Starling === undefined) {
  showProblem('The client of this page could not be loaded', 'Reload the page when the server is back.');
} else if (keyInput.value !== '') connect();
else keyInput.focus();
