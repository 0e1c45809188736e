// The server: whether it is there and ready, what it serves, and what goes wrong in plain words.

import { get, hooks } from './api.js';

const SOON = 1500; // milliseconds between looks while it is not ready
const LATER = 20_000;
const by = (id) => document.getElementById(id);
export const served = { threshold: null };

let ready = null;

export function start() {
  hooks.token = askToken;
  hooks.timed = (path, milliseconds) => {
    const what = path.split('/').pop().replace(/^[\w-]{16,}$/, 'session');
    by('last').textContent = `${what}, ${milliseconds < 995 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`}`;
  };
  hooks.loading = () => chip('wait', 'the models are being loaded');
  by('problemClose').addEventListener('click', () => problem(null));
  look();
}

// An error as a message, or none.
export function problem(error) {
  if (error?.name === 'AbortError') return;
  by('problem').hidden = !error;
  by('problemText').textContent = error ? sentence(error) : '';
}

export const say = (text) => { by('told').textContent = text; };
export const whisper = (text) => { by('spoken').textContent = text; };

export function busy(text) {
  by('busy').hidden = !text;
  by('busyText').textContent = text ?? '';
}

async function look() {
  const before = ready;
  try {
    await get('readyz', { quiet: true });
    chip('ready', 'ready');
    ready = true;
  } catch (error) {
    ready = false;
    if (error.code === 'not_ready') chip('wait', 'the models are being loaded');
    else chip('wrong', error.status ? error.message : 'the server does not answer');
  }
  if (ready && !before) {
    try {
      await describe();
    } catch (error) {
      problem(error);
    }
  }
  if (ready) integrations().catch(() => {});
  setTimeout(look, ready ? LATER : SOON);
}

async function describe() {
  const models = await get('v1/models', { quiet: false });
  served.threshold = models.threshold ?? null;
  by('servedWords').textContent = models.pipeline;
  by('servedClicks').textContent = models.predictor;
  by('servedVersion').textContent = models.version;
  by('last').textContent = '–';
  chip('ready', `${models.pipeline} is ready`);
  dispatchEvent(new Event('served'));
}

async function integrations() {
  let told = null;
  try {
    told = await get('v1/integrations', { quiet: true });
  } catch (error) {
    if (error.status !== 404 && error.status !== 401) throw error;
  }
  const all = Object.entries(told ?? {}).filter(([, one]) => one?.state);
  by('integrations').hidden = all.length === 0;
  by('tied').replaceChildren(...all.map(([name, one]) => {
    const row = document.createElement('li');
    const title = document.createElement('b');
    const mark = document.createElement('span');
    const text = document.createElement('span');
    title.textContent = NAMES[name] ?? name;
    mark.className = 'chip';
    mark.dataset.state = { ok: 'ready', waiting: 'wait' }[one.state] ?? 'wrong';
    mark.textContent = { ok: 'connected', waiting: 'waiting', problem: 'problem' }[one.state] ?? one.state;
    text.className = 'sub';
    text.textContent = one.message ?? '';
    row.append(title, ' ', mark, text);
    return row;
  }));
}

const NAMES = { label_studio: 'Label Studio', cvat: 'CVAT', x_anylabeling: 'X-AnyLabeling' };

function chip(state, text) {
  if (by('state').dataset.state === state && by('stateText').textContent.startsWith(text.replace(/^ready$/, ''))) {
    if (state === 'ready') return; // keeps the name of what is ready
  }
  by('state').dataset.state = state;
  by('stateText').textContent = text;
}

// The token that is typed, or null.
function askToken(again) {
  const dialog = by('tokenDialog');
  by('tokenTitle').textContent = again ? 'That token is not right' : 'This server wants a token';
  by('token').value = '';
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((done) => {
    by('tokenCancel').onclick = () => dialog.close('');
    by('tokenForm').onsubmit = (event) => {
      event.preventDefault();
      dialog.close('given');
    };
    dialog.onclose = () => done(dialog.returnValue === 'given' ? by('token').value.trim() : null);
  });
}

function sentence(error) {
  const text = error.message || String(error);
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
