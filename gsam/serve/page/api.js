// Requests to the server: the token, plain words for what goes wrong, and streams of events.

const KEY = 'gsam-token';
let asking = null;
export const hooks = { token: null, timed() {}, loading() {} };

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const place = (path) => new URL(path, document.baseURI);
export const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

// Asks again with a token where one is wanted, and waits while the models are being loaded.
export async function ask(method, path, { json, form, signal, keepalive = false, quiet = false } = {}) {
  const began = performance.now();
  for (;;) {
    const answer = await send(method, path, { json, form, signal, keepalive });
    if (answer.ok) {
      if (!quiet) hooks.timed(path, performance.now() - began);
      return answer;
    }
    const error = await refusal(answer);
    if (error.status === 401 && !quiet && hooks.token) {
      await newToken();
    } else if (error.code === 'not_ready' && !quiet) {
      hooks.loading();
      await wait(1.5);
      signal?.throwIfAborted();
    } else {
      throw error;
    }
  }
}

export const get = async (path, options) => (await ask('GET', path, options)).json();
export const post = async (path, options) => (await ask('POST', path, options)).json();

// The events of a POST, as [name, data]; an EventSource can neither post nor send a token.
export async function* events(path, options) {
  const answer = await ask('POST', path, options);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text = (text + value).replaceAll('\r\n', '\n');
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const found = parsed(text.slice(0, end));
      text = text.slice(end + 2);
      if (found) yield found;
    }
  }
}

function parsed(block) {
  let name = 'message';
  const data = [];
  for (const line of block.split('\n')) {
    const [, field, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (field === 'event') name = value;
    if (field === 'data') data.push(value);
  }
  return data.length ? [name, JSON.parse(data.join('\n'))] : null;
}

async function send(method, path, { json, form, signal, keepalive }) {
  const headers = {};
  const token = sessionStorage.getItem(KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (json) headers['Content-Type'] = 'application/json';
  try {
    return await fetch(place(path), { method, headers, body: json ? JSON.stringify(json) : form, signal, keepalive });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'unreachable', 'The server does not answer. Is gsam serve still running?');
  }
}

async function refusal(answer) {
  let told = null;
  try {
    told = (await answer.json()).error;
  } catch { /* a proxy's page, for instance */ }
  const message = told?.message ?? `The server answered ${answer.status} ${answer.statusText}`.trim();
  return new ApiError(answer.status, told?.code ?? 'refused', message);
}

// One question for all requests that wait for it.
async function newToken() {
  asking ??= hooks.token(sessionStorage.getItem(KEY) !== null).finally(() => { asking = null; });
  const token = await asking;
  if (token === null) throw new ApiError(401, 'unauthorized', 'This server wants a token.');
  sessionStorage.setItem(KEY, token);
}
